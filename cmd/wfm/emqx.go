package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"time"

	"wfm/appliance"
	"wfm/appliance/emqx"
	"wfm/protocol"
	"wfm/web/access"
)

// emqxSettings are the settings of an external broker.
func emqxSettings() []setting {
	text := func(at func(*settings) *string) func(*settings, string) error {
		return func(s *settings, v string) error { *at(s) = v; return nil }
	}
	return []setting{
		{
			"mqtt-url", "WFM_MQTT_URL", "", "EMQX to use instead of the embedded broker, as in mqtt://127.0.0.1:11883 or mqtts://emqx:11883",
			func(s *settings, v string) (err error) {
				if v == "" {
					return nil
				}
				s.emqx.URL, err = url.Parse(v)
				if err != nil || (s.emqx.URL.Scheme != "mqtt" && s.emqx.URL.Scheme != "mqtts") || s.emqx.URL.Hostname() == "" ||
					s.emqx.URL.User != nil || (s.emqx.URL.Path != "" && s.emqx.URL.Path != "/") {
					return errors.New("want mqtt:// or mqtts://, a host and perhaps a port; the account has variables of its own")
				}
				s.emqx.URL.Path = ""
				return nil
			},
		},
		{"emqx-api-base-url", "WFM_EMQX_API_BASE_URL", "", "EMQX's management API, as in http://emqx:18083", func(s *settings, v string) error {
			s.emqx.APIBaseURL = v
			if v == "" {
				return nil
			}
			_, err := emqx.NewAPI(v, "", "", nil)
			return err
		}},
		{
			"emqx-api-key", "WFM_EMQX_API_KEY", "", "key of the management API; without key and secret, username and password are used",
			text(func(s *settings) *string { return &s.emqx.APIKey }),
		},
		{"emqx-api-secret", "WFM_EMQX_API_SECRET", "", "its secret (better by variable)", text(func(s *settings) *string { return &s.emqx.APISecret })},
		{
			"emqx-username", "WFM_EMQX_USERNAME", emqx.DefaultUsername, "the appliance's own account at EMQX; it is made there",
			text(func(s *settings) *string { return &s.emqx.Username }),
		},
		{"emqx-password", "WFM_EMQX_PASSWORD", "", "its password; default: a new one at every start", text(func(s *settings) *string { return &s.emqx.Password })},
		{
			"emqx-authz-shared-key", "WFM_EMQX_AUTHZ_SHARED_KEY", "",
			"secret that EMQX presents when it asks, also beside the embedded broker; default: made and shown at the first start with an EMQX", func(s *settings,
				v string,
			) error {
				s.emqx.SharedKey = v
				if v != "" && len(v) < 16 {
					return errors.New("want at least 16 characters, or nothing to have one made")
				}
				return nil
			},
		},
		{"emqx-authz-addr", "WFM_EMQX_AUTHZ_ADDR", "", "address on which EMQX asks, apart from the page and API; default: there", func(s *settings, v string) error {
			s.emqx.CallbackAddr = v
			if v == "" {
				return nil
			}
			return checkAddr(v)
		}},
		{"emqx-ca-file", "WFM_EMQX_CA_FILE", "", "certificate authority of EMQX (PEM); default: the system's", func(s *settings, v string) error {
			s.emqx.CAFile = v
			_, err := emqx.TLSConfig(v)
			return err
		}},
	}
}

