package web_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestValuesOfAmneziaWGAreGeneratedForAMeshAndItsNodes(t *testing.T) {
	a := newAPI(t)
	const at = "/api/v1/configs/awg/generate"
	var v struct {
		Scope, Direction, Intensity string
		Config                      awgJSON
		Nodes                       []struct {
			NodeID  string `json:"node_id"`
			Jc      *int   `json:"awg_jc"`
			I1      string `json:"awg_i1"`
			Options struct {
				RekeyTimeout *string `json:"rekey_timeout"`
			} `json:"awg_options"`
		}
	}
	a.post(at, object{
		"awg_version": "3.1", "direction": "stun", "intensity": "low",
		"config": object{"awg_options": object{"random_trailers": true}},
		"nodes":  []object{{"node_id": "node_b"}, {"node_id": "node_a", "awg_options": object{"rekey_timeout": "4-5"}}},
	}).ok(&v)
	if v.Scope != "all" || v.Config.Version != "3.1" || v.Config.S1 == nil || !v.Config.Options.RandomTrailers || v.Config.Options.HeaderProtectionKey == "" {
		t.Errorf("%+v", v)
	}
	if len(v.Nodes) != 2 || v.Nodes[0].NodeID != "node_b" || v.Nodes[0].Jc == nil || v.Nodes[0].I1 != "<b 0x000100002112a442><r 12>" ||
		*v.Nodes[1].Options.RekeyTimeout != "4-5" {
		t.Errorf("%+v", v.Nodes)
	}
	v.Config = awgJSON{}
	a.post(at, object{"scope": "node", "direction": "quic", "config": object{"awg_s1": 77}}).ok(&v)
	if v.Config.Version != "2.0" || *v.Config.S1 != 77 || v.Config.S3 != nil || v.Intensity != "balanced" || len(v.Nodes) != 1 ||
		!strings.HasPrefix(v.Nodes[0].I1, "<b 0xc3") {
		t.Errorf("%+v", v)
	}
	a.post(at, object{}).ok(nil)
	a.post(at, object{"awg_version": "9"}).invalid("awg_version")
	a.post(at, object{"scope": "some"}).invalid("scope")
	a.post(at, object{"nodes": []object{{"awg_options": object{"header_protection_key": "x"}}}}).invalid("nodes[0].awg_options.header_protection_key")
	a.post(at, object{"direction": "smtp"}).fails(422, "INVALID_AWG_VALUE")
	r := a.post(at, object{"intensity": "loud"})
	r.fails(422, "INVALID_AWG_VALUE")
	if !strings.Contains(r.Error.Message, "give low, balanced or high") {
		t.Error(r.Error.Message)
	}
}

func TestNodesMayHaveOptionsOtherThanTheirMesh(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("vpn", object{"tunnel_protocol": "amneziawg", "awg_version": "3.1", "awg_options": object{"rekey_timeout": "5", "disable_cookies": true}})
	n := a.addMeshNode(cfg, "gate", object{"awg_options": object{"rekey_timeout": "8-9", "disable_cookies": false}})
	if n.Jc == 0 || len(n.Warnings) != 0 {
		t.Errorf("%+v", n)
	}
	has := func(want ...string) {
		t.Helper()
		text, _ := a.text(cfg, n.ID)
		for _, line := range want {
			line, no := strings.CutPrefix(line, "!")
			if strings.Contains(text, line) == no {
				t.Errorf("%q is there: %t\n%s", line, !no, text)
			}
		}
	}
	has("RekeyTimeout = 8-9\n", "!DisableCookies")
	var v struct {
		Options struct {
			RekeyTimeout   *string `json:"rekey_timeout"`
			DisableCookies *bool   `json:"disable_cookies"`
		} `json:"awg_options"`
	}
	a.get("/api/v1/nodes/" + n.ID).ok(&v)
	if v.Options.RekeyTimeout == nil || v.Options.DisableCookies == nil || *v.Options.DisableCookies {
		t.Errorf("%+v", v.Options)
	}
	a.put("/api/v1/nodes/"+n.ID, object{"awg_options": object{"rekey_timeout": "", "disable_cookies": nil}}).ok(nil)
	has("RekeyTimeout = 5\n", "DisableCookies = on\n")
	a.put("/api/v1/nodes/"+n.ID, object{"awg_options": object{"random_trailers": true}}).invalid("awg_options.random_trailers")
	r := a.put("/api/v1/nodes/"+n.ID, object{"awg_options": object{"keepalive_timeout": "soon"}})
	r.fails(422, "INVALID_VALUE")
	if !strings.HasPrefix(r.Error.Message, "awg_options.keepalive_timeout: ") {
		t.Error(r.Error.Message)
	}
}

func TestAMeshIsChangedWithTheValuesOfItsNodesOrNotAtAll(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("vpn", object{"tunnel_protocol": "amneziawg", "awg_version": "2.0"})
	var ids []string
	for i := range 3 {
		ids = append(ids, a.addMeshNode(cfg, fmt.Sprint("n", i), nil).ID)
	}
	hand := a.addMeshNode(cfg, "hand", object{"config_source": "text"}).ID
	other := a.addMeshNode(a.addMesh("else", object{"virtual_subnet": "10.67.0.0/24"}), "n0", nil).ID
	at := "/api/v1/configs/" + cfg
	one := func(jc any) object { return object{"awg_jc": jc, "awg_jmin": 40, "awg_jmax": 70} }
	var v struct {
		AffectedNodeIDs []string `json:"affected_node_ids"`
		Warnings        []string
	}
	a.put(at, object{"awg_s1": 17, "awg_node_updates": object{ids[0]: one(11), ids[1]: one("12")}}).ok(&v)
	if len(v.AffectedNodeIDs) != 3 || len(v.Warnings) != 0 {
		t.Errorf("%+v", v)
	}
	jc := func(id string) string {
		t.Helper()
		text, _ := a.text(cfg, id)
		_, rest, _ := strings.Cut(text, "Jc = ")
		value, _, _ := strings.Cut(rest, "\n")
		if !strings.Contains(text, "S1 = 17\n") {
			t.Errorf("%s has not the mesh's value:\n%s", id, text)
		}
		return value
	}
	if jc(ids[0]) != "11" || jc(ids[1]) != "12" {
		t.Errorf("Jc is %s and %s", jc(ids[0]), jc(ids[1]))
	}
	r := a.put(at, object{"awg_s1": 18, "awg_node_updates": object{ids[0]: one(9), other: one(9), hand: one(9), ids[2]: one(99999)}})
	r.fails(422, "VALIDATION_ERROR")
	for _, id := range []string{other, hand, ids[2]} {
		if r.Error.Detail.Fields["awg_node_updates."+id] == "" {
			t.Errorf("nothing about %s: %v", id, r.Error.Detail.Fields)
		}
	}
	a.put(at, object{"awg_node_updates": object{ids[0]: object{"awg_jc": true}}}).invalid("awg_node_updates." + ids[0] + ".awg_jc")
	a.put(at, object{"awg_node_updates": object{ids[0]: 7}}).invalid("awg_node_updates." + ids[0])
	if jc(ids[0]) != "11" { // and S1 is still 17
		t.Errorf("Jc is %s after refusals", jc(ids[0]))
	}
	a.put("/api/v1/configs/"+a.addMesh("plain", object{"virtual_subnet": "10.68.0.0/24"}), object{"awg_node_updates": object{ids[0]: one(5)}}).ok(&v)
	if len(v.Warnings) != 1 || !strings.HasPrefix(v.Warnings[0], "awg_node_updates: ignored") {
		t.Errorf("%q", v.Warnings)
	}
}
