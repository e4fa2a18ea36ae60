package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"wfm/appliance"
	"wfm/appliance/emqx"
	"wfm/appliance/tracker"
	"wfm/presence"
	"wfm/protocol"
	"wfm/web/access"
)

// settings is the result of flags and variables.
type settings struct {
	appliance.Options
	emqx      emqx.Settings
	logLevel  slog.Level
	logFormat string
	warnings  []string // sentences about settings that have no effect
}

// setting is a flag and its variable. An empty value means the default.
type setting struct {
	flag, env, def, meaning string
	set                     func(s *settings, value string) error
}

// settingsTable returns every setting, in the order of --help.
func settingsTable() []setting {
	return slices.Concat(serverSettings(), tlsSettings(), emqxSettings(), logSettings())
}

func serverSettings() []setting {
	return []setting{
		{"data-dir", "WFM_DATA_DIR", "./data", "directory of the data file", func(s *settings, v string) error {
			s.DataDir = v
			return nil
		}},
		{"http-addr", "WFM_HTTP_ADDR", ":8000", "address of the admin page and API", func(s *settings, v string) error {
			s.HTTPAddr = v
			return checkAddr(v)
		}},
		{"https-addr", "WFM_HTTPS_ADDR", "off", "the same with TLS; HTTP leads people there then", func(s *settings, v string) (err error) {
			s.HTTPSAddr, err = addrOrOff(v)
			return err
		}},
		{
			"public-origin", "WFM_PUBLIC_ORIGIN", "", "origin people use, as in https://wfm.example.org; other Hosts and Origins are refused then",
			func(s *settings, v string) error {
				s.PublicOrigin = v
				return checkOrigins(v)
			},
		},
		{"extra-allowed-origins", "WFM_EXTRA_ALLOWED_ORIGINS", "", "further origins, separated by commas or as a JSON array", func(s *settings, v string) error {
			list, err := originList(v)
			if err != nil {
				return err
			}
			s.ExtraAllowedOrigins = list
			return checkOrigins(list...)
		}},
		{
			"trusted-proxies", "WFM_TRUSTED_PROXIES", "",
			"addresses or networks of reverse proxies, separated by commas; X-Forwarded-For and -Proto count from these only", func(s *settings, v string) (err error) {
				s.TrustedProxies, err = access.ParseProxies(v)
				return err
			},
		},
		{
			"admin-password", "WFM_ADMIN_PASSWORD", "", "first start only: sets up the account admin (better by variable: all users of the machine see flags)",
			func(s *settings, v string) error {
				s.AdminPassword = v
				return nil
			},
		},
		{"auth-token-expire-minutes", "WFM_AUTH_TOKEN_EXPIRE_MINUTES", "1440", "how long a login lasts", func(s *settings, v string) error {
			n, err := number(v, 1, 525_600)
			s.SessionTTL = time.Duration(n) * time.Minute
			return err
		}},
		{"enable-mqtt-services", "WFM_ENABLE_MQTT_SERVICES", "true", "false: run without a broker", func(s *settings, v string) (err error) {
			if s.MQTTEnabled, err = strconv.ParseBool(v); err != nil {
				return errors.New("want true or false")
			}
			return nil
		}},
		{"mqtt-addr", "WFM_MQTT_ADDR", ":1883", "address of the MQTT broker; off: only with TLS", func(s *settings, v string) (err error) {
			s.MQTTAddr, err = addrOrOff(v)
			return err
		}},
		{
			"mqtt-tls-enabled", "WFM_MQTT_TLS_ENABLED", "false",
			"true: serve MQTT with TLS (an EMQX does, with the CA of --emqx-ca-file), and have agents bind to that", func(s *settings, v string) (err error) {
				if s.MQTTTLSEnabled, err = strconv.ParseBool(v); err != nil {
					return errors.New("want true or false")
				}
				return nil
			},
		},
		{"mqtt-tls-addr", "WFM_MQTT_TLS_ADDR", ":8883", "address of the MQTT broker with TLS", func(s *settings, v string) error {
			s.MQTTTLSAddr = v
			return checkAddr(v)
		}},
		{"mqtt-public-host", "WFM_MQTT_PUBLIC_HOST", "", "host handed to agents; default: the host they bind at", func(s *settings, v string) error {
			s.MQTTPublicHost = v
			if strings.ContainsAny(v, "/ \t@") || (strings.Contains(v, ":") && net.ParseIP(v) == nil) {
				return errors.New("want a host name or an IP address, without port and scheme")
			}
			return nil
		}},
		{"mqtt-public-port", "WFM_MQTT_PUBLIC_PORT", "", "port handed to agents; default: the broker's own", func(s *settings, v string) (err error) {
			if v != "" {
				s.MQTTPublicPort, err = number(v, 1, 65535)
			}
			return err
		}},
		{"mqtt-public-tls-port", "WFM_MQTT_PUBLIC_TLS_PORT", "", "the same with TLS", func(s *settings, v string) (err error) {
			if v != "" {
				s.MQTTPublicTLSPort, err = number(v, 1, 65535)
			}
			return err
		}},
		{
			"mqtt-keep-alive-seconds", "WFM_MQTT_KEEP_ALIVE_SECONDS", "300", "longest keep-alive of an agent: a lost link is noticed after 1.5 times that",
			func(s *settings, v string) error {
				n, err := number(v, 5, 300)
				s.MQTTKeepAlive = time.Duration(n) * time.Second
				return err
			},
		},
		{
			"presence-ttl-minutes", "WFM_PRESENCE_TTL_MINUTES", in(presence.DefaultTimes().TTL, time.Minute),
			"how long a message proves a node without connection online", func(s *settings, v string) error {
				n, err := number(v, 1, 10_080)
				s.Presence.TTL = time.Duration(n) * time.Minute
				return err
			},
		},
		{
			"presence-grace-seconds", "WFM_PRESENCE_GRACE_SECONDS", in(presence.DefaultTimes().Grace, time.Second),
			"how long a broken connection may take to come back", func(s *settings, v string) error {
				n, err := number(v, 1, 3600)
				s.Presence.Grace = time.Duration(n) * time.Second
				return err
			},
		},
		{
			"detect-interval-seconds", "WFM_DETECT_INTERVAL_SECONDS", in(tracker.DefaultInterval, time.Second), "how often each node is checked while a user watches",
			func(s *settings, v string) error {
				n, err := number(v, 10, 86_400)
				s.DetectInterval = time.Duration(n) * time.Second
				return err
			},
		},
		{
			"detect-timeout-seconds", "WFM_DETECT_TIMEOUT_SECONDS", in(protocol.ActionDetect.Spec().AnswerTime, time.Second),
			"how long a node may take to answer such a check", func(s *settings, v string) error {
				n, err := number(v, 1, 300)
				s.DetectTimeout = time.Duration(n) * time.Second
				return err
			},
		},
	}
}

