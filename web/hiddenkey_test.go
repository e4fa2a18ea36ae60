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
