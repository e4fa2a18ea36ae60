package emqx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"wfm/internal/emqxkey"
	"wfm/protocol"
)

// Level is how bad a finding is.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Problem Level = "problem" // it does not work, or is not safe
)

// Finding is one thing that was looked at.
type Finding struct {
	Level  Level
	Text   string
	Advice string // what to change; empty when nothing is to
}

// DoctorOptions are what Diagnose needs.
type DoctorOptions struct {
	URL *url.URL
	TLS *tls.Config // for mqtts
	API *API
	// SharedKey is needed to log in as a throwaway node: the appliance knows such a node by it. The
	// appliance must run. Empty: no login is tried.
	SharedKey string
}

// doctor gathers findings.
type doctor struct {
	DoctorOptions
	found []Finding
	kinds kinds
}

func (d *doctor) ok(text string, args ...any) {
	d.found = append(d.found, Finding{Level: OK, Text: fmt.Sprintf(text, args...)})
}

func (d *doctor) warn(text, advice string) {
	d.found = append(d.found, Finding{Warning, text, advice})
}

func (d *doctor) problem(text, advice string) {
	d.found = append(d.found, Finding{Problem, text, advice})
}

// Diagnose looks whether EMQX is set up as the appliance needs it, then logs in as a throwaway node
// and tries what a node may do and what it may not.
func Diagnose(ctx context.Context, o DoctorOptions) []Finding {
	d := &doctor{DoctorOptions: o}
	if d.reachable(ctx) {
		d.authentication(ctx)
		d.settings(ctx)
		d.sources(ctx)
	}
	if d.transport(ctx) {
		d.login(ctx)
	}
	return d.found
}

func (d *doctor) reachable(ctx context.Context) bool {
	if err := d.API.call(ctx, "GET", "/status?format=json", nil, nil); err != nil {
		var answered *APIError
		if !errors.As(err, &answered) {
			d.problem(err.Error(), "check WFM_EMQX_API_BASE_URL, and that EMQX runs")
			return false
		}
		d.warn(fmt.Sprintf("EMQX says that it is not well (%d)", answered.Status), "look at EMQX's log")
	}
	if _, err := d.API.authenticators(ctx); err != nil {
		d.problem(err.Error(), "make an API key with the role administrator, as `wfm emqx config` shows")
		return false
	}
	d.ok("the management API answers, and takes the key")
	return true
}

func (d *doctor) authentication(ctx context.Context) {
	all, err := d.API.authenticators(ctx)
	if err == nil {
		d.kinds, err = kindsOf(all)
	}
	switch {
	case errors.Is(err, errHash):
		d.problem("the built-in database does not take users by name with sha256 hashes and the salt as prefix: no node can log in",
			"set password_hash_algorithm { name = sha256, salt_position = prefix } and user_id_type = username, as `wfm emqx config` prints")
	case err != nil:
		d.problem("nobody checks who logs in, or nobody who knows the nodes",
			"set up the authenticator that `wfm emqx config` prints; without one anybody may log in")
	case d.kinds.database && d.kinds.http:
		d.problem("behind the question at logins stands the built-in database, which does not look at the client id: while the appliance is away, a node can take another's session",
			"remove the authenticator of the built-in database, as `wfm emqx config` prints")
	case d.kinds.database:
		d.warn("logins are checked against the built-in database (sha256, salt as prefix), which does not look at the client id", askAtLogins)
	}
	for _, a := range all {
		switch {
		case !a.enabled() || a.Backend != "http":
		case !strings.HasSuffix(a.URL, "/api/internal/emqx/auth"):
			d.problem("EMQX asks at "+place(a.URL)+" who may log in, which is not the appliance", askAtLogins)
		case d.asks(a.request, "username", "password", "clientid"):
			d.ok("EMQX asks the appliance at %s who may log in", place(a.URL))
		}
	}
}

const askAtLogins = "have EMQX ask the appliance at logins, and nobody else, as `wfm emqx config` prints"

