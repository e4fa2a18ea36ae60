package emqx

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"wfm/internal/emqxtest"
	"wfm/protocol"
)

func testAPI(t *testing.T, h http.HandlerFunc) *API {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	api, err := NewAPI(server.URL, "key", "very-secret", nil)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

func TestAddressOfTheAPIIsTakenWithAndWithoutItsPath(t *testing.T) {
	for given, want := range map[string]string{
		"http://emqx:18083": "http://emqx:18083/api/v5", "http://emqx:18083/": "http://emqx:18083/api/v5",
		"https://emqx/api/v5/": "https://emqx/api/v5", "http://proxy/emqx/api/v5": "http://proxy/emqx/api/v5",
	} {
		if api, err := NewAPI(given, "", "", nil); err != nil || api.base != want {
			t.Errorf("%s: %v", given, err)
		}
	}
	for _, bad := range []string{"", "emqx:18083", "mqtt://emqx", "http://", "http://key:secret@emqx", "http://emqx?x=1"} {
		if _, err := NewAPI(bad, "", "", nil); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestErrorsOfTheAPISayWhatToDoAndNoSecret(t *testing.T) {
	status, header := 0, ""
	api := testAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		if header != "" {
			w.Header().Set("Retry-After", header)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"code":"SOME_CODE","message":"very-secret"}`))
	})
	for code, want := range map[int]string{
		401: "WFM_EMQX_API_KEY", 403: "administrator", 429: "too many", 500: "500 SOME_CODE to GET /authentication",
		302: "302",
	} {
		status = code
		_, err := api.authenticators(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "very-secret") {
			t.Errorf("%d: %v", code, err)
		}
	}
	status, header = 429, "7"
	_, err := api.authenticators(t.Context())
	if e := (*APIError)(nil); !asAPIError(err, &e) || e.RetryAfter != 7*time.Second {
		t.Errorf("%v", err)
	}
	gone, err := NewAPI("http://127.0.0.1:1", "key", "very-secret", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.authenticators(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be reached") ||
		strings.Contains(err.Error(), "very-secret") {
		t.Errorf("%v", err)
	}
}

func asAPIError(err error, e **APIError) bool {
	got, ok := err.(*APIError) //nolint:errorlint // as it is returned
	*e = got
	return ok
}

func TestKickGoesOneByOneWhereThereIsNoBulk(t *testing.T) {
	var calls []string
	api := testAPI(t, func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, r.Method+" "+r.URL.Path)
		switch {
		case strings.HasSuffix(r.URL.Path, "/bulk"), strings.HasSuffix(r.URL.Path, "/gone"):
			w.WriteHeader(http.StatusNotFound)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	if err := api.kick(t.Context(), []string{"a", "gone", "b"}); err != nil || len(calls) != 4 {
		t.Errorf("%v: %v", calls, err)
	}
	calls = nil
	if err := api.kick(t.Context(), nil); err != nil || len(calls) != 0 {
		t.Errorf("nobody to kick: %v %v", calls, err)
	}
}

func TestImportThatFailsForSomeIsAnError(t *testing.T) {
	api := testAPI(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"total":2,"failed":1}`)) })
	if err := api.importUsers(t.Context(), []userRow{{}, {}}); err == nil {
		t.Error("taken for a success")
	}
}

func TestTimesAreReadInWordsAndAsNumbers(t *testing.T) {
	for _, raw := range []string{`1700000000123`, `"2023-11-14T22:13:20.123+00:00"`, `"2023-11-14T22:13:20.123Z"`} {
		var m moment
		if err := json.Unmarshal([]byte(raw), &m); err != nil || m != 1700000000123 {
			t.Errorf("%s: %d %v", raw, m, err)
		}
	}
	var m moment
	if json.Unmarshal([]byte(`"yesterday"`), &m) == nil {
		t.Error("nonsense is taken")
	}
}

func TestEveryPageIsRead(t *testing.T) {
	server := emqxtest.Start(t, lenient())
	for range 2*pageSize + 5 {
		server.PutUser(protocol.NewID("user"), emqxtest.User{})
	}
	api, err := NewAPI(server.APIURL(), emqxtest.APIKey, emqxtest.APISecret, nil)
	if err != nil {
		t.Fatal(err)
	}
	users, err := api.users(t.Context())
	if err != nil || len(users) != 2*pageSize+5 {
		t.Errorf("%d users, %v", len(users), err)
	}
}

func TestListWithoutAnEndIsGivenUp(t *testing.T) {
	for name, count := range map[string]int{"says its count": 3, "does not": 0} {
		var asked int
		api := testAPI(t, func(w http.ResponseWriter, _ *http.Request) {
			asked++
			_, _ = fmt.Fprintf(w, `{"data":[{"user_id":"u%d"}],"meta":{"hasnext":true,"count":%d}}`, asked, count)
		})
		if _, err := api.users(t.Context()); !errors.Is(err, errEndless) || asked > pagesMost || (count > 0 && asked > pagesSpare+1) {
			t.Errorf("%s: %v after %d pages", name, err, asked)
		}
	}
	var asked int
	api := testAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = w.Write([]byte(`{"data":[{"user_id":"u"}],"meta":{"hasnext":true}}`))
	})
	if _, err := api.users(t.Context()); !errors.Is(err, errEndless) || asked != 2 {
		t.Errorf("the same page again and again: %v after %d", err, asked)
	}
}
