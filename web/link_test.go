package web_test

import (
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"wfm/web"
)

type directionJSON struct {
	LocalNodeID         string `json:"local_node_id"`
	PeerNodeID          string `json:"peer_node_id"`
	AllowedIPs          string `json:"allowed_ips"`
	PersistentKeepalive *int   `json:"persistent_keepalive"`
	EndpointMode        string `json:"endpoint_mode"`
	EndpointSummary     string `json:"endpoint_summary"`
	KeepaliveDisplay    string `json:"keepalive_display"`
}

type linkJSON struct {
	LinkGroupID     string `json:"link_group_id"`
	Direction       string
	Enabled, Manual bool
	HasPresharedKey bool    `json:"has_preshared_key"`
	PresharedKey    *string `json:"preshared_key"`
	Notes           string
	Forward         directionJSON
	Reverse         directionJSON
	AffectedNodeIDs []string `json:"affected_node_ids"`
}

type reportJSON struct {
	Valid            bool
	Messages         []string
	Errors, Warnings []struct{ Code, Severity, Message string }
}

// region is a mesh with a gateway and two nodes without a public address.
type region struct {
	*api
	cfg        string
	gate, a, b meshNodeJSON
}

func newRegion(t *testing.T) region {
	t.Helper()
	// The machine's own addresses must not meet the mesh's.
	r := region{api: newAPI(t, func(o *web.Options) { o.Networks = func() []netip.Prefix { return nil } })}
	r.cfg = r.addMesh("region", nil)
	r.gate = r.addMeshNode(r.cfg, "gate", object{"ipv4_address": "192.0.2.1"})
	r.a, r.b = r.addMeshNode(r.cfg, "a", nil), r.addMeshNode(r.cfg, "b", nil)
	return r
}

func (r region) path() string { return "/api/v1/configs/" + r.cfg }

func (r region) link(from, to string, more object) (l linkJSON) {
	r.t.Helper()
	body := object{"forward": object{"local_node_id": from, "peer_node_id": to}}
	maps.Copy(body, more)
	r.post(r.path()+"/peer-links", body).ok(&l)
	return l
}

