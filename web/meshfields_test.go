package web_test

import (
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"wfm/mesh"
	"wfm/store"
	"wfm/web"
)

type meshNodeJSON struct {
	ID              string
	Name            string
	InterfaceName   string   `json:"interface_name"`
	ConfigSource    string   `json:"config_source"`
	KeyHolder       string   `json:"key_holder"`
	PublicKey       string   `json:"public_key"`
	PrivateKey      string   `json:"private_key"`
	VirtualIP       string   `json:"virtual_ip"`
	VirtualIP6      string   `json:"virtual_ip6"`
	IPv4Address     string   `json:"ipv4_address"`
	ListenPort      int      `json:"listen_port"`
	Routes          []string `json:"routes"`
	PostUp          []string `json:"post_up"`
	Jc              int      `json:"awg_jc"`
	Warnings        []string
	ChangeHints     []string `json:"change_hints"`
	AffectedNodeIDs []string `json:"affected_node_ids"`
}

// addMesh makes a mesh with the members.
func (a *api) addMesh(name string, more object) (id string) {
	a.t.Helper()
	var c struct{ ID string }
	body := object{"name": name, "virtual_subnet": "10.66.0.0/24"}
	maps.Copy(body, more)
	a.post("/api/v1/configs", body).ok(&c)
	return c.ID
}

func (a *api) addMeshNode(configID, name string, more object) (n meshNodeJSON) {
	a.t.Helper()
	body := object{"name": name}
	maps.Copy(body, more)
	a.post("/api/v1/configs/"+configID+"/nodes", body).ok(&n)
	return n
}

// text returns the desired tunnel config of the node, and its version.
func (a *api) text(configID, nodeID string) (text string, version int) {
	a.t.Helper()
	var v struct {
		Content        string
		DesiredVersion int `json:"desired_version"`
	}
	a.get(nodePath(configID, nodeID) + "/applied-conf").ok(&v)
	return v.Content, v.DesiredVersion
}

func TestANodeOfAMeshWithASubnetGetsAllItNeedsAtOnce(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("office", object{"virtual_subnet6": "fd00:66::/64", "default_dns": "10.66.0.1", "default_mtu": 1400})
	gate := a.addMeshNode(cfg, "gate", object{
		"ipv4_address": "192.0.2.1", "listen_port": 51999, "routes": []string{"192.168.7.0/24"}, "post_up": []string{"true"},
	})
	phone := a.addMeshNode(cfg, "phone", object{"node_type": "static"})
	if gate.ConfigSource != "mesh" || gate.VirtualIP != "10.66.0.1/32" || gate.VirtualIP6 != "fd00:66::1/128" || gate.InterfaceName != "office-gate" ||
		!slices.Equal(gate.AffectedNodeIDs, []string{gate.ID}) || !slices.Equal(gate.Routes, []string{"192.168.7.0/24"}) || len(gate.Warnings) > 0 {
		t.Errorf("%+v", gate)
	}
	if phone.VirtualIP != "10.66.0.2/32" || phone.PrivateKey == gate.PrivateKey {
		t.Errorf("%+v", phone)
	}
	if public, err := mesh.PublicKey(gate.PrivateKey); err != nil || public != gate.PublicKey {
		t.Errorf("%v: %q", err, gate.PublicKey)
	}
	text, version := a.text(cfg, gate.ID)
	for _, line := range []string{
		"PrivateKey = " + gate.PrivateKey, "Address = 10.66.0.1/32, fd00:66::1/128", "ListenPort = 51999", "DNS = 10.66.0.1", "MTU = 1400", "PostUp = true",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %q in version %d:\n%s", line, version, text)
		}
	}
	if version != 1 {
		t.Errorf("version %d", version)
	}
	var after meshNodeJSON
	a.put("/api/v1/nodes/"+gate.ID, object{"name": "gateway"}).ok(&after)
	if _, version := a.text(cfg, gate.ID); version != 1 || after.PublicKey != gate.PublicKey {
		t.Errorf("a new name made version %d, and %+v", version, after)
	}
	a.put("/api/v1/nodes/"+gate.ID, object{"listen_port": 0, "dns": "10.66.0.2", "virtual_ip": "10.66.0.9"}).ok(&after)
	if text, version := a.text(cfg, gate.ID); version != 2 || after.VirtualIP != "10.66.0.9/32" || !strings.Contains(text, "ListenPort = 51820\n") ||
		!strings.Contains(text, "DNS = 10.66.0.2\n") {
		t.Errorf("version %d of %+v:\n%s", version, after, text)
	}
}

