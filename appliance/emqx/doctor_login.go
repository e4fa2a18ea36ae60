package emqx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"wfm/internal/emqxcall"
	"wfm/protocol"
)

// transport reports whether an MQTT connection can be opened.
func (d *doctor) transport(ctx context.Context) bool {
	conn, err := d.dial(ctx)
	if err != nil {
		d.problem("MQTT at "+d.URL.Host+" cannot be reached: "+err.Error(), dialAdvice(err))
		return false
	}
	_ = conn.Close()
	switch {
	case d.URL.Scheme == "mqtts":
		d.ok("MQTT is encrypted, and the certificate of %s is valid", d.URL.Hostname())
	case !loopback(d.URL.Hostname()):
		d.warn("the appliance's own connection to "+d.URL.Host+" is not encrypted", "use mqtts:// unless the network between the two is private")
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

// hostPort returns the URL's host with its port, by default MQTT's.
func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	if u.Scheme == "mqtts" {
		return net.JoinHostPort(u.Hostname(), "8883")
	}
	return net.JoinHostPort(u.Hostname(), "1883")
}

// login logs in as a temporary node.
func (d *doctor) login(ctx context.Context, api bool) {
	if d.SharedKey == "" {
		d.warn("no login was tried", "set WFM_EMQX_AUTHZ_SHARED_KEY to the key that EMQX sends to the appliance")
		return
	}
	id, password, leave, err := admit(ctx, d.API, d.kinds, emqxcall.NewKey(d.SharedKey))
	if err != nil {
		d.problem("a user cannot be imported by its hash: "+err.Error(), "check the API key's role, and that EMQX is 5.5 or newer")
		return
	}
	defer func() {
		if err := leave(); err != nil {
			d.warn("the temporary user could not be deleted: "+err.Error(), "delete "+id+" from EMQX's users")
		}
	}()
	d.refuses(ctx, protocol.ClientID(id), id, "wrong", "a node can log in with a wrong password", "set up the authenticator that `wfm emqx config` prints",
		aboutLogin)
	d.refuses(ctx, protocol.ClientID(id)+"_other", id, password,
		"a node can log in with another's client id, and so take its session and the commands that wait in it", askAtLogins, aboutID, aboutLogin)
	client, ctx, err := d.connect(ctx, protocol.ClientID(id), id, password)
	if err != nil {
		d.tried("a temporary node cannot log in: "+err.Error(), "with logins that are checked by asking, the appliance must run", aboutAsking, aboutLogin)
		return
	}
	d.ok("a temporary node can log in")
	d.topics(ctx, client, id)
	if api {
		d.session(ctx, protocol.ClientID(id))
		d.delayed(ctx, client, id)
	}
	_ = client.Disconnect(&paho.Disconnect{})
}

// refuses tries a login that must fail. If it succeeds, text and advice are the problem.
func (d *doctor) refuses(ctx context.Context, clientID, username, password, text, advice string, about ...aspect) {
	client, _, err := d.connect(ctx, clientID, username, password)
	if err == nil {
		_ = client.Disconnect(&paho.Disconnect{})
		d.tried(text, advice, about...)
	}
}

// connect logs in. The returned context ends with the connection.
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

// topics tries operations that a node may and may not do.
func (d *doctor) topics(ctx context.Context, client *paho.Client, id string) {
	own := func(k protocol.Kind) string {
		return protocol.Topic{ConfigID: emqxcall.CheckConfigID, NodeID: id, Kind: k}.String()
	}
	foreign := protocol.Topic{ConfigID: emqxcall.CheckConfigID, NodeID: "node_other", Kind: protocol.KindEvent}
	const hint = "does the appliance run, does EMQX reach it, and is the shared key right? See `wfm emqx config`"
	var kept, open []string
	if !mayPublish(ctx, client, own(protocol.KindHeartbeat)) {
		kept = append(kept, "a node may not publish to its own topic")
	}
	if !maySubscribe(ctx, client, own(protocol.KindControl)) {
		kept = append(kept, "a node may not subscribe to its own topic")
	}
	if mayPublish(ctx, client, foreign.String()) {
		open = append(open, "a node may publish for another node")
	}
	foreign.Kind = protocol.KindControl
	for _, filter := range []string{foreign.String(), "wfm/#", "$SYS/#"} {
		if maySubscribe(ctx, client, filter) {
			open = append(open, "a node may subscribe to "+filter)
		}
	}
	if len(kept) > 0 {
		d.tried(strings.Join(kept, ", and "), hint, aboutAsking)
	}
	if len(open) > 0 {
		d.tried(strings.Join(open, ", and "), "set authorization.no_match = deny, and remove every source that allows everything", aboutTopics)
	}
	if len(kept)+len(open) == 0 {
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
