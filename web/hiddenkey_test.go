package web_test

import (
	"strings"
	"testing"
)

func TestAHiddenKeyStaysTheKeyOfTheVersionBefore(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("home")
	at := nodePath(cfg, a.addNode(cfg, "router"))
	hidden := func(port int) string { return strings.Replace(tunnelConf(port), privateKey, "(hidden)", 1) }
	r := a.put(at+"/applied-conf", object{"content": hidden(1)}).fails(422, "INVALID_TUNNEL_CONFIG")
	if r.Error.Detail.Line != 2 || !strings.Contains(r.Error.Detail.Problem, "give the key") {
		t.Errorf("%+v", r.Error)
	}
	a.save(at, tunnelConf(1))
	a.save(at, hidden(2))
	var v struct{ Content string }
	if a.get(at + "/applied-conf").ok(&v); v.Content != tunnelConf(2) {
		t.Errorf("the text is %q", v.Content)
	}
}

func TestTheEditorHasTheKeyOnlyWhenTheAddressAsksForIt(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("home")
	node := a.addNode(cfg, "router")
	page := "/configs/" + cfg + "/nodes/" + node + "/conf"
	a.browse(page).shows("The first version").hides("the private key</a>")
	psk := strings.Repeat("p", 42) + "E="
	shown := strings.NewReplacer("+", "&#43;").Replace(privateKey)
	a.save(nodePath(cfg, node), tunnelConf(1, "PresharedKey = "+psk))
	a.save(nodePath(cfg, node), tunnelConf(2, "PresharedKey = "+psk))
	a.browse(page).shows("PrivateKey = (hidden)", "Show the private key</a>").hides(shown)
	a.browse(page+"?key=show").shows("PrivateKey = "+shown, "Hide the private key</a>").hides("(hidden)")
	a.browse(page+"?version=1").shows("The whole text", "PresharedKey = (hidden)").hides(shown)
	a.browse(page+"?version=1&key=show").shows("The whole text", "PresharedKey = "+psk)
	diff := a.post("/ui"+strings.TrimSuffix(page, "conf")+"diff", object{"content": strings.Replace(tunnelConf(3), privateKey, "(hidden)", 1)}).ok(nil).body
	if strings.Contains(diff, privateKey) || strings.Contains(diff, psk) || !strings.Contains(diff, " PrivateKey = (hidden)") {
		t.Errorf("%s", diff)
	}
	a.token = a.addToken("looker", "read").Token
	a.call("GET", page+"?key=show&version=1", nil).shows("Only users who may change").hides(shown, "PrivateKey =", psk)
}

func TestTheTunnelConfigThatTheMeshMakesIsNotEdited(t *testing.T) {
	r := newRegion(t)
	var n struct {
		PrivateKey string `json:"private_key"`
	}
	r.get("/api/v1/nodes/" + r.gate.ID).ok(&n)
	r.browse("/configs/"+r.cfg+"/nodes/"+r.gate.ID+"/conf?key=show").shows("Made from the mesh", "PrivateKey = (hidden)", "History").
		hides("<textarea", n.PrivateKey, "Save and push")
}
