package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"wfm/certs"
	"wfm/store"
)

// certsCall is one invocation of wfm certs.
type certsCall struct {
	dataDir, server, caFile, token string
	newCA                          bool
	stdout                         io.Writer
}

var errCertsUsage = errors.New("usage")

func certsCommand(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	c := certsCall{token: getenv("WFM_TOKEN"), stdout: stdout}
	c.dataDir = getenv("WFM_DATA_DIR")
	if c.dataDir == "" {
		c.dataDir = "./data"
	}
	flags := flag.NewFlagSet("wfm certs", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&c.dataDir, "data-dir", c.dataDir, "")
	flags.StringVar(&c.server, "server", "", "")
	flags.StringVar(&c.caFile, "ca-file", "", "")
	flags.BoolVar(&c.newCA, "new-ca", false, "")
	commands := map[string]func(*certsCall, context.Context) error{"list": (*certsCall).list, "renew": (*certsCall).renew, "export-ca": (*certsCall).exportCA}
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	run := commands[name]
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp), name == "help", name == "-h", name == "-help", name == "--help":
		certsHelp(stdout)
		return exitOK
	case run == nil:
		certsHelp(stderr)
		return exitUsage
	case err != nil:
		fmt.Fprintf(stderr, "wfm certs %s: %v, see `wfm certs help`\n", name, err)
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "wfm certs %s: unexpected argument %q, see `wfm certs help`\n", name, flags.Arg(0))
		return exitUsage
	}
	if err := run(&c, ctx); err != nil {
		fmt.Fprintf(stderr, "wfm certs %s: %v\n", name, err)
		if errors.Is(err, errCertsUsage) {
			return exitUsage
		}
		return exitFailure
	}
	return exitOK
}

func certsHelp(w io.Writer) {
	fmt.Fprint(w, `The TLS certificates of the appliance.

Usage:
  wfm certs list       [flags]   show every certificate
  wfm certs renew      [flags]   replace them now, without ending a connection
  wfm certs export-ca  [flags]   print the CA certificates that clients need to trust, PEM

For a running appliance, name its address with --server and put the access token of a login into WFM_TOKEN (export-ca
needs none). For a stopped appliance, name its data directory.

Flags:
  --server URL     the running appliance, as in http://localhost:8000; if WFM_PUBLIC_ORIGIN is set, use that
  --ca-file FILE   PEM of the CA to trust when that is https:// (default: the system's)
  --data-dir DIR   of the stopped appliance (variable WFM_DATA_DIR, default ./data)
  --new-ca         renew: make a new local CA too; the old one is handed out beside it until it ends

Examples:
  wfm certs export-ca --server http://localhost:8000 > wfm-ca.pem
  WFM_TOKEN=… wfm certs renew --server http://localhost:8000
  wfm certs list --data-dir /var/lib/wfm
`)
}

func (c *certsCall) list(ctx context.Context) error {
	if c.server == "" {
		certificates, _, err := c.stored()
		if err != nil {
			return err
		}
		return c.print(certificates)
	}
	return c.printAnswer(ctx, http.MethodGet, "/api/v1/system/certificates", nil)
}

func (c *certsCall) renew(ctx context.Context) error {
	if c.server == "" {
		return fmt.Errorf("%w: name the running appliance with --server; a stopped one renews due certificates when it starts", errCertsUsage)
	}
	body, err := json.Marshal(map[string]bool{"new_ca": c.newCA})
	if err != nil {
		return err
	}
	return c.printAnswer(ctx, http.MethodPost, "/api/v1/system/certificates/renew", body)
}

func (c *certsCall) exportCA(ctx context.Context) error {
	if c.server != "" {
		text, err := c.call(ctx, http.MethodGet, "/api/v1/system/ca.pem", nil)
		if err == nil {
			_, err = c.stdout.Write(text)
		}
		return err
	}
	_, caCert, err := c.stored()
	if err == nil && caCert == "" {
		err = errors.New("there is none yet; it is made when the appliance first serves with TLS")
	}
	if err == nil {
		_, err = io.WriteString(c.stdout, caCert)
	}
	return err
}