func logSettings() []setting {
	return []setting{
		{"log-level", "WFM_LOG_LEVEL", "info", "debug, info, warn or error", func(s *settings, v string) error {
			if s.logLevel.UnmarshalText([]byte(v)) != nil {
				return errors.New("want debug, info, warn or error")
			}
			return nil
		}},
		{"log-format", "WFM_LOG_FORMAT", "text", "text or json", func(s *settings, v string) error {
			s.logFormat = v
			if v != "text" && v != "json" {
				return errors.New("want text or json")
			}
			return nil
		}},
	}
}

// parse reads the settings; flags override variables, which override defaults. Its error is one
// sentence that names the flag and the variable. It returns flag.ErrHelp if help was requested,
// after writing the help to stdout.
func parse(args []string, getenv func(string) string, stdout io.Writer) (settings, error) {
	s, err := parseTable("wfm serve", settingsTable(), help, args, getenv, stdout)
	if err == nil {
		err = s.checkEMQX()
	}
	if err == nil {
		err = checkTogether(s)
	}
	return s, err
}

// parseTable reads the settings of table for the command, whose help text help prints.
func parseTable(command string, table []setting, help func(io.Writer, []setting), args []string, getenv func(string) string,
	stdout io.Writer,
) (settings, error) {
	var s settings
	given := make(map[string]*string, len(table))
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	for _, row := range table {
		given[row.flag] = flags.String(row.flag, "", row.meaning)
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		help(stdout, table)
		return s, err
	} else if err != nil {
		return s, fmt.Errorf("%w, see `%s --help`", err, command)
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q, see `%s --help`", flags.Arg(0), command)
	}
	for _, row := range table {
		value, source := row.def, "its default"
		if v := getenv(row.env); v != "" && row.env != "" {
			value, source = v, row.env
		}
		if v := *given[row.flag]; v != "" {
			value, source = v, "--"+row.flag
		}
		if err := row.set(&s, value); err != nil {
			if secret(row.flag) || strings.Contains(value, "@") { // possibly a URL with a password
				value = "…"
			}
			return s, fmt.Errorf("%s is %q: %w", source, value, err)
		}
	}
	return s, nil
}

