package agent

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"wfm/protocol"
)

// bindServer answers every bind with status and body. It records the last request and its path.
func bindServer(t *testing.T, status int, body string) (url string, last *protocol.BindRequest, path *string) {
	t.Helper()
	last, path = new(protocol.BindRequest), new(string)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*path = r.Method + " " + r.URL.Path
		_ = json.NewDecoder(r.Body).Decode(last)
		w.Header().Set("Location", "https://elsewhere.example.org/")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(srv.Close)
	return srv.URL, last, path
}

func bindBody(t *testing.T, change func(*protocol.BindResponse)) string {
	t.Helper()
	p := testProfile()
	answer := protocol.BindResponse{Profile: p.Node, MQTT: p.MQTT}
	if change != nil {
		change(&answer)
	}
	body, err := json.Marshal(map[string]any{"success": true, "data": answer, "later": "field"})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestBindStoresWhatTheServerSaid(t *testing.T) {
	dir := t.TempDir()
	url, last, path := bindServer(t, 200, bindBody(t, func(r *protocol.BindResponse) { r.MQTT.Host = "" }))
	p, err := Bind(t.Context(), BindOptions{Dir: dir, ServerURL: url + "/", Token: " tok\n"})
	if err != nil {
		t.Fatal(err)
	}
	if *path != "POST /api/client/bind" || last.Token != "tok" || last.Platform == "" || last.ClientVersion == "" ||
		strings.Join(last.Capabilities, " ") != "dedupe describe commit_confirm wanted_state node_key" || !protocol.ValidPublicKey(last.PublicKey) {
		t.Fatalf("asked %s with platform %q, version %q, capabilities %v", *path, last.Platform, last.ClientVersion, last.Capabilities)
	}
	stored, err := LoadProfile(dir, "cfg_a-node_b")
	if err != nil || stored.MQTT.Password != p.MQTT.Password || stored.ServerURL != url {
		t.Fatalf("stored differs, err %v", err)
	}
	if stored.MQTT.Host != "127.0.0.1" {
		t.Fatalf("host %q, want the server's for an empty one", stored.MQTT.Host)
	}
	if data, _ := os.ReadFile(profilePath(dir, "cfg_a-node_b")); strings.Contains(string(data), "tunnel_protocol") {
		t.Fatal("the tunnel protocol is in the profile")
	}
}

func TestBindAgainReplacesTheProfile(t *testing.T) {
	dir := t.TempDir()
	for _, password := range []string{"first", "second"} {
		url, _, _ := bindServer(t, 200, bindBody(t, func(r *protocol.BindResponse) { r.MQTT.Password = password }))
		if _, err := Bind(t.Context(), BindOptions{Dir: dir, ServerURL: url, Token: "t"}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ListProfiles(dir)
	if err != nil || len(got) != 1 || got[0].MQTT.Password != "second" {
		t.Fatalf("%d profiles, err %v", len(got), err)
	}
}

func TestBindShowsTheServersMessageAlone(t *testing.T) {
	dir := t.TempDir()
	url, _, _ := bindServer(t, 401, `{"success":false,"error":{"code":"CLIENT_BIND_TOKEN_EXPIRED","message":"The token is\u001b[31m too old.",`+
		`"detail":{"x":"y"}}}`)
	_, err := Bind(t.Context(), BindOptions{Dir: dir, ServerURL: url, Token: "t"})
	var refused *BindError
	if !errors.As(err, &refused) || refused.Code != "CLIENT_BIND_TOKEN_EXPIRED" || err.Error() != "The token is [31m too old." {
		t.Fatalf("err %q", err)
	}
	if got, _ := ListProfiles(dir); len(got) != 0 {
		t.Fatal("a refused bind stored a profile")
	}
}

func TestBindExplainsWhatIsInTheWay(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a port that nobody listens on
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	html, _, _ := bindServer(t, 404, "<html>not found</html>")
	moved, _, _ := bindServer(t, 308, "")
	bare, _, _ := bindServer(t, 200, `{"ok":true}`)
	empty, _, _ := bindServer(t, 200, `{"success":true}`)
	silent, _, _ := bindServer(t, 403, `{"success":false}`)
	huge, _, _ := bindServer(t, 200, `{"success":true,"data":{"x":"`+strings.Repeat("a", bindResponseLimit)+`"}}`)
	evil, _, _ := bindServer(t, 200, bindBody(t, func(r *protocol.BindResponse) { r.Profile.ProfileID = "../../x" }))
	for _, c := range []struct{ server, token, want string }{
		{"http://" + closed.Addr().String(), "t", "cannot be reached"},
		{html, "t", "does not answer like a WFM server (HTTP status 404)"},
		{bare, "t", "does not answer like a WFM server"},
		{empty, "t", "does not answer like a WFM server"},
		{huge, "t", "does not answer like a WFM server"},
		{moved, "t", "bind again with --server https://elsewhere.example.org"},
		{silent, "t", "refused the bind without saying why"},
		{evil, "t", "profile_id does not match"},
		{"wfm.example.org", "t", "begin with http:// or https://"},
		{"https://u:p@x", "t", "must not hold a user"},
		{html, "  ", "token is empty"},
	} {
		_, err := Bind(t.Context(), BindOptions{Dir: t.TempDir(), ServerURL: c.server, Token: c.token})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: err %v, want %q", c.server, err, c.want)
		}
	}
}

func TestBindKeepsTheTokenWhenItsAnswerCouldNotBeStored(t *testing.T) {
	url, _, path := bindServer(t, 200, bindBody(t, nil))
	dir := t.TempDir() + "/file"
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Bind(t.Context(), BindOptions{Dir: dir, ServerURL: url, Token: "t"}); err == nil || *path != "" {
		t.Fatalf("err %v, request %q: the token was spent", err, *path)
	}
}

func TestBindStoresTheDesiredConfigUnlessThereIsOne(t *testing.T) {
	dir := t.TempDir()
	store := configs{dir: dir}
	for i, text := range []string{"[Interface]\n# one\n", "[Interface]\n# two\n"} {
		url, _, _ := bindServer(t, 200, bindBody(t, func(r *protocol.BindResponse) {
			r.DesiredConf, r.DesiredConfVersion, r.DesiredConfSHA256 = text, i+1, hashOf([]byte(text))
		}))
		if _, err := Bind(t.Context(), BindOptions{Dir: dir, ServerURL: url, Token: "t"}); err != nil {
			t.Fatal(err)
		}
		stored, err := store.Read("wfmtest0")
		if err != nil || stored.Version() != 1 || !strings.Contains(string(stored.Text), "one") {
			t.Fatalf("bind %d: version %d, err %v", i, stored.Version(), err)
		}
	}
	url, _, _ := bindServer(t, 200, bindBody(t, func(r *protocol.BindResponse) {
		r.DesiredConf, r.DesiredConfVersion, r.DesiredConfSHA256 = "x", 1, "wrong"
	}))
	if p, err := Bind(t.Context(), BindOptions{Dir: t.TempDir(), ServerURL: url, Token: "t"}); err == nil || p.ID() == "" {
		t.Fatalf("a config with a wrong hash: profile %v, err %v; want bound, with an error", p, err)
	}
}