func (c *certsCall) stored() ([]certs.Certificate, string, error) {
	if _, err := os.Stat(filepath.Join(c.dataDir, store.FileName)); err != nil {
		return nil, "", fmt.Errorf("there is no data file in %s; name the directory with --data-dir, or the running appliance with --server", c.dataDir)
	}
	certificates, caCert, err := certs.StoredIn(c.dataDir)
	if errors.Is(err, store.ErrInUse) {
		err = errors.New("the appliance is running: ask it, with --server and its public origin if it has one, or else http://localhost:8000 or where it is")
	}
	return certificates, caCert, err
}

// call makes the API call. It returns the body of the answer, or the message of a refusal as error.
func (c *certsCall) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	client := http.Client{Timeout: 2 * time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // the token is for the address that the user named
	}}
	if c.caFile != "" {
		text, err := os.ReadFile(c.caFile)
		if err != nil {
			return nil, fmt.Errorf("read --ca-file: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%w: --ca-file %s holds no certificate", errCertsUsage, c.caFile)
		}
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.server, "/")+path, bytes.NewReader(body))
	if err != nil || req.URL.Host == "" {
		return nil, fmt.Errorf("%w: --server %q is not an address such as http://localhost:8000", errCertsUsage, c.server)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return text, nil
	}
	if to := resp.Header.Get("Location"); to != "" {
		return nil, fmt.Errorf("the appliance serves this at %s only: use that address with --server, and if the system does not trust its CA, write the "+
			"output of `wfm certs export-ca --server %s` into a file and name the file with --ca-file",
			strings.TrimSuffix(to, path), c.server)
	}
	var refused struct {
		Error struct{ Code, Message string }
	}
	switch _ = json.Unmarshal(text, &refused); {
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, errors.New("the appliance needs the access token of a login: put it into WFM_TOKEN")
	case refused.Error.Message == "":
		return nil, fmt.Errorf("%s does not answer as an appliance does: %s", c.server, resp.Status)
	}
	return nil, errors.New(refused.Error.Message)
}

// printAnswer makes the call and prints the certificates in its answer, with their problems.
func (c *certsCall) printAnswer(ctx context.Context, method, path string, body []byte) error {
	text, err := c.call(ctx, method, path, body)
	if err != nil {
		return err
	}
	var answer struct {
		Data struct {
			Status       string
			Warning      string
			LastError    string              `json:"last_error"`
			NextRenewal  *time.Time          `json:"next_renewal"`
			Certificates []certs.Certificate `json:"certificates"`
		}
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if answer.Data.Status == "off" {
		return errors.New("nothing is served with TLS")
	}
	if err := c.print(answer.Data.Certificates); err != nil {
		return err
	}
	if next := answer.Data.NextRenewal; next != nil {
		fmt.Fprintln(c.stdout, "next renewal:", next.UTC().Format(time.DateTime))
	}
	for what, text := range map[string]string{"warning:": answer.Data.Warning, "last error:": answer.Data.LastError} {
		if text != "" {
			fmt.Fprintln(c.stdout, what, text)
		}
	}
	return nil
}

func (c *certsCall) print(certificates []certs.Certificate) error {
	if len(certificates) == 0 {
		fmt.Fprintln(c.stdout, "There is no certificate.")
		return nil
	}
	t := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KIND\tFROM\tTO\tISSUED BY\tSHA-256\tFOR")
	for _, x := range certificates {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.16s\t%s\n", x.Kind, x.NotBefore.Format(time.DateOnly), x.NotAfter.Format(time.DateOnly),
			x.IssuedBy, x.SHA256, strings.Join(x.Names, " "))
	}
	return t.Flush()
}