func TestALinkIsDraftedMadeChangedAndDeleted(t *testing.T) {
	r := newRegion(t)
	var draft struct {
		LocalNode struct{ Name string } `json:"local_node"`
		PeerNode  struct{ Name string } `json:"peer_node"`
		Forward   directionJSON
		Reverse   directionJSON
		Warnings  []string
	}
	at := nodePath(r.cfg, r.a.ID) + "/peer-link-draft"
	r.get(at + "?peer_node_id=" + r.gate.ID).ok(&draft)
	if draft.LocalNode.Name != "a" || draft.PeerNode.Name != "gate" || draft.Forward.AllowedIPs != "10.66.0.1/32" || *draft.Forward.PersistentKeepalive != 25 ||
		draft.Forward.EndpointMode != "auto" || draft.Reverse.EndpointMode != "none" || len(draft.Warnings) != 0 {
		t.Errorf("%+v", draft)
	}
	r.get(at + "?peer_node_id=" + r.b.ID).ok(&draft)
	if len(draft.Warnings) != 1 || !strings.Contains(draft.Warnings[0], "Link both with gate") {
		t.Errorf("%q", draft.Warnings)
	}
	r.get(at).invalid("peer_node_id")
	r.get(at + "?peer_node_id=" + r.b.ID + "&endpoint_ref_family=ipx").invalid("endpoint_ref_family")
	r.get(at+"?peer_node_id="+r.a.ID).fails(422, "INVALID_PEER_LINK")

	l := r.link(r.a.ID, r.gate.ID, object{"notes": "first"})
	if !l.Enabled || !l.Manual || l.Notes != "first" || len(l.AffectedNodeIDs) != 2 {
		t.Errorf("%+v", l)
	}
	text, version := r.text(r.cfg, r.a.ID)
	if !strings.Contains(text, "Endpoint = 192.0.2.1:51820\n") || !strings.Contains(text, "PersistentKeepalive = 25\n") || version != 2 {
		t.Errorf("version %d\n%s", version, text)
	}
	var psk struct {
		PresharedKey string `json:"preshared_key"`
	}
	r.post("/api/v1/peer-links/psk/generate", nil).ok(&psk)
	path := "/api/v1/peer-links/" + l.LinkGroupID
	r.put(path, object{"preshared_key": psk.PresharedKey, "reverse": object{ // the direction of a, though it is called reverse
		"local_node_id": r.a.ID, "peer_node_id": r.gate.ID, "allowed_ips": "10.66.0.0/24, 192.168.7.1", "persistent_keepalive": 0,
	}}).ok(&l)
	if l.Forward.AllowedIPs != "10.66.0.0/24, 192.168.7.1/32" || l.Forward.PersistentKeepalive != nil || l.Notes != "first" || !l.HasPresharedKey {
		t.Errorf("%+v", l)
	}
	if text, _ := r.text(r.cfg, r.gate.ID); !strings.Contains(text, "PresharedKey = "+psk.PresharedKey+"\n") {
		t.Errorf("%s", text)
	}
	var rows []linkJSON
	r.get(r.path() + "/peer-links").ok(&rows)
	if len(rows) != 2 || rows[0].Direction != "forward" || rows[1].Direction != "reverse" || rows[0].LinkGroupID != l.LinkGroupID || rows[0].PresharedKey == nil {
		t.Errorf("%+v", rows)
	}
	read := as(r.addToken("looker", "read").Token)
	for _, path := range []string{r.path() + "/peer-links", nodePath(r.cfg, r.a.ID) + "/mesh-workspace"} {
		if body := r.call("GET", path, nil, read).ok(nil).body; strings.Contains(body, psk.PresharedKey) || !strings.Contains(body, `"has_preshared_key":true`) {
			t.Errorf("%s: %s", path, body)
		}
	}
	r.put(path, object{"enabled": false}).ok(nil)
	if text, _ := r.text(r.cfg, r.a.ID); strings.Contains(text, "[Peer]") {
		t.Errorf("a disabled link is in the text:\n%s", text)
	}
	r.del(path).ok(nil)
	r.del(path).fails(404, "PEER_LINK_NOT_FOUND")
	r.put(path, object{}).fails(404, "PEER_LINK_NOT_FOUND")
	if strings.Contains(r.log.String()+r.get("/api/v1/audit").ok(nil).body, psk.PresharedKey) {
		t.Error("the preshared key is in the log or in the audit log")
	}
}

func TestTheWorkspaceShowsTheLinksFromTheNode(t *testing.T) {
	r := newRegion(t)
	l := r.link(r.gate.ID, r.a.ID, nil)
	var v struct {
		Node        struct{ Name string }
		Connections []struct {
			LinkGroupID     string                `json:"link_group_id"`
			PeerNode        struct{ Name string } `json:"peer_node"`
			IntegrityStatus string                `json:"integrity_status"`
			PeerDisabled    bool                  `json:"peer_disabled"`
			Forward         directionJSON
			Reverse         directionJSON
		}
		Validation reportJSON
	}
	r.put("/api/v1/nodes/"+r.gate.ID, object{"enabled": false}).ok(nil)
	r.get(nodePath(r.cfg, r.a.ID) + "/mesh-workspace").ok(&v)
	if len(v.Connections) != 1 {
		t.Fatalf("%+v", v)
	}
	c := v.Connections[0]
	if v.Node.Name != "a" || c.LinkGroupID != l.LinkGroupID || c.PeerNode.Name != "gate" || c.IntegrityStatus != "healthy" || !c.PeerDisabled ||
		c.Forward.LocalNodeID != r.a.ID || c.Forward.EndpointSummary != "192.0.2.1:51820" || c.Forward.KeepaliveDisplay != "every 25 s" ||
		c.Reverse.EndpointSummary != "" || c.Reverse.KeepaliveDisplay != "off" {
		t.Errorf("%+v", v)
	}
	if len(v.Validation.Warnings) == 0 {
		t.Errorf("nothing is said about the link that rests: %+v", v.Validation)
	}
}

