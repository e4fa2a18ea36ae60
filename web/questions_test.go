package web_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"wfm/internal/emqxcall"
	"wfm/protocol"
	"wfm/web"
)

func (a *api) systemStatus() object {
	a.t.Helper()
	var out object
	if err := json.Unmarshal(a.call("GET", "/api/v1/system/status", nil).Data, &out); err != nil {
		a.t.Fatal(err)
	}
	return out
}

func TestQuestionsAreAnsweredBesideTheEmbeddedBrokerAndTold(t *testing.T) {
	a := newAPI(t, func(o *web.Options) { o.Asked = &web.ExternalBroker{Key: emqxcall.NewKey(sharedKey)} })
	_, bound := a.boundNode()
	id := bound.Node.ID
	told := func() object {
		t.Helper()
		service := a.systemStatus()["services"].(object)["mqtt"].(object)
		questions, ok := service["questions"].(object)
		if !ok {
			t.Fatalf("the status has no questions: %v", service)
		}
		return questions
	}
	if q := told(); q["last_asked_at"] != nil || q["denied"] != 0.0 {
		t.Errorf("before any question: %v", q)
	}
	topic := protocol.Topic{ConfigID: bound.Node.ConfigID, NodeID: id, Kind: protocol.KindEvent}.String()
	for _, c := range []struct {
		what, want string
		q          object
	}{
		{"auth", "allow", object{"username": id, "password": bound.Password, "clientid": protocol.ClientID(id)}},
		{"auth", "deny", object{"username": id, "password": "wrong", "clientid": protocol.ClientID(id)}},
		{"auth", "ignore", object{"username": "another", "password": "x", "clientid": "y"}},
		{"auth", "ignore", object{"username": "", "password": "", "clientid": ""}}, // the appliance has no account
		{"authz", "deny", object{"username": "", "clientid": "", "topic": "wfm/a/b/event", "action": "publish"}},
		{"authz", "allow", object{"username": id, "clientid": protocol.ClientID(id), "topic": topic, "action": "publish"}},
		{"authz", "deny", object{"username": id, "clientid": protocol.ClientID(id), "topic": "wfm/#", "action": "subscribe"}},
	} {
		if got := a.asked(c.what, c.q); got != c.want {
			t.Errorf("%s %v: %s, want %s", c.what, c.q, got, c.want)
		}
	}
	if r := a.call("POST", "/api/internal/emqx/authz", object{}, as(""), header("x-wfm-internal-key", "another")); r.status != http.StatusUnauthorized {
		t.Errorf("a wrong key: %d", r.status)
	}
	q := told()
	if q["allowed"] != 2.0 || q["denied"] != 3.0 || q["ignored"] != 2.0 || q["wrong_key"] != 1.0 || q["last_asked_at"] == nil || q["last_denied_at"] == nil ||
		q["last_asked_from"] == "" {
		t.Errorf("status: %v", q)
	}
	metrics := a.call("GET", "/metrics", nil).body
	for _, want := range []string{
		`wfm_emqx_questions_total{answer="deny"} 3`, `wfm_emqx_questions_total{answer="wrong_key"} 1`,
		"wfm_emqx_last_question_timestamp_seconds ",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("%s is missing in\n%s", want, metrics)
		}
	}
}

func TestQuestionsAreNotAnsweredWithoutAKey(t *testing.T) {
	a := newAPI(t)
	if r := a.call("POST", "/api/internal/emqx/authz", object{}, as(""), header("x-wfm-internal-key", sharedKey)); r.status != http.StatusNotFound {
		t.Errorf("answered: %d %s", r.status, r.body)
	}
	if strings.Contains(a.call("GET", "/metrics", nil).body, "wfm_emqx") {
		t.Error("the metrics tell of questions")
	}
}
