package web_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"wfm/store"
	"wfm/web/access"
)

type tokenJSON struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Scope      string     `json:"scope"`
	Token      string     `json:"token"`
	ExpiresAt  *time.Time `json:"expires_at"`
	LastUsedAt *time.Time `json:"last_used_at"`
	Expired    bool       `json:"expired"`
}

func (a *api) addToken(name, scope string) (t tokenJSON) {
	a.t.Helper()
	a.post("/api/v1/auth/tokens", object{"name": name, "scope": scope}).ok(&t)
	return t
}

func TestAnAPITokenIsShownOnceListedAndDeleted(t *testing.T) {
	a := newAPI(t)
	var made tokenJSON
	r := a.post("/api/v1/auth/tokens", object{"name": "ci", "scope": "write", "expires_in_days": 7}).ok(&made)
	if made.ID == "" || !strings.HasPrefix(made.Token, store.TokenPrefix) || made.ExpiresAt == nil || time.Until(*made.ExpiresAt) < 6*24*time.Hour {
		t.Errorf("made %s", r.body)
	}
	a.post("/api/v1/auth/tokens", object{"name": "ci", "scope": "read"}).fails(409, "TOKEN_NAME_EXISTS")
	a.post("/api/v1/auth/tokens", object{"name": "x", "scope": "admin"}).invalid("scope")
	a.post("/api/v1/auth/tokens", object{"scope": "read"}).invalid("name")
	a.post("/api/v1/auth/tokens", object{"name": "x", "scope": "read", "expires_in_days": 0}).invalid("expires_in_days")

	var listed []tokenJSON
	r = a.get("/api/v1/auth/tokens").ok(&listed)
	if len(listed) != 1 || listed[0].ID != made.ID || listed[0].LastUsedAt != nil || strings.Contains(r.body, made.Token) {
		t.Errorf("listed %s", r.body)
	}
	a.call("GET", "/api/v1/configs", nil, as(made.Token)).ok(nil)
	if a.get("/api/v1/auth/tokens").ok(&listed); listed[0].LastUsedAt == nil {
		t.Error("its use was not noted")
	}
	a.del("/api/v1/auth/tokens/" + made.ID).ok(nil)
	a.del("/api/v1/auth/tokens/"+made.ID).fails(404, "TOKEN_NOT_FOUND")
	a.call("GET", "/api/v1/configs", nil, as(made.Token)).fails(401, "INVALID_TOKEN")
}

func TestAReadTokenReadsAndAWriteTokenWritesAndNoneManagesTheAccount(t *testing.T) {
	a := newAPI(t)
	read, write := a.addToken("looker", "read").Token, a.addToken("doer", "write").Token
	a.call("GET", "/api/v1/configs", nil, as(read)).ok(nil)
	a.call("POST", "/api/v1/configs", object{"name": "a"}, as(read)).fails(403, "FORBIDDEN")
	a.call("GET", "/api/v1/system/backup", nil, as(read)).fails(403, "FORBIDDEN")
	var state authState
	if a.call("GET", "/api/v1/auth/session", nil, as(read)).ok(&state); state.Username != "token looker" || state.ExpiresAt != nil {
		t.Errorf("state of a token: %+v", state)
	}
	cfg := configJSON{}
	a.call("POST", "/api/v1/configs", object{"name": "a"}, as(write)).ok(&cfg)
	node := a.addNode(cfg.ID, "n")
	a.bind(node)
	a.call("POST", nodePath(cfg.ID, node)+"/endpoint/control", object{"action": "start"}, as(write)).ok(nil)
	if got := a.commands.issuedSoFar(); len(got) != 1 || got[0].by != "token doer" {
		t.Errorf("issued %+v", got)
	}
	for _, token := range []string{read, write} {
		for _, call := range []string{
			"GET /api/v1/auth/tokens", "POST /api/v1/auth/tokens", "DELETE /api/v1/auth/tokens/x", "POST /api/v1/auth/password",
			"POST /api/v1/auth/logout", "GET /api/v1/auth/sessions", "DELETE /api/v1/auth/sessions", "DELETE /api/v1/auth/sessions/x",
		} {
			method, path, _ := strings.Cut(call, " ")
			a.call(method, path, "{}", as(token)).fails(403, "FORBIDDEN")
		}
		// A token in a cookie does not count, so that the page of another site cannot use it.
		a.call("GET", "/api/v1/configs", nil, as(""), header("Cookie", "wfm_session="+token)).fails(401, "INVALID_TOKEN")
	}
}

