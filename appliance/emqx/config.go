package emqx

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"text/template"

	"wfm/internal/emqxcall"
)

// OwnPort is the port of the listener for the appliance alone in the printed configuration.
const OwnPort = "11883"

// The limits of the appliance's own session in the printed configuration. EMQX's defaults, 32 and
// 1000, suit one node; the appliance gets the messages of all nodes.
const (
	ownInflight = receiveMaximum
	ownQueue    = 100_000
)

// ConfigOptions are the values for EMQX's configuration.
type ConfigOptions struct {
	// Version is the release that reads the configuration.
	Version Version
	// ApplianceURL is where EMQX reaches the appliance, as in http://wfm:8000.
	ApplianceURL string
	// Listener is where EMQX listens for the appliance, as in mqtt://127.0.0.1:11883 or mqtts://.
	// Its host is an address of EMQX's machine. The default is the former.
	Listener  *url.URL
	SharedKey string
	// APIKey and APISecret let the appliance use EMQX's management API.
	APIKey, APISecret string
	// DatabaseLogins makes EMQX check logins against its built-in database, without the appliance.
	// EMQX then does not check the client id: a node that knows another node's id can take its
	// session.
	DatabaseLogins bool
}

// File returns the name of the EMQX file that the text belongs in.
func (o ConfigOptions) File() string {
	if o.Version.BaseFile() {
		return "etc/base.hocon"
	}
	return "etc/emqx.conf"
}

// Secure reports whether the appliance's listener uses TLS.
func (o ConfigOptions) Secure() bool { return o.Listener.Scheme == "mqtts" }

// Host returns the host under which the appliance finds EMQX.
func (o ConfigOptions) Host() string {
	if ip := net.ParseIP(o.Listener.Hostname()); ip == nil || ip.IsUnspecified() {
		return "emqx"
	}
	return o.Listener.Hostname()
}

// URL returns the value for the appliance's WFM_MQTT_URL.
func (o ConfigOptions) URL() string {
	return o.Listener.Scheme + "://" + net.JoinHostPort(o.Host(), o.Listener.Port())
}

// APIURL returns the value for the appliance's WFM_EMQX_API_BASE_URL.
func (o ConfigOptions) APIURL() string { return "http://" + net.JoinHostPort(o.Host(), "18083") }

// Inflight returns the limit of unacknowledged messages of the appliance's own session.
func (ConfigOptions) Inflight() int { return ownInflight }

// Queue returns the length of the queue of messages for the appliance.
func (ConfigOptions) Queue() int { return ownQueue }

// configFuncs are the functions of configText.
var configFuncs = template.FuncMap{
	"quoted": quoted, "placeholder": emqxcall.Placeholder,
	"loginPath": func() string { return emqxcall.LoginPath }, "loginFields": emqxcall.LoginFields,
	"topicPath": func() string { return emqxcall.TopicPath }, "topicFields": emqxcall.TopicFields,
	"keyHeader": func() string { return emqxcall.KeyHeader },
}

