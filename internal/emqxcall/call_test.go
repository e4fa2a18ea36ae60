package emqxcall

import (
	"encoding/json"
	"testing"
)

// These values stand in configurations that do not change when the appliance is updated.
func TestTheContractIsTheOneInTheField(t *testing.T) {
	if LoginPath != "/api/internal/emqx/auth" || TopicPath != "/api/internal/emqx/authz" || KeyHeader != "x-wfm-internal-key" {
		t.Error(LoginPath, TopicPath, KeyHeader)
	}
	for _, tc := range []struct {
		fields []string
		want   string
	}{
		{LoginFields(), `{"clientid":"${clientid}","password":"${password}","username":"${username}"}`},
		{TopicFields(), `{"action":"${action}","clientid":"${clientid}","retain":"${retain}","topic":"${topic}","username":"${username}"}`},
	} {
		body, err := json.Marshal(Body(tc.fields))
		if err != nil || string(body) != tc.want {
			t.Errorf("%s, want %s (%v)", body, tc.want, err)
		}
	}
	for want, a := range map[string]Answer{
		`{"result":"deny"}`:                         {Result: Deny},
		`{"result":"ignore"}`:                       {Result: Ignore},
		`{"result":"allow","is_superuser":true}`:    {Result: Allow, IsSuperuser: true},
		`{"result":"allow","expire_at":1700000000}`: {Result: Allow, ExpireAt: 1_700_000_000},
	} {
		if raw, err := json.Marshal(a); err != nil || string(raw) != want {
			t.Errorf("%s, want %s (%v)", raw, want, err)
		}
	}
}

func TestEveryFieldOfAQuestionIsRead(t *testing.T) {
	for want, fields := range map[Question][]string{
		{Username: "u", Password: "p", ClientID: "c"}:                                 LoginFields(),
		{Username: "u", ClientID: "c", Topic: "t", Action: "publish", Retain: "true"}: TopicFields(),
	} {
		sent := Question{"u", "p", "c", "t", "publish", "true"}.Form(fields)
		raw, err := json.Marshal(sent)
		if err != nil {
			t.Fatal(err)
		}
		var q Question
		if err := json.Unmarshal(raw, &q); err != nil || q != want || len(sent) != len(fields) {
			t.Errorf("%s is read as %+v, want %+v (%v)", raw, q, want, err)
		}
	}
	for retain, want := range map[any]bool{"true": true, true: true, "false": false, false: false, nil: false, "": false, "1": false} {
		if got := (Question{Retain: retain}).Retained(); got != want {
			t.Errorf("retain %v: %v", retain, got)
		}
	}
}