func TestAnExpiredTokenSaysSo(t *testing.T) {
	a := newAPI(t)
	var secret string
	a.update(func(tx *store.Tx) (err error) {
		_, secret, err = tx.CreateToken("old", store.ScopeRead, tx.Now().Add(-time.Second))
		return err
	})
	a.call("GET", "/api/v1/configs", nil, as(secret)).fails(401, "TOKEN_EXPIRED")
	var listed []tokenJSON
	if a.get("/api/v1/auth/tokens").ok(&listed); len(listed) != 1 || !listed[0].Expired {
		t.Errorf("listed %+v", listed)
	}
}

func TestUsingATokenDoesNotWriteEachTime(t *testing.T) {
	a := newAPI(t)
	token := a.addToken("busy", "read").Token
	a.call("GET", "/api/v1/configs", nil, as(token)).ok(nil)
	lastUsed := func() (at time.Time) {
		_ = a.db.View(func(tx *store.Tx) error { v, _, err := tx.Token(token); at = v.LastUsedAt; return err })
		return at
	}
	first := lastUsed()
	for range 20 {
		a.call("GET", "/api/v1/configs", nil, as(token)).ok(nil)
	}
	if again := lastUsed(); first.IsZero() || !again.Equal(first) {
		t.Errorf("noted %v, then %v", first, again)
	}
}

func TestTheStreamOfATokenEndsWhenItIsDeleted(t *testing.T) {
	a := newAPI(t)
	admin, made := a.token, a.addToken("watcher", "read")
	a.token = made.Token
	s := a.stream("").greeted()
	a.token = admin
	a.addConfig("seen")
	s.want("config.list.updated")
	s.want("config.overview.updated")
	a.del("/api/v1/auth/tokens/" + made.ID).ok(nil)
	if f := s.next(); f.err == nil {
		t.Errorf("after the token was deleted came %+v", f)
	}
}

func TestSessionsAreListedAndEnded(t *testing.T) {
	a := newAPI(t)
	other, third := adminSession(t, a.db, time.Hour), adminSession(t, a.db, time.Hour)
	type sessionJSON struct {
		ID         string `json:"id"`
		RemoteAddr string `json:"remote_addr"`
		Current    bool   `json:"current"`
	}
	list := func(token string) (out []sessionJSON) {
		t.Helper()
		a.call("GET", "/api/v1/auth/sessions", nil, as(token)).ok(&out)
		return out
	}
	current := func(token string) string {
		t.Helper()
		for _, s := range list(token) {
			if s.Current {
				return s.ID
			}
		}
		t.Fatal("no session is the current one")
		return ""
	}
	if all := list(a.token); len(all) != 3 || all[0].RemoteAddr != "192.0.2.1" {
		t.Errorf("sessions: %+v", all)
	}
	a.token, third = third, a.token
	id := current(other)
	a.del("/api/v1/auth/sessions/" + id).ok(nil)
	a.del("/api/v1/auth/sessions/"+id).fails(404, "SESSION_NOT_FOUND")
	a.call("GET", "/api/v1/auth/session", nil, as(other)).fails(401, "INVALID_TOKEN")
	var v struct{ Ended int }
	if a.del("/api/v1/auth/sessions").ok(&v); v.Ended != 1 {
		t.Errorf("ended %d, want 1", v.Ended)
	}
	a.call("GET", "/api/v1/auth/session", nil, as(third)).fails(401, "INVALID_TOKEN")
	a.get("/api/v1/auth/session").ok(nil)
}

// A new password ends the sessions that the old one opened. Tokens were not opened by a password.
func TestANewPasswordEndsSessionsAndLeavesTokens(t *testing.T) {
	a := bareAPI(t)
	if err := access.SetUpAdmin(a.db, "first password"); err != nil {
		t.Fatal(err)
	}
	a.token = adminSession(t, a.db, time.Hour)
	token := a.addToken("stays", "read").Token
	a.post("/api/v1/auth/password", object{"current_password": "first password", "new_password": "second password"}).ok(nil)
	a.get("/api/v1/configs").fails(401, "INVALID_TOKEN")
	a.call("GET", "/api/v1/configs", nil, as(token)).ok(nil)
}

func TestTheNumberOfTokensIsBounded(t *testing.T) {
	a := newAPI(t)
	a.update(func(tx *store.Tx) error {
		for i := range 100 {
			if _, _, err := tx.CreateToken(fmt.Sprint(i), store.ScopeRead, time.Time{}); err != nil {
				return err
			}
		}
		return nil
	})
	a.post("/api/v1/auth/tokens", object{"name": "more", "scope": "read"}).fails(409, "TOO_MANY_TOKENS")
}