// checkTogether finds settings that contradict each other.
func checkTogether(s settings) error {
	embedded := s.MQTTEnabled && s.EMQX == nil
	if embedded && s.MQTTAddr == "" && !s.MQTTTLSEnabled {
		return errors.New("--mqtt-addr is off and --mqtt-tls-enabled is not true: no client could connect; set one of them, or --enable-mqtt-services=false")
	}
	ways := "--mqtt-tls-enabled=true or --https-addr"
	if !embedded {
		ways = "--https-addr" // an EMQX has certificates of its own
	}
	secure := s.HTTPSAddr != "" || (embedded && s.MQTTTLSEnabled)
	switch {
	case s.TLSIssuer != "local" && !secure:
		return fmt.Errorf("--tls-issuer is %s, but nothing is served with TLS; set %s", s.TLSIssuer, ways)
	case len(s.ACME.Domains) > 0 && s.TLSIssuer != "acme":
		return errors.New("--acme-domains is set, but --tls-issuer is not acme; set it, or leave the domains out")
	case s.TLSCertFile+s.TLSKeyFile != "" && s.TLSIssuer != "files":
		return errors.New("--tls-cert-file or --tls-key-file is set, but --tls-issuer is not files; set it, or leave the files out")
	case (s.ACME.EABKeyID == "") != (s.ACME.EABHMAC == ""):
		return errors.New("--acme-eab-key-id and WFM_ACME_EAB_HMAC go together: set both or none")
	}
	return nil
}

// secret reports whether the flag's value must not be shown.
func secret(name string) bool {
	return strings.Contains(name, "password") || strings.Contains(name, "secret") || strings.Contains(name, "key") || strings.Contains(name, "hmac")
}

func help(w io.Writer, table []setting) {
	fmt.Fprint(w, `Run the appliance. It needs no configuration. A flag wins over its variable; empty means the default.

Usage:
  wfm serve [flags]

`)
	listSettings(w, table)
	fmt.Fprint(w, `
Examples:
  wfm serve
  wfm serve --data-dir /var/lib/wfm --http-addr 127.0.0.1:8000 --public-origin https://wfm.example.org
  WFM_ADMIN_PASSWORD="$(cat password.txt)" wfm serve --log-format json
`)
}

func addrOrOff(v string) (string, error) {
	if v == "off" {
		return "", nil
	}
	return v, checkAddr(v)
}

func listSettings(w io.Writer, table []setting) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  FLAG\tVARIABLE\tDEFAULT\tMEANING")
	for _, row := range table {
		fmt.Fprintf(t, "  --%s\t%s\t%s\t%s\n", row.flag, row.env, row.def, row.meaning)
	}
	_ = t.Flush()
}

func checkAddr(v string) error {
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return errors.New("want host:port or :port")
	}
	if _, err := number(port, 0, 65535); err != nil {
		return fmt.Errorf("the port is wrong: %w", err)
	}
	return nil
}

func number(v string, lowest, highest int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < lowest || n > highest {
		return 0, fmt.Errorf("want a number from %d to %d", lowest, highest)
	}
	return n, nil
}

// originList reads origins separated by commas, or a JSON array of them as WG Free Mesh accepts it.
func originList(v string) (list []string, err error) {
	parts := strings.Split(v, ",")
	if strings.HasPrefix(strings.TrimSpace(v), "[") {
		if json.Unmarshal([]byte(v), &parts) != nil {
			return nil, errors.New(`want origins separated by commas, or a JSON array as in ["https://wfm.example.org"]`)
		}
	}
	for _, o := range parts {
		if o = strings.TrimSpace(o); o != "" {
			list = append(list, o)
		}
	}
	return list, nil
}

func checkOrigins(origins ...string) error {
	for _, o := range origins {
		if o == "" {
			continue
		}
		if _, err := access.ParseOrigin(o); err != nil {
			return err
		}
	}
	return nil
}

// in returns d in whole units, as the value of a flag.
func in(d, unit time.Duration) string { return strconv.Itoa(int(d / unit)) }