// place is the URL without what may be a secret in it.
func place(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "an address that is none"
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// cacheMost is how long EMQX may remember an answer without a warning.
const cacheMost = 5 * time.Minute

func (d *doctor) settings(ctx context.Context) {
	s, err := d.API.authzSettings(ctx)
	if err != nil {
		d.problem("the authorization settings cannot be read: "+err.Error(), "")
		return
	}
	if s.NoMatch == "deny" {
		d.ok("what no source decides is denied")
	} else {
		d.problem("no_match is "+s.NoMatch+": whenever the appliance does not answer, every node may do everything", "set authorization.no_match = deny")
	}
	if ttl := s.remembers(); ttl > cacheMost {
		d.warn(fmt.Sprintf("EMQX remembers for %s what a node may do; whom it cannot be made to forget keeps a lost right as long", ttl), `set authorization.cache.ttl = "1m"`)
	}
	if s.DenyAction == "disconnect" {
		d.warn("deny_action is disconnect: a moment without the appliance cuts off every node that EMQX asks about", "set authorization.deny_action = ignore")
	}
}

// allowsAll finds a rule of a file source that lets everybody do everything.
var allowsAll = regexp.MustCompile(`(?m)^\s*\{\s*allow\s*,\s*all\s*(,\s*(all|publish|subscribe)\s*,\s*\[\s*"#"\s*\]\s*)?\}`)

func (d *doctor) sources(ctx context.Context) {
	all, err := d.API.authzSources(ctx)
	if err != nil {
		d.problem("the authorization sources cannot be read: "+err.Error(), "")
		return
	}
	asks := false
	for _, s := range all {
		switch {
		case !s.enabled():
		case s.Type == "http" && strings.Contains(s.URL, "/api/internal/emqx/authz"):
			asks = true
			if d.asks(s.request, "username", "clientid", "topic", "action") {
				d.ok("EMQX asks the appliance at %s what nodes may do", place(s.URL))
			}
			if _, ok := s.Body["retain"]; !ok {
				d.warn("the question does not say whether a message is to be retained, so that a node could have EMQX keep one", `set body.retain = "${retain}"`)
			}
		case s.Type == "file" && allowsAll.MatchString(s.Rules):
			d.problem("a file source ends with {allow, all}: whenever the appliance does not answer, every node may do everything",
				"remove the rule, or the file source from authorization.sources")
		default:
			d.warn("EMQX also asks a source of type "+s.Type, "see to it that it allows nothing under wfm/")
		}
	}
	if !asks {
		d.problem("EMQX does not ask the appliance what nodes may do", "add the source of type http that `wfm emqx config` prints")
	}
}

// asks reports whether EMQX asks as the appliance wants it, with these fields.
func (d *doctor) asks(s request, fields ...string) bool {
	faults := 0
	fault := func(text, advice string) { faults++; d.problem(text, advice) }
	if !strings.EqualFold(s.Method, "post") {
		fault("EMQX asks the appliance with "+s.Method, "set method = post")
	}
	for _, field := range fields {
		if v, _ := s.Body[field].(string); v != "${"+field+"}" {
			fault("the question does not hold the "+field, `set body.`+field+` = "${`+field+`}"`)
		}
	}
	key, hidden := "", false
	for name, value := range s.Headers {
		if strings.EqualFold(name, "x-wfm-internal-key") {
			key, hidden = value, strings.Trim(value, "*") == ""
		}
	}
	switch {
	case key == "" && !hidden:
		fault("EMQX does not show a key when it asks", "set headers.x-wfm-internal-key to WFM_EMQX_AUTHZ_SHARED_KEY")
	case d.SharedKey != "" && !hidden && !emqxkey.New(d.SharedKey).Fits(key):
		fault("EMQX shows another key than WFM_EMQX_AUTHZ_SHARED_KEY when it asks", "set headers.x-wfm-internal-key to it")
	}
	return faults == 0
}

// transport reports whether a connection to MQTT can be had.
func (d *doctor) transport(ctx context.Context) bool {
	conn, err := d.dial(ctx)
	if err != nil {
		d.problem("MQTT at "+d.URL.Host+" cannot be reached: "+err.Error(), dialAdvice(err))
		return false
	}
	_ = conn.Close()
	switch {
	case d.URL.Scheme == "mqtts":
		d.ok("MQTT is encrypted, and the certificate of %s holds", d.URL.Hostname())
	case !loopback(d.URL.Hostname()):
		d.warn("the appliance's own connection to "+d.URL.Host+" is not encrypted", "use mqtts:// unless the network between the two is yours alone")
	}
	return true
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

func dialAdvice(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		return "set WFM_EMQX_CA_FILE to the certificate authority of EMQX's certificate"
	case errors.As(err, &name):
		return "use a name in WFM_MQTT_URL that stands in EMQX's certificate"
	}
	return "check WFM_MQTT_URL, and EMQX's listeners"
}

func (d *doctor) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	if d.URL.Scheme != "mqtts" {
		return (&net.Dialer{}).DialContext(ctx, "tcp", hostPort(d.URL))
	}
	c := d.TLS.Clone()
	if c.ServerName == "" {
		c.ServerName = d.URL.Hostname()
	}
	return (&tls.Dialer{Config: c}).DialContext(ctx, "tcp", hostPort(d.URL))
}

