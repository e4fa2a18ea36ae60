package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"
	"unicode"

	"wfm/agent/keyring"
	"wfm/internal/buildinfo"
	"wfm/protocol"
)

const (
	bindLimit         = 15 * time.Second
	bindResponseLimit = protocol.MaxBindAnswer
	bindMessageLimit  = 500 // bytes of the server's message shown to the user
)

// BindError is the server's refusal of a bind, in the server's words. Its text is meant for the
// user.
type BindError struct {
	Code    string // the server's error code, for programs
	Message string // the server's message, for people
}

// Error returns the server's message alone.
func (e *BindError) Error() string { return e.Message }

// BindOptions are the parameters of [Bind].
type BindOptions struct {
	Dir       string // folder of the agent
	ServerURL string // http:// or https://; the path is kept, for a server below one
	Token     string // one-time token
	Hostname  string // if empty, the machine's
	// CertSHA256 is the fingerprint, in hex, of the server's certificate or of the CA that signed
	// it. If empty, the certificate must be one that the system trusts.
	CertSHA256 string
}

// Bind spends the token and stores the resulting profile, which replaces an earlier profile of the
// same node. It gives up after 15 seconds. A [BindError] is the server's refusal; any other error
// describes the obstacle in plain words. No error contains the token.
func Bind(ctx context.Context, o BindOptions) (Profile, error) {
	base, err := parseServerURL(o.ServerURL)
	if err != nil {
		return Profile{}, err
	}
	if strings.TrimSpace(o.Token) == "" {
		return Profile{}, errors.New("the token is empty: ask for a bind command on the server's node page")
	}
	transport, err := bindTransport(base, o.CertSHA256)
	if err != nil {
		return Profile{}, err
	}
	// The token can be spent only once, so first check that the answer can be stored.
	if err := writable(o.Dir); err != nil {
		return Profile{}, err
	}
	pair, err := keyring.NewPair()
	if err != nil {
		return Profile{}, err
	}
	answer, err := postBind(ctx, base, transport, bindRequest(o, pair))
	if err != nil {
		return Profile{}, err
	}
	p := Profile{
		BoundAt: time.Now().UTC().Format(time.RFC3339), ServerURL: strings.TrimRight(o.ServerURL, "/"),
		Node: answer.Profile, MQTT: answer.MQTT,
	}
	if p.MQTT.Host == "" {
		p.MQTT.Host = base.Hostname()
	}
	if p.MQTT.ClientID == "" {
		p.MQTT.ClientID = protocol.ClientID(p.Node.NodeID)
	}
	if former, err := LoadProfile(o.Dir, p.ID()); err == nil {
		p.Restore = former.Restore // chosen by the operator of this machine
	}
	var keyErr error
	if p.storable(o.Dir) == nil { // before the profile, for which a running agent makes a pair if there is none
		keyErr = keysIn(o.Dir).Add(p.ID(), pair) // beside a former one, with which the tunnel goes on until the next push
	}
	if err := saveProfile(o.Dir, p); err != nil {
		return Profile{}, fmt.Errorf("keep the server's answer: %w", err)
	}
	if keyErr != nil {
		return p, fmt.Errorf("bound, but the key pair was not stored, and the agent will make another one: %w", keyErr)
	}
	if err := keepDesired(o.Dir, p, answer); err != nil {
		return p, fmt.Errorf("bound, but the config that came with it was not stored: %w", err)
	}
	return p, nil
}

func bindRequest(o BindOptions, pair keyring.Pair) protocol.BindRequest {
	hostname := o.Hostname
	if hostname == "" {
		hostname, _ = os.Hostname() // informative only: an empty name is no reason to stop
	}
	return protocol.BindRequest{
		Token: strings.TrimSpace(o.Token), Hostname: hostname, Platform: runtime.GOOS,
		ClientVersion: buildinfo.Version(), Capabilities: capabilities(), PublicKey: pair.Public,
	}
}

func parseServerURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return nil, fmt.Errorf("%q is not a server address: it must begin with http:// or https:// and name a host", printable(raw))
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the server address must not hold a user, a query or a fragment")
	}
	return u, nil
}