func TestTheKeysOfANodeCanBeGivenReplacedAndKeptOnTheDevice(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("office", nil)
	private := newPrivateKey(t)
	public, _ := mesh.PublicKey(private)
	n := a.addMeshNode(cfg, "gate", object{"private_key": private})
	if n.PublicKey != public || n.PrivateKey != private {
		t.Errorf("%+v", n)
	}
	var after meshNodeJSON
	a.put("/api/v1/nodes/"+n.ID, object{"private_key": ""}).ok(&after)
	if derived, _ := mesh.PublicKey(after.PrivateKey); after.PublicKey == public || after.PublicKey != derived {
		t.Errorf("a new pair: %+v", after)
	}
	device := a.addMeshNode(cfg, "device", object{"public_key": public})
	if device.PublicKey != public || device.PrivateKey != "" {
		t.Errorf("%+v", device)
	}
	if own := a.addMeshNode(cfg, "own", object{"key_holder": "node"}); own.PrivateKey != "" || own.KeyHolder != "node" {
		t.Errorf("%+v", own)
	}
}

func TestThePrivateKeyIsForThoseWhoMayWrite(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("vpn", object{"tunnel_protocol": "amneziawg", "awg_version": "3.1"})
	n := a.addMeshNode(cfg, "gate", nil)
	read := as(a.addToken("looker", "read").Token)
	var config struct {
		Options struct {
			Key string `json:"header_protection_key"`
		} `json:"awg_options"`
	}
	a.get("/api/v1/configs/" + cfg).ok(&config)
	if config.Options.Key == "" {
		t.Fatal("no header protection key was made")
	}
	for _, path := range []string{"/api/v1/configs", "/api/v1/configs/" + cfg, "/api/v1/configs/" + cfg + "/overview"} {
		if r := a.call("GET", path, nil, read).ok(nil); strings.Contains(r.body, config.Options.Key) {
			t.Errorf("%s shows the header protection key", path)
		}
	}
	for path, shown := range map[string]bool{
		"/api/v1/nodes/" + n.ID: true, nodePath(cfg, n.ID): true, "/api/v1/configs/" + cfg + "/nodes": false, "/api/v1/configs/" + cfg + "/overview": false,
		nodePath(cfg, n.ID) + "/endpoint/status": false,
	} {
		if r := a.get(path).ok(nil); strings.Contains(r.body, n.PrivateKey) != shown {
			t.Errorf("%s: shown is %v, want %v", path, !shown, shown)
		}
		if r := a.call("GET", path, nil, read).ok(nil); strings.Contains(r.body, n.PrivateKey) {
			t.Errorf("%s shows the private key to a token that may only read", path)
		}
	}
	audit := a.get("/api/v1/audit").ok(nil).body
	if strings.Contains(a.log.String()+audit, n.PrivateKey) {
		t.Error("the key is in the log or in the audit log")
	}
	// Of two reads one after the other, the log has the first.
	if !strings.Contains(audit, `"GET /api/v1/nodes/{node_id}"`) && !strings.Contains(audit, `"GET /api/v1/configs/{config_id}/nodes/{node_id}"`) {
		t.Error("reading a key leaves no trace")
	}
}

func TestTheSettingsOfAMeshReachItsNodes(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("vpn", object{
		"tunnel_protocol": "amneziawg", "awg_version": "2.0", "awg_s1": 20, "awg_s2": 30, "awg_s3": 40, "awg_s4": 8,
		"awg_h1": 10, "awg_h2": "20-30", "awg_h3": 40, "awg_h4": 50,
	})
	n := a.addMeshNode(cfg, "gate", object{"awg_jc": 4, "awg_jmin": "40", "awg_jmax": 70})
	text, _ := a.text(cfg, n.ID)
	for _, line := range []string{"S1 = 20", "H2 = 20-30", "Jc = 4", "Jmin = 40"} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	var v struct {
		VirtualSubnet   *string  `json:"virtual_subnet"`
		H1              string   `json:"awg_h1"`
		S3              *int     `json:"awg_s3"`
		ChangeHints     []string `json:"change_hints"`
		AffectedNodeIDs []string `json:"affected_node_ids"`
	}
	a.put("/api/v1/configs/"+cfg, object{"awg_version": "1.5"}).ok(&v)
	if v.S3 != nil || len(v.ChangeHints) == 0 || !slices.Equal(v.AffectedNodeIDs, []string{n.ID}) {
		t.Errorf("%+v", v)
	}
	if text, version := a.text(cfg, n.ID); version != 2 || strings.Contains(text, "S3 =") || !strings.Contains(text, "H2 = 20\n") {
		t.Errorf("version %d\n%s", version, text)
	}
	a.put("/api/v1/configs/"+cfg, object{"virtual_subnet": nil}).ok(&v)
	if v.VirtualSubnet != nil {
		t.Errorf("%+v", v)
	}
	if n := a.addMeshNode(cfg, "later", nil); n.ConfigSource != "text" {
		t.Errorf("%+v", n)
	}
}

