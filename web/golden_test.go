package web_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"wfm/internal/goldentest"
)

// A deployed client posts exactly this request and expects exactly this answer, with or without a
// config.
func TestABindIsAnsweredAsDeployedClientsKnowIt(t *testing.T) {
	theirs := goldentest.ReadBind(t)
	for _, saved := range []bool{false, true} {
		a := newAPI(t)
		cfg := a.addConfig("office")
		node := a.addNode(cfg, "router")
		if saved {
			a.save(nodePath(cfg, node), tunnelConf(1))
		}
		request := bytes.Replace(theirs.Request, []byte(`"tok"`), []byte(`"`+a.bindToken(cfg, node)+`"`), 1)
		r := a.call("POST", theirs.Path, string(request), as(""))
		if r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		for _, wrong := range goldentest.Differs([]byte(r.body), theirs.Answer) {
			t.Errorf("%s\nours:   %s\ntheirs: %s", wrong, r.body, theirs.Answer)
		}
		var v struct {
			Data struct {
				DesiredConf *string `json:"desired_conf"`
			} `json:"data"`
		}
		if err := json.Unmarshal([]byte(r.body), &v); err != nil || v.Data.DesiredConf == nil || (*v.Data.DesiredConf != "") != saved {
			t.Errorf("saved %v, %v: %s", saved, err, r.body)
		}
		if s := a.status(cfg, node)["client_state"]; s["client_version"] != "1.0.0-rc.1" || s["client_platform"] != "linux" || s["client_hostname"] != "vm" {
			t.Errorf("%v", s)
		}
	}
}