func TestBadLinksAreRefusedInASentence(t *testing.T) {
	r := newRegion(t)
	other := r.addMesh("other", object{"virtual_subnet": "10.67.0.0/24"})
	foreign := r.addMeshNode(other, "foreign", nil)
	l := r.link(r.a.ID, r.gate.ID, nil)
	before := r.get(r.path() + "/peer-links").ok(nil).body
	at := r.path() + "/peer-links"
	ends := func(local, peer string) object { return object{"local_node_id": local, "peer_node_id": peer} }
	for _, tc := range []struct {
		body object
		want string
	}{
		{object{"forward": ends(r.a.ID, r.a.ID)}, "peer_node_id is a itself; choose another node of the mesh."},
		{object{"forward": ends(r.a.ID, foreign.ID)}, "peer_node_id and local_node_id have to be nodes of this mesh; one of them is not."},
		{
			object{"forward": ends(r.a.ID, r.gate.ID)},
			"forward: a and gate have an enabled link already (" + l.LinkGroupID + "); change that one, or disable it first.",
		},
		{
			object{"forward": ends(r.b.ID, r.gate.ID), "reverse": ends(r.gate.ID, r.a.ID)},
			"reverse: local_node_id and peer_node_id have to be the two nodes of the link, which never change; make another link for other nodes.",
		},
		{
			object{"forward": ends(r.b.ID, r.gate.ID), "preshared_key": "short"},
			"preshared_key is not a key; give 32 bytes in base64, 44 characters, as wg genpsk prints them, or leave it out.",
		},
		{
			object{"forward": object{"local_node_id": r.b.ID, "peer_node_id": r.gate.ID, "endpoint_mode": "manual"}},
			`forward.endpoint_manual_host "" is neither an address nor a host name; give one like 192.0.2.1 or vpn.example.org.`,
		},
		{
			object{"forward": object{"local_node_id": r.b.ID, "peer_node_id": r.gate.ID, "endpoint_port_mode": "manual"}},
			"forward.endpoint_manual_port 0 is not a port; give one from 1 to 65535.",
		},
	} {
		reply := r.post(at, tc.body)
		reply.fails(http.StatusUnprocessableEntity, "INVALID_PEER_LINK")
		if reply.Error.Message != tc.want {
			t.Errorf("%v:\n%s\nwant\n%s", tc.body, reply.Error.Message, tc.want)
		}
	}
	for field, body := range map[string]object{
		"forward":                      {},
		"forward.local_node_id":        {"forward": object{"peer_node_id": r.a.ID}},
		"forward.allowed_ips":          {"forward": object{"local_node_id": r.b.ID, "peer_node_id": r.gate.ID, "allowed_ips": "ten"}},
		"forward.endpoint_mode":        {"forward": object{"endpoint_mode": "magic"}},
		"forward.endpoint_ref_family":  {"forward": object{"endpoint_ref_family": "ipx"}},
		"forward.endpoint_port_mode":   {"forward": object{"endpoint_port_mode": "magic"}},
		"forward.persistent_keepalive": {"forward": object{"persistent_keepalive": -1}},
		"reverse":                      {"reverse": 7},
	} {
		r.post(at, body).invalid(field)
	}
	r.put("/api/v1/peer-links/"+l.LinkGroupID, object{"forward": ends(r.a.ID, r.b.ID)}).fails(422, "INVALID_PEER_LINK")
	if after := r.get(at).ok(nil).body; after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
}

type quickJSON struct {
	DryRun          bool     `json:"dry_run"`
	GeneratedGroups int      `json:"generated_groups"`
	DeletedLinks    int      `json:"deleted_links"`
	KeptLinks       int      `json:"kept_links"`
	AffectedNodeIDs []string `json:"affected_node_ids"`
	Message         string
	Made            []struct {
		LinkGroupID string `json:"link_group_id"`
	}
	UnlinkedNodeIDs []string `json:"unlinked_node_ids"`
	GatewayNodeID   string   `json:"gateway_node_id"`
	Warnings        []struct{ Message string }
	Texts           []struct {
		NodeName string `json:"node_name"`
		Diff     string
	}
}