// checkEMQX adds the external broker, if there is one, to the options.
func (s *settings) checkEMQX() error {
	if s.emqx.URL == nil && s.emqx.SharedKey != "" {
		s.EMQXQuestions = &appliance.EMQXQuestions{SharedKey: s.emqx.SharedKey, Addr: s.emqx.CallbackAddr}
	}
	switch {
	case s.emqx.URL == nil && s.emqx.APIBaseURL != "":
		s.warnings = append(s.warnings, "WFM_EMQX_API_BASE_URL is set without WFM_MQTT_URL, so the embedded broker runs; set both for an EMQX, or none")
		return nil
	case s.emqx.URL == nil:
		return nil
	}
	if s.emqx.APIKey == "" && s.emqx.APISecret == "" && s.emqx.Username != emqx.DefaultUsername && s.emqx.Password != "" {
		s.emqx.APIKey, s.emqx.APISecret = s.emqx.Username, s.emqx.Password // WG Free Mesh has one account for both
	}
	if s.emqx.APIBaseURL == "" || s.emqx.APIKey == "" || s.emqx.APISecret == "" {
		return errors.New("WFM_MQTT_URL is set, so WFM_EMQX_API_BASE_URL, WFM_EMQX_API_KEY and WFM_EMQX_API_SECRET are needed too; `wfm emqx config` shows " +
			"how to make a key")
	}
	s.EMQX = &s.emqx
	return nil
}

func emqxCommand(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		emqxUsage(stderr)
		return exitUsage
	}
	switch args[0] {
	case "doctor":
		return emqxDoctor(ctx, args[1:], getenv, stdout, stderr)
	case "config":
		return emqxConfig(args[1:], getenv, stdout, stderr)
	case "help", "-h", "-help", "--help":
		emqxUsage(stdout)
		return exitOK
	}
	fmt.Fprintf(stderr, "wfm emqx: unknown command %q, see `wfm emqx help`\n", args[0])
	return exitUsage
}

func emqxUsage(w io.Writer) {
	fmt.Fprint(w, `Set up and check an EMQX that replaces the embedded broker.

Usage:
  wfm emqx config [flags]   print an EMQX configuration that fits; it holds secrets, and says where it belongs
  wfm emqx doctor [flags]   check that EMQX is set up right, log in as a temporary node, and list what to change

Examples:
  wfm emqx config --version 5.8.9 > base.hocon
  wfm emqx config --version 6.1.2 --appliance-url http://10.0.0.5:8000 --listener mqtt://0.0.0.0:11883 > base.hocon
  wfm emqx config --version 5.7.2 >> emqx.conf
  WFM_MQTT_URL=mqtt://127.0.0.1:11883 WFM_EMQX_API_BASE_URL=http://127.0.0.1:18083 … wfm emqx doctor
`)
}

// emqxExamples shows an example of each command.
var emqxExamples = map[string]string{
	"config": `
Examples:
  both on one machine:           wfm emqx config --version 5.8.9 > base.hocon
  EMQX on a machine of its own:  wfm emqx config --version 6.1.2 --appliance-url http://10.0.0.5:8000 --listener mqtts://0.0.0.0:11883 > base.hocon
  EMQX before 5.8.4:             wfm emqx config --version 5.7.2 >> emqx.conf
`,
	"doctor": `
Examples:
  WFM_MQTT_URL=mqtt://127.0.0.1:11883 WFM_EMQX_API_BASE_URL=http://127.0.0.1:18083 WFM_EMQX_API_KEY=wfm \
    WFM_EMQX_API_SECRET=… WFM_EMQX_AUTHZ_SHARED_KEY=… wfm emqx doctor

The exit status is 0 when nothing must change, 1 when something must, and 2 for wrong flags or variables.
`,
}

func emqxHelp(what string) func(io.Writer, []setting) {
	return func(w io.Writer, table []setting) {
		fmt.Fprintf(w, "Usage:\n  wfm emqx %s [flags]\n\nA flag wins over its variable.\n\n", what)
		listSettings(w, table)
		fmt.Fprint(w, emqxExamples[what])
	}
}

