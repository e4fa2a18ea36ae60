package rights

import (
	"testing"

	"wfm/protocol"
	"wfm/store"
)

func TestAdmitRefusesForTheFirstFault(t *testing.T) {
	g := store.NewGrant("node_a", "cfg_x", "secret")
	own := protocol.Topic{ConfigID: "cfg_x", NodeID: "node_a", Kind: protocol.KindEvent}.String()
	login := func(clientID, password string, will *Will) Login { return Login{clientID, []byte(password), will} }
	for name, tc := range map[string]struct {
		grant store.Grant
		login Login
		want  Verdict
	}{
		"own login":              {g, login("wfm-node_a", "secret", nil), Admitted},
		"own will":               {g, login("wfm-node_a", "secret", &Will{Topic: own, QoS: 1}), Admitted},
		"no grant":               {store.Grant{}, login("wfm-node_a", "secret", nil), UnknownUser},
		"no grant, no password":  {store.Grant{}, login("wfm-", "", nil), UnknownUser},
		"wrong password":         {g, login("wfm-node_a", "Secret", nil), WrongPassword},
		"empty password":         {g, login("wfm-node_a", "", nil), WrongPassword},
		"client ID of another":   {g, login("wfm-node_b", "secret", nil), ForeignClientID},
		"bare client ID":         {g, login("node_a", "secret", nil), ForeignClientID},
		"empty client ID":        {g, login("", "secret", nil), ForeignClientID},
		"longer client ID":       {g, login("wfm-node_a1", "secret", nil), ForeignClientID},
		"will of another":        {g, login("wfm-node_a", "secret", &Will{Topic: "wfm/cfg_x/node_b/event"}), ForbiddenWill},
		"will on a heartbeat":    {g, login("wfm-node_a", "secret", &Will{Topic: "wfm/cfg_x/node_a/heartbeat"}), ForbiddenWill},
		"will that is retained":  {g, login("wfm-node_a", "secret", &Will{Topic: own, Retain: true}), ForbiddenWill},
		"will with QoS 2":        {g, login("wfm-node_a", "secret", &Will{Topic: own, QoS: 2}), ForbiddenWill},
		"wrong ID and bad will":  {g, login("other", "secret", &Will{Topic: own, QoS: 2}), ForeignClientID},
		"nothing of it is right": {g, login("other", "x", &Will{}), WrongPassword},
	} {
		if got := Admit(tc.grant, tc.login); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

func TestASessionHasRightsWhileItsOwnGrantIsTheCurrentOne(t *testing.T) {
	g, later := store.NewGrant("node_a", "cfg_x", "a"), store.NewGrant("node_a", "cfg_x", "b")
	own := Session{ClientID: "wfm-node_a", Generation: g.Generation}
	for name, tc := range map[string]struct {
		grant   store.Grant
		session Session
		want    bool
	}{
		"its own":             {g, own, true},
		"a later one":         {later, own, false},
		"none":                {store.Grant{}, own, false},
		"none, of no session": {store.Grant{}, Session{ClientID: "wfm-"}, false},
		"client ID differs":   {g, Session{ClientID: "wfm-node_b", Generation: g.Generation}, false},
	} {
		const topic, filter = "wfm/cfg_x/node_a/event", "wfm/cfg_x/node_a/control"
		holds, publish, subscribe := Holds(tc.grant, tc.session), MayPublish(tc.grant, tc.session, topic, false), MaySubscribe(tc.grant, tc.session, filter)
		if holds != tc.want || publish != tc.want || subscribe != tc.want {
			t.Errorf("%s: holds %v, may publish %v, may subscribe %v, want %v", name, holds, publish, subscribe, tc.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _ = Holds(g, own) }); n != 0 {
		t.Errorf("%v allocations for each message", n)
	}
	if MayPublish(g, own, "wfm/cfg_x/node_a/event", true) {
		t.Error("a session may have a message retained")
	}
	if MayPublish(g, own, "wfm/cfg_x/node_a/control", false) || MaySubscribe(g, own, "wfm/cfg_x/node_a/event") {
		t.Error("a session may use a topic in the wrong direction")
	}
}