// configText is the template of EMQX's configuration. EMQX takes text in quotes literally.
var configText = template.Must(template.New("base.hocon").Funcs(configFuncs).Parse(
	`## EMQX {{.Version}} for the WFM Appliance.
{{- if .Version.BaseFile}}
## This file is etc/base.hocon, whole: put it there instead of the one that EMQX brings.
## Docker: /opt/emqx/etc/base.hocon. Packages: /etc/emqx/base.hocon.
## EMQX before 5.8.4 does not read that file, and would let anybody log in: print with --version for it.
{{- else}}
## Append this text to etc/emqx.conf (Docker: /opt/emqx/etc/emqx.conf; packages: /etc/emqx/emqx.conf).
## EMQX {{.Version}} ignores etc/base.hocon without a word, and would let anybody log in.
{{- end}}
##
## The appliance gets:
##   WFM_MQTT_URL={{.URL}}
##   WFM_EMQX_API_BASE_URL={{.APIURL}}
##   WFM_EMQX_AUTHZ_SHARED_KEY={{.SharedKey}}
##   WFM_EMQX_API_KEY={{.APIKey}}
##   WFM_EMQX_API_SECRET={{.APISecret}}
## Agents connect to EMQX's other listeners: 1883 by default, or WFM_MQTT_PUBLIC_PORT.
##
## The file etc/wfm-api-key has one line:
##   {{.APIKey}}:{{.APISecret}}:administrator
##
## Start the appliance first, then EMQX: an EMQX that could not ask the appliance tries again only every 15 s.
## Then run ` + "`wfm emqx doctor`" + `.
{{- if not .Version.ExpireAt}}
## EMQX {{.Version}} does not end a session by itself when its login has grown old; 5.7 and newer do.
{{- end}}

## With packages: /etc/emqx/wfm-api-key.
api_key.bootstrap_file = "/opt/emqx/etc/wfm-api-key"
{{- if .Version.BaseFile}}

## From 6.0.3, 6.1.2 and 6.2.1 on this stands in the shipped base.hocon, and without it there is no API.
dashboard.listeners.http.bind = 18083
{{- end}}

## The appliance's own listener: one client that gets what all nodes send. With EMQX's default limits a
## burst would end its session, with every message that waits in it and that nodes believe delivered.
## Keep it away from the public: its clients have no limits.
{{- if .Secure}}
listeners.ssl.wfm {
  bind = {{quoted .Listener.Host}}
  zone = wfm
  ssl_options {
    ## A certificate for the host in WFM_MQTT_URL; its authority goes into WFM_EMQX_CA_FILE.
    certfile = "/opt/emqx/etc/certs/cert.pem"
    keyfile = "/opt/emqx/etc/certs/key.pem"
  }
}
{{- else}}
listeners.tcp.wfm { bind = {{quoted .Listener.Host}}, zone = wfm }
{{- end}}
zones.wfm {
  force_shutdown { enable = false }
  mqtt { max_inflight = {{.Inflight}}, max_mqueue_len = {{.Queue}}, shared_subscription = true }
}

## The appliance takes messages over several sessions; all of one node's go to the same, in order.
broker.shared_subscription_group.wfm.strategy = hash_clientid

mqtt {
  ## A shared subscription is asked about without its $share: nodes need none.
  shared_subscription = false
  ## The appliance keeps what is to be kept.
  retain_available = false
}

## A message that EMQX holds back would outlive the right to send it.
delayed.enable = false

## The appliance sees by these who is connected.
sys_topics.sys_event_messages {
  client_connected = true
  client_disconnected = true
}

authentication = [
{{- if not .DatabaseLogins}}
  ## Nothing else: the built-in database does not look at the client id, and so lets a node take
  ## another's session. While the appliance is away, nobody can log in.
  {
    mechanism = password_based
    backend = http
    method = post
    url = {{quoted .ApplianceURL loginPath}}
    headers {
      "content-type" = "application/json"
      {{quoted keyHeader}} = {{quoted .SharedKey}}
    }
    body {
{{- range loginFields}}
      {{.}} = {{quoted (placeholder .)}}
{{- end}}
    }
    request_timeout = "5s"
  }
{{- else}}
  ## This does not look at the client id: a node can take the session of another whose id it knows,
  ## and the commands that wait in it. Without --logins accounts, EMQX asks the appliance instead.
  {
    mechanism = password_based
    backend = built_in_database
    user_id_type = username
    ## The form in which the appliance hands over its hashes.
    password_hash_algorithm { name = sha256, salt_position = prefix }
  }
{{- end}}
]

authorization {
  ## An appliance that does not answer must not open anything.
  no_match = deny
  deny_action = ignore
  cache { enable = true, max_size = 32, ttl = "1m" }
{{- if .Version.NodeCache}}
  ## A kick does not clear this one, so that a lost right would live on in it.
  node_cache { enable = false }
{{- end}}
  ## Nothing else: EMQX's own default has a file source that ends with {allow, all}.
  sources = [
    {
      type = http
      enable = true
      method = post
      url = {{quoted .ApplianceURL topicPath}}
      headers {
        "content-type" = "application/json"
        {{quoted keyHeader}} = {{quoted .SharedKey}}
      }
      body {
{{- range topicFields}}
        {{.}} = {{quoted (placeholder .)}}
{{- end}}
      }
      request_timeout = "5s"
    }
  ]
}
`))

// quoted joins the parts into a HOCON string.
func quoted(parts ...string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(strings.Join(parts, "")) + `"`
}

// Config writes a configuration for an EMQX that works with the appliance. It contains secrets.
func Config(w io.Writer, o ConfigOptions) error {
	o.ApplianceURL = strings.TrimRight(o.ApplianceURL, "/")
	if o.Listener == nil {
		o.Listener = &url.URL{Scheme: "mqtt", Host: net.JoinHostPort("127.0.0.1", OwnPort)}
	}
	if o.Version == (Version{}) {
		o.Version = DefaultVersion
	}
	if err := configText.Execute(w, o); err != nil {
		return fmt.Errorf("write EMQX's configuration: %w", err)
	}
	return nil
}

// ParseListener parses the address where EMQX listens for the appliance.
func ParseListener(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "mqtt" && u.Scheme != "mqtts") || u.User != nil || u.Path != "" || u.RawQuery != "" || net.ParseIP(u.Hostname()) == nil {
		return nil, errors.New("want mqtt:// or mqtts://, an address of EMQX's machine and perhaps a port, as in mqtt://0.0.0.0:" + OwnPort)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), OwnPort)
	}
	return u, nil
}