func TestAQuickMeshIsPlannedAndMade(t *testing.T) {
	r := newRegion(t)
	at := r.path() + "/mesh/quick-generate"
	var plan, done quickJSON
	r.post(at, object{"mode": "hub_spoke", "dry_run": true}).ok(&plan)
	if !plan.DryRun || plan.GeneratedGroups != 2 || len(plan.Texts) != 3 || len(plan.AffectedNodeIDs) != 3 || plan.Made[0].LinkGroupID != "" {
		t.Errorf("%+v", plan)
	}
	if i := slices.IndexFunc(plan.Texts, func(d struct {
		NodeName string `json:"node_name"`
		Diff     string
	},
	) bool {
		return d.NodeName == "a"
	}); i < 0 || !strings.Contains(plan.Texts[i].Diff, "+AllowedIPs = 10.66.0.0/24\n") {
		t.Errorf("%+v", plan.Texts)
	}
	if rows := r.get(r.path() + "/peer-links").ok(nil).Data; string(rows) != "[]" {
		t.Errorf("the plan made %s", rows)
	}
	if _, version := r.text(r.cfg, r.a.ID); version != 1 {
		t.Errorf("the plan made version %d", version)
	}
	r.post(at, object{"mode": "hub_spoke", "use_preshared_key": true}).ok(&done)
	if done.DryRun || done.GeneratedGroups != 2 || len(done.AffectedNodeIDs) != 3 || done.Made[0].LinkGroupID == "" || len(done.Texts) != 0 {
		t.Errorf("%+v", done)
	}
	if text, version := r.text(r.cfg, r.gate.ID); version != 2 || strings.Count(text, "PresharedKey = ") != 2 {
		t.Errorf("version %d\n%s", version, text)
	}
	var again quickJSON
	r.post(at, object{
		"mode": "free_mesh", "gateway_node_ids": []string{r.gate.ID}, "leaf_assignments": object{r.a.ID: r.gate.ID}, "use_preshared_key": true,
	}).ok(&again)
	if again.KeptLinks != 2 || again.GeneratedGroups != 0 || len(again.AffectedNodeIDs) != 0 {
		t.Errorf("%+v", again)
	}
	r.post(at, object{"mode": "full_mesh", "endpoint_ref_family": "ipv4"}).ok(&again)
	if len(again.UnlinkedNodeIDs) != 2 || again.GatewayNodeID != r.gate.ID || len(again.Warnings) == 0 {
		t.Errorf("%+v", again)
	}
	for _, tc := range []struct {
		body object
		want string
	}{
		{
			object{"mode": "hub_spoke", "hub_node_id": r.a.ID},
			"hub_node_id: a has no public address, so no node could reach it; give it an ipv4_address or ipv6_address, or choose another node.",
		},
		{object{"mode": "hub_spoke", "hub_node_id": "node_none"}, `hub_node_id "node_none" is not a node of this mesh.`},
		{object{"mode": "free_mesh", "leaf_assignments": object{r.a.ID: r.b.ID}}, "leaf_assignments: a is assigned to "},
	} {
		reply := r.post(at, tc.body)
		reply.fails(422, "INVALID_QUICK_MESH")
		if !strings.HasPrefix(reply.Error.Message, tc.want) {
			t.Errorf("%v: %s", tc.body, reply.Error.Message)
		}
	}
	r.post(at, object{}).invalid("mode")
	r.post(at, object{"mode": "ring"}).invalid("mode")
	r.post(at, object{"mode": "free_mesh", "leaf_assignments": object{r.a.ID: 7}}).invalid("leaf_assignments." + r.a.ID)
}

func TestAMeshIsValidatedAndPreviewed(t *testing.T) {
	r := newRegion(t)
	var v reportJSON
	r.post(r.path()+"/mesh/validate", nil).ok(&v)
	if !v.Valid || len(v.Messages) != 0 || len(v.Warnings) != 3 { // no node has a link
		t.Errorf("%+v", v)
	}
	r.put("/api/v1/nodes/"+r.a.ID, object{"ipv4_address": "192.0.2.1"}).ok(nil)
	r.post(r.path()+"/mesh/validate", nil).ok(&v)
	if v.Valid || len(v.Errors) != 1 || v.Errors[0].Code != "PUBLIC_ADDRESS_TWICE" || v.Messages[0] != v.Errors[0].Message {
		t.Errorf("%+v", v)
	}
	r.post("/api/v1/configs/cfg_none/mesh/validate", nil).fails(404, "CONFIG_NOT_FOUND")

	var preview struct{ Content, SHA256 string }
	at := nodePath(r.cfg, r.gate.ID) + "/wg-preview"
	r.get(at).ok(&preview)
	if text, _ := r.text(r.cfg, r.gate.ID); preview.Content != text || len(preview.SHA256) != 64 {
		t.Errorf("%+v, want\n%s", preview, text)
	}
	r.call("GET", at, nil, as(r.addToken("looker", "read").Token)).fails(403, "FORBIDDEN")
	hand := r.addMeshNode(r.cfg, "hand", object{"config_source": "text"})
	r.get(nodePath(r.cfg, hand.ID)+"/wg-preview").fails(409, "NO_DESIRED_CONFIG")
	r.save(nodePath(r.cfg, hand.ID), tunnelConf(1))
	r.get(nodePath(r.cfg, hand.ID) + "/wg-preview").ok(&preview)
	if preview.Content != tunnelConf(1) {
		t.Errorf("%s", preview.Content)
	}
}

