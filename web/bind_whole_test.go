package web_test

import (
	"net/http"
	"strings"
	"testing"

	"wfm/internal/tlsproblem"
	"wfm/protocol"
	"wfm/store"
	"wfm/web"
)

// longCA is a certificate source whose CA has the given length.
type longCA struct {
	*certificates
	length int
}

func (c *longCA) CACert(string) (string, error) { return strings.Repeat("x", c.length), c.err }

func TestABindThatCannotSucceedSpendsNothing(t *testing.T) {
	ca := &longCA{certificates: &certificates{hosts: map[string]bool{}}}
	a := newAPI(t, func(o *web.Options) { o.MQTTTLS, o.Certificates, o.MQTTPort = true, ca, 8883 })
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	var before protocol.BindResponse
	a.post("/api/client/bind", bindBody(a.bindToken(cfg, node))).ok(&before)
	former := before.MQTT.Password
	a.broker.taken()
	named := func(name string) {
		a.update(func(tx *store.Tx) error { // an import of another server's nodes may have left such a name
			n, err := tx.Node(node)
			if err != nil {
				return err
			}
			n.InterfaceName = name
			return tx.PutNode(&n)
		})
	}
	token := a.bindToken(cfg, node)
	bind := func(platform string) *reply {
		body := bindBody(token)
		body["platform"] = platform
		return a.call("POST", "/api/client/bind", body, as(""))
	}
	refused := func(what, platform string, status int, code, word string) {
		t.Helper()
		r := bind(platform).fails(status, code)
		if !strings.Contains(r.Error.Message, word) {
			t.Errorf("%s: %q does not say %q", what, r.Error.Message, word)
		}
		if g, ok := a.db.Grant(node); !ok || !g.CheckPassword([]byte(former)) {
			t.Errorf("%s: the former password works no more", what)
		}
		if rights := a.broker.taken(); len(rights) != 0 {
			t.Errorf("%s: rights changed of %v", what, rights)
		}
	}
	ca.err = tlsproblem.ErrNotReady
	refused("no CA yet", "linux", 409, "MQTT_TLS_CA_NOT_READY", "try again soon")
	ca.err = nil
	ca.length = protocol.MaxBindAnswer
	refused("an answer that no agent reads", "linux", 409, "BIND_ANSWER_TOO_LARGE", "Nothing was bound")
	ca.length = 10
	named("mesh-main-node-a")
	refused("an interface name that Linux refuses", "linux", 409, "INTERFACE_NAME_UNUSABLE", `"mesh-main-node-a"`)
	refused("and any platform that is not known", "", 409, "INTERFACE_NAME_UNUSABLE", "at most 15 characters")
	if r := bind("windows"); r.status != http.StatusOK { // Windows accepts such a name
		t.Errorf("the token was spent: %d %s", r.status, r.body)
	}
}
