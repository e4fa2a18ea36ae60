package agent

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"wfm/protocol"
)

// answering serves binds at path only. The bind answer has desired as desired_conf (in JSON) and
// iface as interface name.
func answering(t *testing.T, path, iface, desired string) string {
	t.Helper()
	p := testProfile()
	p.Node.InterfaceName = iface
	raw, err := json.Marshal(protocol.BindResponse{Profile: p.Node, MQTT: p.MQTT})
	if err != nil {
		t.Fatal(err)
	}
	var data map[string]json.RawMessage
	if err := json.Unmarshal(raw, &data); err != nil {
		t.Fatal(err)
	}
	delete(data, "desired_conf_version")
	delete(data, "desired_conf_sha256")
	delete(data, "desired_conf")
	if desired != "" {
		data["desired_conf"] = json.RawMessage(desired)
	}
	body, err := json.Marshal(map[string]any{"success": true, "data": data})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestBindReadsEveryFormOfTheDesiredConfig(t *testing.T) {
	const text = "[Interface]\n# <&> \u2028\n"
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		desired string
		want    string
		version int
	}{
		"a string, as WG Free Mesh sends":     {string(quoted), text, 0},
		"an empty string":                     {`""`, "kept", 1},
		"null":                                {`null`, "kept", 1},
		"absent":                              {"", "kept", 1},
		"the object of former appliances":     {`{"version":7,"sha256":"` + hashOf([]byte(text)) + `","content":` + string(quoted) + `}`, text, 7},
		"an object without content":           {`{"version":7,"sha256":"","content":""}`, "kept", 1},
		"another type, as the token is spent": {`[1,2]`, "kept", 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			store := configs{dir: dir}
			if tc.want == "kept" {
				if err := makeDirs(dir); err != nil {
					t.Fatal(err)
				}
				if err := store.Write("wfmtest0", []byte("kept"), configMeta{Version: 1, ProfileID: "cfg_a-node_b"}); err != nil {
					t.Fatal(err)
				}
			}
			url := answering(t, "/api/client/bind", "wfmtest0", tc.desired)
			if _, err := Bind(t.Context(), BindOptions{Dir: dir, ServerURL: url, Token: "t"}); err != nil {
				t.Fatal(err)
			}
			stored, err := store.Read("wfmtest0")
			if err != nil || string(stored.Text) != tc.want || stored.Version() != tc.version {
				t.Fatalf("stored %q as version %d, %v; want %q as %d", stored.Text, stored.Version(), err, tc.want, tc.version)
			}
		})
	}
}

func TestBindAtAServerThatKnowsTheOlderPathAlone(t *testing.T) {
	url := answering(t, "/api/client/v1/bind", "wfmtest0", `""`)
	if p, err := Bind(t.Context(), BindOptions{Dir: t.TempDir(), ServerURL: url, Token: "t"}); err != nil || p.ID() == "" {
		t.Fatal(err)
	}
}

func TestABindWithAnInterfaceNameThatLinuxRefusesStands(t *testing.T) {
	for name, word := range map[string]string{
		"mesh-main-node-a": "has 16 characters",
		"../../etc/x":      "cannot be used",
		"":                 "gave this node no interface name",
	} {
		f := newFakeTools(t)
		dir := t.TempDir()
		url := answering(t, "/api/client/bind", name, `"[Interface]\n"`)
		p, err := Bind(t.Context(), BindOptions{Dir: dir, ServerURL: url, Token: "t"})
		if err != nil || !strings.Contains(p.Warning(), word) {
			t.Fatalf("%q: %v, warning %q", name, err, p.Warning())
		}
		b := newBenchAs(t, p, f.tunnels(dir), &fakeUplink{}, sendTaken)
		ask := func(kind protocol.Kind, id string, payload any) protocol.Ack {
			t.Helper()
			topic, data := commandOf(t, kind, id, payload)
			b.Receive(topic, data)
			return b.nextAck(t, id)
		}
		if ack := ask(protocol.KindDetect, "req_1", protocol.Detect{}); ack.Status != protocol.AckApplied || ack.WGOnline == nil || *ack.WGOnline ||
			!strings.Contains(ack.Message, word) {
			t.Errorf("%q: detect: %+v", name, ack)
		}
		if ack := ask(protocol.KindInfo, "req_2", protocol.Info{Action: protocol.ActionDescribe}); ack.Status != protocol.AckApplied || len(ack.Capabilities) == 0 {
			t.Errorf("%q: describe: %+v", name, ack)
		}
		for i, action := range []protocol.Action{protocol.ActionStart, protocol.ActionStop} {
			if ack := ask(protocol.KindControl, []string{"req_3", "req_4"}[i], protocol.Control{Action: action}); ack.Status != protocol.AckFailed ||
				!strings.Contains(ack.Message, word) {
				t.Errorf("%q: %s: %+v", name, action, ack)
			}
		}
		if ack := ask(protocol.KindInfo, "req_5", protocol.Info{}); ack.Status != protocol.AckFailed || !strings.Contains(ack.Message, word) {
			t.Errorf("%q: wg_show: %+v", name, ack)
		}
		// A push that names another interface works.
		push := pushOf("one", 1)
		push.InterfaceName = "wfmtest0"
		if ack := ask(protocol.KindPush, "req_6", push); ack.Status != protocol.AckApplied {
			t.Errorf("%q: push: %+v", name, ack)
		}
	}
}

