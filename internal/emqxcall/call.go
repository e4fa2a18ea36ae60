package emqxcall

import (
	"maps"
	"slices"
)

// The requests, each a POST with a [Question] as JSON, and the header with the shared secret.
const (
	LoginPath = "/api/internal/emqx/auth"
	TopicPath = "/api/internal/emqx/authz"
	KeyHeader = "x-wfm-internal-key"
)

// RetainField may be missing: then the appliance does not learn whether a message is to be retained.
const RetainField = "retain"

// LoginFields returns the fields of a question about a login.
func LoginFields() []string { return []string{"username", "password", "clientid"} }

// TopicFields returns the fields of a question about a topic.
func TopicFields() []string { return []string{"username", "clientid", "topic", "action", RetainField} }

// Placeholder returns the text for which EMQX puts in the value of the field.
func Placeholder(field string) string { return "${" + field + "}" }

// Body returns the body of a question as it stands in EMQX's configuration.
func Body(fields []string) map[string]string {
	body := make(map[string]string, len(fields))
	for _, f := range fields {
		body[f] = Placeholder(f)
	}
	return body
}

// The actions of a question about a topic.
const (
	Publish   = "publish"
	Subscribe = "subscribe"
)

// Question is a question of EMQX, which writes every value as a string.
type Question struct {
	Username string `json:"username"`
	Password string `json:"password"` // of a login
	ClientID string `json:"clientid"`
	Topic    string `json:"topic"`  // a topic name, or a filter without $share
	Action   string `json:"action"` // publish or subscribe
	Retain   any    `json:"retain"` // "true" or "false"; a boolean is understood too
}

// Retained reports whether the message is to be retained.
func (q Question) Retained() bool { return q.Retain == "true" || q.Retain == true }

// Form returns the named fields as EMQX sends them.
func (q Question) Form(fields []string) map[string]string {
	retain := "false"
	if q.Retained() {
		retain = "true"
	}
	all := map[string]string{
		"username": q.Username, "password": q.Password, "clientid": q.ClientID, "topic": q.Topic, "action": q.Action, RetainField: retain,
	}
	maps.DeleteFunc(all, func(field, _ string) bool { return !slices.Contains(fields, field) })
	return all
}

// The results of an answer.
const (
	Allow  = "allow"
	Deny   = "deny"
	Ignore = "ignore" // EMQX asks the next source; none of ours
)

// Answer is the answer, always with status 200: EMQX takes another status for no answer at all.
type Answer struct {
	Result      string `json:"result"`
	IsSuperuser bool   `json:"is_superuser,omitempty"`
	ExpireAt    int64  `json:"expire_at,omitempty"` // of a login, in Unix seconds; 0: never
}
