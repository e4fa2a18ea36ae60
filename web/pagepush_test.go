package web_test

import (
	"strings"
	"testing"

	"wfm/store"
)

// A page offers the same as the API would do: one rule says whether a config is staged.
func TestAPageOffersToStageWhatWasStagedForTheFormerTunnelProtocol(t *testing.T) {
	a, cfg, node := controlled(t)
	path := "/configs/" + cfg + "/nodes/" + node
	a.put(nodePath(cfg, node)+"/applied-conf", object{"content": tunnelConf(1)}).ok(nil)
	const offer = "Stage version 1"
	for _, page := range []string{path, path + "/conf"} {
		if r := a.browse(page).shows("version"); strings.Contains(r.body, offer) {
			t.Errorf("%s offers to stage a staged config", page)
		}
	}
	a.browse("/configs/" + cfg).shows("version 1 is not applied yet")
	a.put("/api/v1/configs/"+cfg, object{"tunnel_protocol": "amneziawg"}).ok(nil)
	for _, page := range []string{path, path + "/conf"} {
		a.browse(page).shows(offer)
	}
	a.browse("/configs/" + cfg).shows("version 1 was staged for the former tunnel protocol")
	a.post(nodePath(cfg, node)+"/sync", nil).ok(nil)
	if r := a.browse(path); strings.Contains(r.body, offer) {
		t.Error("the page offers to stage a config that was staged again")
	}
}

func TestThePagesNameTheVersionThatAPushTakes(t *testing.T) {
	a, cfg, node := controlled(t)
	path := "/configs/" + cfg + "/nodes/" + node
	a.update(func(tx *store.Tx) error {
		return tx.UpdateEvidence(node, func(e *store.Evidence) { e.ReachableAt = tx.Now() })
	})
	v := a.save(nodePath(cfg, node), tunnelConf(1))
	a.browse(path).shows("Push version 1<", "Version 1 is pushed")
	a.browse(path + "/conf").shows("Save and push")
	a.update(func(tx *store.Tx) error {
		_, err := tx.ConfirmApplied(node, store.ConfRef{Version: 1, SHA256: v.DesiredS}, "wg", 1)
		return err
	})
	a.browse(path).shows("Push version 1 again", `name="force"`)
	a.browse("/configs/" + cfg + "/rollout").shows("1 node has it already and will be skipped")
	other := a.addNode(cfg, "bare")
	a.browse("/configs/" + cfg + "/rollout").shows("1 node has no tunnel config, which counts as failed")
	if r := a.browse("/configs/" + cfg + "/nodes/" + other + "/conf"); strings.Contains(r.body, "Save and push") {
		t.Error("the page offers to push to a node without an agent")
	}
}

func TestTheButtonThatAppliesCountsTheNodesOfTheRollout(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("home")
	a.post("/api/v1/configs/"+cfg+"/nodes", object{"name": "phone", "node_type": "static"}).ok(nil)
	if r := a.browse("/configs/" + cfg); strings.Contains(r.body, "Apply to") {
		t.Error("the page offers a rollout to static nodes")
	}
	a.addNode(cfg, "router")
	a.browse("/configs/"+cfg).shows("Command 1 node…", "1–2 of 2")
	a.browse("/configs/" + cfg + "/rollout").shows("Command 1 node of home")
}