func TestANodeWhoseConfigSomebodyWritesIgnoresSettings(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("office", nil)
	n := a.addMeshNode(cfg, "hand", object{"config_source": "text", "private_key": newPrivateKey(t), "listen_port": 7, "ipv4_address": "192.0.2.1"})
	if n.PrivateKey != "" || n.ListenPort != 0 || n.VirtualIP != "" || n.IPv4Address != "192.0.2.1" || len(n.Warnings) != 2 {
		t.Errorf("%+v", n)
	}
	a.get(nodePath(cfg, n.ID)+"/download-conf").fails(http.StatusConflict, "NO_DESIRED_CONFIG")
	var after meshNodeJSON
	a.put("/api/v1/nodes/"+n.ID, object{"config_source": "mesh"}).ok(&after)
	if after.VirtualIP != "10.66.0.1/32" || after.PublicKey == "" || !slices.Equal(after.AffectedNodeIDs, []string{n.ID}) {
		t.Errorf("%+v", after)
	}
}

// Each refusal names the field and the remedy, and changes nothing.
func TestBadInputAboutAMeshIsRefusedInASentence(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("office", nil)
	gate := a.addMeshNode(cfg, "gate", nil)
	second := a.addMeshNode(cfg, "second", nil)
	configs, nodes := "/api/v1/configs", "/api/v1/configs/"+cfg+"/nodes"
	state := func() string {
		return a.get("/api/v1/configs").ok(nil).body + a.get("/api/v1/configs/"+cfg+"/overview").ok(nil).body
	}
	before := state()
	for _, tc := range []struct {
		method, path string
		body         object
		code, want   string
	}{
		{
			"POST", configs,
			object{"name": "b", "virtual_subnet": "10.66.0.128/25"},
			"INVALID_SUBNET",
			"virtual_subnet 10.66.0.128/25 overlaps 10.66.0.0/24 of the mesh office; choose another network.",
		},
		{
			"POST", configs,
			object{"name": "b", "virtual_subnet": "10.66.0.0"},
			"INVALID_SUBNET",
			`virtual_subnet "10.66.0.0" is not a network; write one like 10.66.0.0/24 or fd00:66::/64.`,
		},
		{
			"POST", configs,
			object{"name": "b", "virtual_subnet": "10.67.0.1/24"},
			"INVALID_SUBNET",
			"virtual_subnet 10.67.0.1/24 is an address in a network; write the network, 10.67.0.0/24.",
		},
		{
			"POST", configs,
			object{"name": "b", "virtual_subnet": "10.0.0.0/7"},
			"INVALID_SUBNET",
			"virtual_subnet 10.0.0.0/7 has the length /7; give one from /8 to /30.",
		},
		{
			"POST", configs,
			object{"name": "b", "virtual_subnet6": "10.70.0.0/24"},
			"INVALID_SUBNET",
			"virtual_subnet6 10.70.0.0/24 is a network of IPv4; write it into virtual_subnet.",
		},
		{"POST", configs, object{"name": "b", "default_dns": "not a server!"}, "INVALID_VALUE", "default_dns: "},
		{"POST", configs, object{"name": "b", "tunnel_protocol": "amneziawg", "awg_h1": 7, "awg_h2": 7}, "INVALID_VALUE", "awg_h"},
		{
			"PUT", configs + "/" + cfg,
			object{"virtual_subnet": "ten"},
			"INVALID_SUBNET",
			`virtual_subnet "ten" is not a network; write one like 10.66.0.0/24 or fd00:66::/64.`,
		},
		{
			"POST", nodes,
			object{"name": "Gate"},
			"INVALID_VALUE",
			`name "Gate" differs from "gate", another node of this mesh, in upper and lower case only; choose another name.`,
		},
		{
			"PUT", "/api/v1/nodes/" + second.ID,
			object{"name": "GATE"},
			"INVALID_VALUE",
			`name "GATE" differs from "gate", another node of this mesh, in upper and lower case only; choose another name.`,
		},
		{"POST", nodes, object{"name": "n", "virtual_ip": "10.66.0.1"}, "INVALID_VIRTUAL_IP", "virtual_ip 10.66.0.1 is taken by gate; choose a free one."},
		{
			"POST", nodes,
			object{"name": "n", "virtual_ip": "10.66.0.255"},
			"INVALID_VIRTUAL_IP",
			"virtual_ip 10.66.0.255 is the broadcast address of 10.66.0.0/24; choose another one.",
		},
		{
			"POST", nodes,
			object{"name": "n", "virtual_ip": "10.66.0.300"},
			"INVALID_VIRTUAL_IP",
			`virtual_ip "10.66.0.300" is not an address that a node can have; write one like 10.66.0.5/32.`,
		},
		{"PUT", "/api/v1/nodes/" + second.ID, object{"virtual_ip": "10.66.0.1"}, "INVALID_VIRTUAL_IP", "virtual_ip 10.66.0.1 is taken by gate; choose a free one."},
		{
			"POST", nodes,
			object{"name": "n", "private_key": gate.PrivateKey},
			"INVALID_KEY",
			"public_key is that of gate; give each node a key of its own, or leave both keys out to have a new pair made.",
		},
		{
			"PUT", "/api/v1/nodes/" + second.ID,
			object{"public_key": gate.PublicKey},
			"INVALID_KEY",
			"public_key is that of gate; give each node a key of its own, or leave both keys out to have a new pair made.",
		},
		{
			"POST", nodes,
			object{"name": "n", "private_key": "short"},
			"INVALID_KEY",
			"private_key is not a key; give 32 bytes in base64, 44 characters, as wg genkey prints them.",
		},
		{
			"POST", nodes,
			object{"name": "n", "public_key": "short"},
			"INVALID_KEY",
			"public_key is not a key; give 32 bytes in base64, 44 characters, as wg pubkey prints them.",
		},
		{
			"POST", nodes,
			object{"name": "n", "private_key": gate.PrivateKey, "public_key": second.PublicKey},
			"INVALID_KEY",
			"public_key does not belong to private_key; give the private key alone, or both of one pair.",
		},
		{
			"POST", nodes,
			object{"name": "n", "ipv4_address": "2001:db8::1"},
			"INVALID_VALUE",
			`ipv4_address: "2001:db8::1" is neither such an address nor a host name; `,
		},
		{
			"POST", nodes,
			object{"name": "n", "routes": []string{"192.168.1.7/24"}},
			"INVALID_VALUE",
			"routes: 192.168.1.7/24 is not a network; write it like 192.168.1.0/24.",
		},
		{
			"POST", nodes + "/bulk",
			object{"nodes": []object{{"name": "n"}, {"name": "m", "virtual_ip": "10.66.0.1"}}},
			"INVALID_VIRTUAL_IP",
			"nodes[1]: virtual_ip 10.66.0.1 is taken by gate; choose a free one.",
		},
	} {
		r := a.call(tc.method, tc.path, tc.body)
		r.fails(http.StatusUnprocessableEntity, tc.code)
		if r.Error.Message != tc.want && (!strings.HasPrefix(r.Error.Message, tc.want) || strings.HasSuffix(tc.want, ".")) {
			t.Errorf("%s %v:\n%s\nwant\n%s", tc.path, tc.body, r.Error.Message, tc.want)
		}
	}
	for field, body := range map[string]object{
		"config_source":       {"name": "n", "config_source": "file"},
		"key_holder":          {"name": "n", "key_holder": "me"},
		"listen_port":         {"name": "n", "listen_port": 65536},
		"mtu":                 {"name": "n", "mtu": "big"},
		"routes":              {"name": "n", "routes": []string{"home"}},
		"post_up":             {"name": "n", "post_up": "true"},
		"awg_jc":              {"name": "n", "awg_jc": []int{1}},
		"masquerade":          {"name": "n", "masquerade": "yes"},
		"default_listen_port": nil,
	} {
		if body == nil {
			a.post(configs, object{"name": "b", field: -1}).invalid(field)
			continue
		}
		a.post(nodes, body).invalid(field)
	}
	if after := state(); after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
}