func emqxDoctor(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	s, err := parseTable("wfm emqx doctor", emqxSettings(), emqxHelp("doctor"), args, getenv, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err == nil && s.emqx.URL == nil {
		err = errors.New("WFM_MQTT_URL is not set: with the embedded broker there is nothing to look at")
	}
	if err == nil {
		err = s.checkEMQX()
	}
	if err != nil {
		fmt.Fprintln(stderr, "wfm emqx doctor:", err)
		return exitUsage
	}
	tlsConfig, err := emqx.TLSConfig(s.emqx.CAFile)
	if err != nil {
		fmt.Fprintln(stderr, "wfm emqx doctor:", err)
		return exitFailure
	}
	api, err := emqx.NewAPI(s.emqx.APIBaseURL, s.emqx.APIKey, s.emqx.APISecret, tlsConfig)
	if err != nil {
		fmt.Fprintln(stderr, "wfm emqx doctor:", err)
		return exitFailure
	}
	return printFindings(stdout, emqx.Diagnose(ctx, emqx.DoctorOptions{
		URL: s.emqx.URL, TLS: tlsConfig, API: api, SharedKey: s.emqx.SharedKey, Patience: doctorPatience,
	}))
}

// doctorPatience is how long to wait for an EMQX that could not reach the appliance: it tries again
// every 15 s.
const doctorPatience = 17 * time.Second

// printFindings prints the findings and a summary, and returns the exit status.
func printFindings(w io.Writer, found []emqx.Finding) int {
	count := make(map[emqx.Level]int)
	for _, f := range found {
		fmt.Fprintf(w, "%-8s %s\n", f.Level, f.Text)
		if f.Advice != "" {
			fmt.Fprintf(w, "         → %s\n", f.Advice)
		}
		count[f.Level]++
	}
	problems := count[emqx.Problem]
	fmt.Fprintf(w, "\n%d ok, %d to look at, %d wrong.", count[emqx.OK], count[emqx.Warning], problems)
	if problems == 0 {
		fmt.Fprintln(w)
		return exitOK
	}
	fmt.Fprintf(w, " %d of these must change. `wfm emqx config` prints a configuration that fits.\n", problems)
	return exitFailure
}

func emqxConfig(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	var o emqx.ConfigOptions
	table := []setting{
		{"appliance-url", "", "http://127.0.0.1:8000", "where EMQX reaches the appliance", func(_ *settings, v string) (err error) {
			o.ApplianceURL, err = access.ParseOrigin(v)
			return err
		}},
		{"version", "", emqx.DefaultVersion.String(), "of EMQX, as in 5.8.9 or 6.1; known are " + emqx.Versions, func(_ *settings, v string) (err error) {
			o.Version, err = emqx.ParseVersion(v)
			return err
		}},
		{"listener", "", "mqtt://127.0.0.1:" + emqx.OwnPort, "where EMQX listens for the appliance alone; mqtts:// for TLS", func(_ *settings, v string) (err error) {
			o.Listener, err = emqx.ParseListener(v)
			return err
		}},
		{
			"logins", "", "ask", "ask: EMQX asks the appliance; accounts: it knows the accounts, but a node can take another's session",
			func(_ *settings, v string) error {
				o.DatabaseLogins = v == "accounts"
				if v != "ask" && v != "accounts" {
					return errors.New("want ask or accounts")
				}
				return nil
			},
		},
	}
	for _, row := range emqxSettings() {
		if row.flag == "emqx-api-key" || row.flag == "emqx-api-secret" || row.flag == "emqx-authz-shared-key" {
			row.meaning += "; here, a new one is made by default"
			table = append(table, row)
		}
	}
	s, err := parseTable("wfm emqx config", table, emqxHelp("config"), args, getenv, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		fmt.Fprintln(stderr, "wfm emqx config:", err)
		return exitUsage
	}
	o.SharedKey = cmp.Or(s.emqx.SharedKey, protocol.NewSecret())
	o.APIKey = cmp.Or(s.emqx.APIKey, "wfm")
	o.APISecret = cmp.Or(s.emqx.APISecret, protocol.NewSecret())
	if err := emqx.Config(stdout, o); err != nil {
		fmt.Fprintln(stderr, "wfm emqx config:", err)
		return exitFailure
	}
	return exitOK
}
