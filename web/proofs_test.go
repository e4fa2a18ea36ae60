package web_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"wfm/internal/storetest"
	"wfm/store"
	"wfm/web/access"
)

func TestEveryWrongProofOfBeingTheAdminCountsAgainstTheLimit(t *testing.T) {
	const right = "the right password"
	for name, c := range map[string]struct {
		admin        bool
		path         string
		wrong, other object // other is right, and comes too late
		code         string
	}{
		"password at a login": {
			true, "/api/v1/auth/login", object{"username": "admin", "password": "wrong"}, object{"username": "admin", "password": right}, "AUTH_FAILED",
		},
		"current password": {
			true, "/api/v1/auth/password",
			object{"current_password": "wrong", "new_password": "another password"},
			object{"current_password": right, "new_password": "another password"},
			"ADMIN_PASSWORD_INVALID",
		},
		"set-up token": {
			false, "/api/v1/auth/setup", object{"setup_token": "wrong", "password": right}, object{"setup_token": setupToken, "password": right}, "INVALID_TOKEN",
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := bareAPI(t)
			if c.admin {
				if err := access.SetUpAdmin(a.db, right); err != nil {
					t.Fatal(err)
				}
				a.token = adminSession(t, a.db, time.Hour)
			}
			for tries := range 30 { // the bucket may win a token while the hashes are computed
				r := a.post(c.path, c.wrong)
				if r.status == http.StatusTooManyRequests && tries >= 5 {
					if after, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || after < 1 || after > 6 {
						t.Errorf("Retry-After: %q", r.header.Get("Retry-After"))
					}
					a.post(c.path, c.other).fails(429, "RATE_LIMITED")
					return
				}
				r.fails(401, c.code)
			}
			t.Error("thirty wrong proofs met no limit")
		})
	}
}

func TestABodyThatIsNoJSONObjectIsRefusedByEveryCallThatReadsOne(t *testing.T) {
	a := newAPI(t)
	calls := 0
	for path, item := range contract.doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.RequestBody == nil || method == http.MethodGet {
				continue
			}
			calls++
			for name, body := range map[string]string{"cut": `{"name":`, "list": `[]`, "text": `"x"`, "not UTF-8": "{\"name\":\"\xff\"}"} {
				r := a.call(method, strings.NewReplacer("{", "", "}", "").Replace(path), body)
				if r.status < 400 || r.status >= 500 || r.Error.Code == "" {
					t.Errorf("%s %s, %s: %d %s", method, path, name, r.status, r.body)
				}
			}
		}
	}
	if calls < 20 {
		t.Errorf("only %d calls read a body", calls)
	}
	for _, path := range []string{"/api/v1/auth/tokens", "/api/v1/auth/login", "/api/v1/auth/setup", "/api/v1/auth/password", "/api/v1/configs"} {
		for _, body := range []any{nil, `{"name":`, `[]`} {
			a.post(path, body).fails(422, "VALIDATION_ERROR")
		}
		if path != "/api/v1/auth/setup" { // where there is an admin already
			a.post(path, object{}).fails(422, "VALIDATION_ERROR")
		}
	}
}

func TestAnAdminWhoCannotBeReadLogsNobodyIn(t *testing.T) {
	dir := t.TempDir()
	db, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	a := apiOver(t, db)
	a.token = adminSession(t, db, time.Hour)
	storetest.Damage(t, dir, `{"username":"admin","password_hash"`)
	for path, body := range map[string]object{
		"/api/v1/auth/login":    {"username": "admin", "password": "x"},
		"/api/v1/auth/password": {"current_password": "x", "new_password": "another password"},
		"/api/v1/auth/setup":    {"setup_token": setupToken, "password": "another password"},
	} {
		if r := a.post(path, body); r.status < 500 || r.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}