func TestASubnetWithoutAFreeAddressTakesNoNode(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("small", object{"virtual_subnet": "10.66.0.0/30"})
	a.addMeshNode(cfg, "a", nil)
	a.addMeshNode(cfg, "b", nil)
	a.post("/api/v1/configs/"+cfg+"/nodes", object{"name": "c"}).fails(http.StatusConflict, "IP_POOL_EXHAUSTED")
	a.update(func(tx *store.Tx) error {
		if nodes, err := tx.Nodes(cfg, "", 0); err != nil || len(nodes) != 2 {
			t.Errorf("%d nodes, %v", len(nodes), err)
		}
		return nil
	})
}

func TestANewKeyPairGoesToTheNodeAndItsPeers(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("office", nil)
	gate := a.addMeshNode(cfg, "gate", object{"ipv4_address": "192.0.2.1"})
	leaf, other := a.addMeshNode(cfg, "leaf", nil), a.addMeshNode(cfg, "other", nil)
	for _, n := range []meshNodeJSON{leaf, other} {
		a.post("/api/v1/configs/"+cfg+"/peer-links", object{"forward": object{"local_node_id": n.ID, "peer_node_id": gate.ID}}).ok(nil)
	}
	_, version := a.text(cfg, other.ID)
	var v struct {
		NodeID          string   `json:"node_id"`
		KeyHolder       string   `json:"key_holder"`
		PublicKey       string   `json:"public_key"`
		Previous        string   `json:"previous_public_key"`
		AffectedNodeIDs []string `json:"affected_node_ids"`
	}
	res := a.post(nodePath(cfg, leaf.ID)+"/rotate-key", nil)
	res.ok(&v)
	var after meshNodeJSON
	a.get("/api/v1/nodes/" + leaf.ID).ok(&after)
	if public, err := mesh.PublicKey(after.PrivateKey); err != nil || public != v.PublicKey || after.PublicKey != public || public == leaf.PublicKey {
		t.Errorf("%v: the node has the public key %q, the answer %q, and the former one is %q", err, after.PublicKey, v.PublicKey, leaf.PublicKey)
	}
	want := []string{gate.ID, leaf.ID}
	slices.Sort(want)
	if v.NodeID != leaf.ID || v.KeyHolder != "appliance" || v.Previous != leaf.PublicKey || !slices.Equal(v.AffectedNodeIDs, want) {
		t.Errorf("%+v", v)
	}
	if text, _ := a.text(cfg, gate.ID); !strings.Contains(text, "PublicKey = "+v.PublicKey) || strings.Contains(text, leaf.PublicKey) {
		t.Errorf("the gateway's tunnel config:\n%s", text)
	}
	if _, now := a.text(cfg, other.ID); now != version {
		t.Errorf("the tunnel config of a node that is no peer went from version %d to %d", version, now)
	}
	if strings.Contains(string(res.body), after.PrivateKey) {
		t.Error("the answer has the private key")
	}
}