func writable(dir string) error {
	if err := makeDirs(dir); err != nil {
		return err
	}
	f, err := os.CreateTemp(profilesDir(dir), ".probe.*.tmp")
	if err != nil {
		return fmt.Errorf("write into %s: %w", profilesDir(dir), err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func postBind(ctx context.Context, base *url.URL, transport *http.Transport, request protocol.BindRequest) (protocol.BindResponse, error) {
	none := protocol.BindResponse{}
	ctx, cancel := context.WithTimeout(ctx, bindLimit)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return none, fmt.Errorf("encode bind request: %w", err)
	}
	// A redirect would send the token to an address that the user did not name.
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	var answer httpAnswer
	// Some servers only have the older path. A path that does not exist spends no token.
	for _, path := range []string{"api/client/bind", "api/client/v1/bind"} {
		if answer, err = post(ctx, &client, base.JoinPath(path).String(), body); err != nil {
			return none, unreachable(ctx, base, err)
		}
		if !answer.nothingThere() {
			break
		}
	}
	return readBindAnswer(base, answer)
}

// httpAnswer is a response with its body already read.
type httpAnswer struct {
	status   int
	location *url.URL // nil if the response has none
	data     []byte
}

func (a httpAnswer) nothingThere() bool {
	return a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed
}

// post sends the body. It reads at most one byte more than bindResponseLimit.
func post(ctx context.Context, client *http.Client, address string, body []byte) (httpAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return httpAnswer{}, fmt.Errorf("prepare bind request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "wfm-agent/"+buildinfo.Version())
	resp, err := client.Do(req)
	if err != nil {
		return httpAnswer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	a := httpAnswer{status: resp.StatusCode}
	if location, err := resp.Location(); err == nil {
		a.location = location
	}
	a.data, err = io.ReadAll(io.LimitReader(resp.Body, bindResponseLimit+1))
	return a, err
}

// redirected returns an error that names the address to bind at instead. --server takes an origin,
// so the path of the redirect (that of the bind, or of a login page) would only mislead and is left
// out.
func redirected(base, target *url.URL) error {
	switch {
	case target == nil || (target.Scheme != "http" && target.Scheme != "https") || target.Hostname() == "":
		return fmt.Errorf("%s redirects to an address that is none: check the address", base)
	case origin(target) != origin(base):
		return fmt.Errorf("%s redirects to another address: bind again with --server %s", base, printable(origin(target)))
	}
	return astray(base, fmt.Sprintf("%s redirects to another path of its own", base))
}

// astray returns the error for an address without a WFM server. It adds advice to problem.
func astray(base *url.URL, problem string) error {
	if strings.Trim(base.Path, "/") != "" {
		return fmt.Errorf("%s: leave the path out, as in --server %s", problem, origin(base))
	}
	return fmt.Errorf("%s: check the address", problem)
}

// origin returns only scheme, host and port, as browsers write them.
func origin(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]; port != "" {
		host = strings.TrimSuffix(host, port)
	}
	return u.Scheme + "://" + host
}

func readBindAnswer(base *url.URL, a httpAnswer) (protocol.BindResponse, error) {
	if a.status >= 300 && a.status < 400 {
		return protocol.BindResponse{}, redirected(base, a.location)
	}
	notOurs := astray(base, fmt.Sprintf("%s does not answer like a WFM server (HTTP status %d)", base, a.status))
	var answer struct {
		Success *bool                  `json:"success"`
		Data    *protocol.BindResponse `json:"data"`
		Error   *struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if len(a.data) > bindResponseLimit || json.Unmarshal(a.data, &answer) != nil || answer.Success == nil {
		return protocol.BindResponse{}, notOurs
	}
	if !*answer.Success {
		if a.nothingThere() && (answer.Error == nil || answer.Error.Code == "NOT_FOUND" || answer.Error.Code == "METHOD_NOT_ALLOWED") {
			return protocol.BindResponse{}, notOurs // perhaps a WFM server, but not at this path
		}
		if answer.Error == nil || printable(answer.Error.Message) == "" {
			return protocol.BindResponse{}, fmt.Errorf("%s refused the bind without saying why (HTTP status %d)", base, a.status)
		}
		return protocol.BindResponse{}, &BindError{Code: printable(answer.Error.Code), Message: printable(answer.Error.Message)}
	}
	if answer.Data == nil {
		return protocol.BindResponse{}, notOurs
	}
	return *answer.Data, nil
}

// unreachable turns the HTTP client's error into an error that tells a person how to proceed. Of
// the request, its text contains only the address.
func unreachable(ctx context.Context, base *url.URL, err error) error {
	var dns *net.DNSError
	var op *net.OpError
	cause := err
	if ue, ok := errors.AsType[*url.Error](err); ok {
		cause = ue.Err
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer within %s: check the address and the firewall", base, bindLimit)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &dns):
		return fmt.Errorf("the name %q cannot be resolved: check the server address", dns.Name)
	case errors.Is(err, errOtherCertificate):
		return errOtherCertificate
	case errors.Is(err, errPinnedTime):
		return errPinnedTime
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("%s cannot be reached (%w): check the address, and that the server runs", base, op.Err)
	default:
		return fmt.Errorf("talking to %s broke off (%w)", base, cause)
	}
}

// printable makes text from a server fit for a terminal: one line without control characters and of
// limited length.
func printable(s string) string {
	if len(s) > bindMessageLimit {
		s = s[:bindMessageLimit]
	}
	s = strings.ToValidUTF8(s, "")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s))
}