// hostPort is the host of the URL with MQTT's port unless it names one.
func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	if u.Scheme == "mqtts" {
		return net.JoinHostPort(u.Hostname(), "8883")
	}
	return net.JoinHostPort(u.Hostname(), "1883")
}

// login logs in as a node that is there for this only.
func (d *doctor) login(ctx context.Context) {
	if d.SharedKey == "" {
		d.warn("no login was tried", "set WFM_EMQX_AUTHZ_SHARED_KEY to the key that EMQX shows the appliance")
		return
	}
	id, password, leave, err := admit(ctx, d.API, d.kinds, emqxkey.New(d.SharedKey))
	if err != nil {
		d.problem("a user cannot be imported by its hash: "+err.Error(), "EMQX 5.5 or newer is needed")
		return
	}
	defer func() {
		if err := leave(); err != nil {
			d.warn("the throwaway user could not be deleted: "+err.Error(), "delete "+id+" from EMQX's users")
		}
	}()
	d.refuses(ctx, protocol.ClientID(id), id, "wrong", "a node can log in with a wrong password", "set up the authenticator that `wfm emqx config` prints")
	d.refuses(ctx, protocol.ClientID(id)+"_other", id, password,
		"a node can log in with another's client id, and so take its session and the commands that wait in it", askAtLogins)
	client, ctx, err := d.connect(ctx, protocol.ClientID(id), id, password)
	if err != nil {
		d.problem("a throwaway node cannot log in: "+err.Error(), "see above; with logins that are checked by asking, the appliance must run")
		return
	}
	d.ok("a throwaway node can log in")
	d.topics(ctx, client, id)
	_ = client.Disconnect(&paho.Disconnect{})
}

// refuses tries a login that must fail; text and advice are the problem if it does not.
func (d *doctor) refuses(ctx context.Context, clientID, username, password, text, advice string) {
	client, _, err := d.connect(ctx, clientID, username, password)
	if err == nil {
		_ = client.Disconnect(&paho.Disconnect{})
		d.problem(text, advice)
	}
}

// connect logs in. The context it returns ends with the connection.
func (d *doctor) connect(ctx context.Context, clientID, username, password string) (*paho.Client, context.Context, error) {
	conn, err := d.dial(ctx)
	if err != nil {
		return nil, ctx, err
	}
	open, lost := context.WithCancel(ctx)
	client := paho.NewClient(paho.ClientConfig{
		Conn: packets.NewThreadSafeConn(conn), PacketTimeout: connectLimit,
		OnClientError: func(error) { lost() }, OnServerDisconnect: func(*paho.Disconnect) { lost() },
	})
	login, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	_, err = client.Connect(login, &paho.Connect{
		ClientID: clientID, CleanStart: true, KeepAlive: keepAlive,
		Username: username, UsernameFlag: true, Password: []byte(password), PasswordFlag: true,
	})
	if err != nil {
		lost()
		_ = conn.Close()
		return nil, ctx, err
	}
	return client, open, nil
}

// topics tries what a node may do, and what it may not.
func (d *doctor) topics(ctx context.Context, client *paho.Client, id string) {
	own := func(k protocol.Kind) string {
		return protocol.Topic{ConfigID: emqxkey.CheckConfigID, NodeID: id, Kind: k}.String()
	}
	other := protocol.Topic{ConfigID: emqxkey.CheckConfigID, NodeID: "node_other", Kind: protocol.KindEvent}
	const hint = "does the appliance run, does EMQX reach it, and is the shared key right? See `wfm emqx config`"
	before := len(d.found)
	if !mayPublish(ctx, client, own(protocol.KindHeartbeat)) {
		d.problem("a node may not publish to its own topic", hint)
	}
	if !maySubscribe(ctx, client, own(protocol.KindControl)) {
		d.problem("a node may not subscribe to its own topic", hint)
	}
	const open = "set authorization.no_match = deny, and remove every source that allows everything"
	if mayPublish(ctx, client, other.String()) {
		d.problem("a node may publish for another node", open)
	}
	other.Kind = protocol.KindControl
	for _, filter := range []string{other.String(), "wfm/#", "$SYS/#"} {
		if maySubscribe(ctx, client, filter) {
			d.problem("a node may subscribe to "+filter, open)
		}
	}
	if len(d.found) == before {
		d.ok("a node may use its own topics, and no others")
	}
}

func mayPublish(ctx context.Context, client *paho.Client, topic string) bool {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	_, err := client.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(`{"payload":{}}`)})
	return err == nil
}

func maySubscribe(ctx context.Context, client *paho.Client, filter string) bool {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	ack, err := client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
	return err == nil && len(ack.Reasons) == 1 && ack.Reasons[0] < reasonRefused
}