func TestAKeyThatTheApplianceDoesNotHaveIsNotReplacedHere(t *testing.T) {
	a := newAPI(t)
	cfg := a.addMesh("office", nil)
	public, _ := mesh.PublicKey(newPrivateKey(t))
	phone := a.addMeshNode(cfg, "phone", object{"node_type": "static", "public_key": public})
	hand := a.addMeshNode(cfg, "hand", object{"config_source": "text"})
	for _, n := range []meshNodeJSON{phone, hand} {
		a.post(nodePath(cfg, n.ID)+"/rotate-key", nil).fails(http.StatusConflict, "KEY_ELSEWHERE")
	}
}

func TestAMeshWithoutASubnetOfItsOwnGetsAFreeOne(t *testing.T) {
	a := newAPI(t, func(o *web.Options) {
		o.Networks = func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.66.7.9/16")} }
	})
	for i, tc := range []struct {
		given any // absent: "absent"
		want  string
	}{{"absent", "10.67.0.0/24"}, {"absent", "10.67.1.0/24"}, {"10.67.2.0/23", "10.67.2.0/23"}, {nil, ""}, {"absent", "10.67.4.0/24"}} {
		body := object{"name": string(rune('a' + i)), "virtual_subnet": tc.given}
		if tc.given == "absent" {
			delete(body, "virtual_subnet")
		}
		var c struct {
			ID            string
			VirtualSubnet *string `json:"virtual_subnet"`
		}
		a.post("/api/v1/configs", body).ok(&c)
		if deref(c.VirtualSubnet) != tc.want {
			t.Errorf("%v: %q, want %q", tc.given, deref(c.VirtualSubnet), tc.want)
		}
		a.put("/api/v1/configs/"+c.ID, object{"description": "changed"}).ok(&c)
		if deref(c.VirtualSubnet) != tc.want {
			t.Errorf("%v: a change of something else made it %q", tc.given, deref(c.VirtualSubnet))
		}
	}
}