func TestACommandThatLeavesTheTunnelOutIsOfTheProfilesOwnWireGuardTunnel(t *testing.T) {
	f, dir := newFakeTools(t), t.TempDir()
	tun := f.tunnels(dir)
	if err := tun.configs.Write("wfmtest0", []byte("one"), configMeta{Version: 1, ProfileID: "cfg_a-node_b"}); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, dir, f)
	for i, c := range []struct {
		kind protocol.Kind
		data string
		good bool
	}{
		{protocol.KindDetect, `{"tunnel_protocol":"wireguard","awg_version":null}`, true},
		{protocol.KindDetect, `{}`, true},
		{protocol.KindInfo, `{"action":"wg_show"}`, true},
		{protocol.KindControl, `{"action":"stop"}`, true},
		{protocol.KindControl, `{"action":"stop","tunnel_protocol":"","previous_tunnel_protocol":"","interface_name":""}`, true},
		{protocol.KindControl, `{"action":"stop","tunnel_protocol":"amneziawg","awg_version":"1.5"}`, true},
		{protocol.KindDetect, `{"tunnel_protocol":"bogus"}`, false},
		{protocol.KindDetect, `{"awg_version":"9.9"}`, false},
		{protocol.KindInfo, `{"action":"wg_show","awg_version":"9.9"}`, false},
		{protocol.KindControl, `{"action":"stop","awg_version":"9.9"}`, false},
		{protocol.KindControl, `{"action":"stop","interface_name":"../x"}`, false},
	} {
		id := "req_" + string(rune('a'+i))
		if i == 2 { // wg_show needs a running interface
			f.set("link-wfmtest0", "wg")
		}
		topic := protocol.Topic{ConfigID: "cfg_a", NodeID: "node_b", Kind: c.kind}.String()
		shows := c.kind == protocol.KindInfo && c.good
		b.Receive(topic, []byte(`{"request_id":"`+id+`","payload":`+c.data+`}`))
		for range map[bool]int{true: 2}[shows] { // stdout and stderr
			if m := <-b.sent; m.kind != protocol.KindEvent {
				t.Errorf("%s before the output", m.kind)
			}
		}
		if ack := b.nextAck(t, id); (ack.Status == protocol.AckApplied) != c.good || (!c.good && ack.Message == "") {
			t.Errorf("%s %s: %+v", c.kind, c.data, ack)
		}
	}
}

func TestBindNamesTheAddressToBindAt(t *testing.T) {
	redirect := func(to string) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", strings.ReplaceAll(to, "{path}", r.URL.Path))
			w.WriteHeader(http.StatusPermanentRedirect)
		}))
		t.Cleanup(srv.Close)
		return srv.URL
	}
	own := redirect("/login")
	ours := answering(t, "/api/client/bind", "wfmtest0", `""`)
	missing, _, _ := bindServer(t, 404, `{"success":false,"error":{"code":"NOT_FOUND","message":"There is nothing at this path."}}`)
	wrong, _, _ := bindServer(t, 404, `{"success":false,"error":{"code":"CLIENT_BIND_TOKEN_INVALID","message":"Not a good token."}}`)
	other := redirect("https://wfm.example.test{path}?next=1")
	for _, c := range []struct{ server, want string }{
		{other, "bind again with --server https://wfm.example.test"},
		{other + "/ui/", "bind again with --server https://wfm.example.test"},
		{redirect("https://user:secret@wfm.example.test:8443/login#x"), "bind again with --server https://wfm.example.test:8443"},
		{redirect("https://WFM.example.test:443/"), "bind again with --server https://wfm.example.test"},
		{redirect("/login"), "redirects to another path of its own: check the address"},
		{redirect("javascript:alert(1)"), "redirects to an address that is none: check the address"},
		{redirect(""), "redirects to an address that is none: check the address"},
		{ours + "/api/client/bind", "leave the path out, as in --server " + ours},
		{ours + "/nodes/node_b", "leave the path out, as in --server " + ours},
		{own + "/admin", "leave the path out, as in --server " + own},
		{missing, "does not answer like a WFM server (HTTP status 404): check the address"},
		{missing + "/wfm", "leave the path out, as in --server " + missing},
		{wrong, "Not a good token."},
	} {
		_, err := Bind(t.Context(), BindOptions{Dir: t.TempDir(), ServerURL: c.server, Token: "t"})
		if err == nil || !strings.HasSuffix(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", c.server, err, c.want)
		}
	}
	var refused *BindError
	if _, err := Bind(t.Context(), BindOptions{Dir: t.TempDir(), ServerURL: wrong, Token: "t"}); !errors.As(err, &refused) {
		t.Errorf("%v is not the server's own word", err)
	}
}