func TestTheSubnetOfAMeshMustNotHaveTheAppliancesAddress(t *testing.T) {
	a := newAPI(t, func(o *web.Options) {
		o.Networks = func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.66.0.9/16")} }
	})
	cfg := a.addMesh("office", nil)
	var v reportJSON
	a.post("/api/v1/configs/"+cfg+"/mesh/validate", nil).ok(&v)
	if v.Valid || v.Errors[0].Code != "SUBNET_TAKEN" {
		t.Errorf("%+v", v)
	}
}

func TestAPortIsForwardedToAService(t *testing.T) {
	r := newRegion(t)
	r.link(r.a.ID, r.gate.ID, nil)
	at := "/api/v1/tools/port-forwards/configs/" + r.cfg
	rule := object{"from_node_id": r.a.ID, "from_port": 80, "to_node_id": r.gate.ID, "to_port": 8080, "protocol": "all"}
	var f struct {
		ID, Protocol    string
		Enabled         bool
		ToPlatform      string   `json:"to_platform"`
		AffectedNodeIDs []string `json:"affected_node_ids"`
	}
	r.post(at, rule).ok(&f)
	if f.ToPlatform != "linux" || f.Protocol != "all" || !f.Enabled || !slices.Equal(f.AffectedNodeIDs, []string{r.gate.ID}) {
		t.Errorf("%+v", f)
	}
	if text, _ := r.text(r.cfg, r.gate.ID); !strings.Contains(text, "tcp dport 8080 dnat to 10.66.0.2:80") {
		t.Errorf("%s", text)
	}
	r.post(at, rule).fails(409, "PORT_FORWARD_EXISTS")
	var all []struct{ ID string }
	if r.get(at).ok(&all); len(all) != 1 || all[0].ID != f.ID {
		t.Errorf("%+v", all)
	}
	path := "/api/v1/tools/port-forwards/" + f.ID
	r.put(path+"/enabled", object{"enabled": false}).ok(&f)
	if text, _ := r.text(r.cfg, r.gate.ID); f.Enabled || strings.Contains(text, "8080") {
		t.Errorf("%+v\n%s", f, text)
	}
	r.put(path+"/enabled", object{}).invalid("enabled")
	r.del(path).ok(nil)
	r.del(path).fails(404, "PORT_FORWARD_NOT_FOUND")

	for field, value := range map[string]any{"from_port": 0, "to_port": 65536, "to_platform": "windows", "protocol": "icmp", "from_node_id": nil} {
		body := object{"from_node_id": r.a.ID, "from_port": 80, "to_node_id": r.gate.ID, "to_port": 8080}
		body[field] = value
		r.post(at, body).invalid(field)
	}
	for want, change := range map[string]object{
		"from_node_id and to_node_id are both gate; the service and the entry have to be two nodes.": {"from_node_id": r.gate.ID},
		`to_node_id "node_none" is not a node of this mesh.`:                                         {"to_node_id": "node_none"},
		"to_port 51820 is the listen_port of gate, which its tunnel needs; choose another port.":     {"to_port": 51820, "protocol": "udp"},
	} {
		body := object{"from_node_id": r.a.ID, "from_port": 80, "to_node_id": r.gate.ID, "to_port": 8080}
		maps.Copy(body, change)
		reply := r.post(at, body)
		reply.fails(422, "INVALID_PORT_FORWARD")
		if reply.Error.Message != want {
			t.Errorf("%s\nwant\n%s", reply.Error.Message, want)
		}
	}
}
