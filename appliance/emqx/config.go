package emqx

import (
	"fmt"
	"io"
	"strings"
	"text/template"
)

// ConfigOptions are what Config puts into EMQX's configuration.
type ConfigOptions struct {
	// ApplianceURL is where EMQX reaches the appliance, as in http://wfm:8000.
	ApplianceURL string
	SharedKey    string
	// APIKey and APISecret are for the appliance to use EMQX's management API with.
	APIKey, APISecret string
	// DatabaseLogins has EMQX check logins against its built-in database, without the appliance. It
	// does not look at the client id then: a node can take the session of another whose id it knows.
	DatabaseLogins bool
}

// configText is EMQX 5's base.hocon. Whatever stands in quotes is literal to EMQX.
var configText = template.Must(template.New("base.hocon").Funcs(template.FuncMap{"quoted": quoted}).Parse(
	`## EMQX 5 (5.5 or newer) for the WFM Appliance: etc/base.hocon.
##
## The appliance gets:
##   WFM_EMQX_AUTHZ_SHARED_KEY={{.SharedKey}}
##   WFM_EMQX_API_KEY={{.APIKey}}
##   WFM_EMQX_API_SECRET={{.APISecret}}
## and, with this EMQX's addresses in the place of the names,
##   WFM_MQTT_URL=mqtt://emqx:1883
##   WFM_EMQX_API_BASE_URL=http://emqx:18083
##
## The file etc/wfm-api-key has one line:
##   {{.APIKey}}:{{.APISecret}}:administrator

api_key.bootstrap_file = "/opt/emqx/etc/wfm-api-key"

mqtt {
  ## What nodes send while the appliance restarts waits for it.
  max_mqueue_len = 100000
  ## A shared subscription is asked about without its $share: nodes need none.
  shared_subscription = false
}

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
    url = {{quoted .ApplianceURL "/api/internal/emqx/auth"}}
    headers {
      "content-type" = "application/json"
      "x-wfm-internal-key" = {{quoted .SharedKey}}
    }
    body {
      username = "${username}"
      password = "${password}"
      clientid = "${clientid}"
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
  ## Nothing else: EMQX's own default has a file source that ends with {allow, all}.
  sources = [
    {
      type = http
      enable = true
      method = post
      url = {{quoted .ApplianceURL "/api/internal/emqx/authz"}}
      headers {
        "content-type" = "application/json"
        "x-wfm-internal-key" = {{quoted .SharedKey}}
      }
      body {
        username = "${username}"
        clientid = "${clientid}"
        topic = "${topic}"
        action = "${action}"
        retain = "${retain}"
      }
      request_timeout = "5s"
    }
  ]
}
`))

// quoted makes a HOCON string of the parts.
func quoted(parts ...string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(strings.Join(parts, "")) + `"`
}

// Config writes a base.hocon for an EMQX that the appliance works with. It holds secrets.
func Config(w io.Writer, o ConfigOptions) error {
	o.ApplianceURL = strings.TrimRight(o.ApplianceURL, "/")
	if err := configText.Execute(w, o); err != nil {
		return fmt.Errorf("write base.hocon: %w", err)
	}
	return nil
}
