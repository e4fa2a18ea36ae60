package web_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"wfm/mesh"
	"wfm/store"
)

type keysJSON struct {
	PrivateKey string `json:"private_key"`
	PublicKey  string `json:"public_key"`
}

func TestKeysAreMadeAndDerivedAndNeverLogged(t *testing.T) {
	a := newAPI(t)
	var made, again, derived keysJSON
	a.post("/api/v1/nodes/keys/generate", nil).ok(&made)
	a.post("/api/v1/nodes/keys/generate", nil).ok(&again)
	if public, err := mesh.PublicKey(made.PrivateKey); err != nil || public != made.PublicKey || again == made {
		t.Errorf("%v, %+v and %+v", err, made.PublicKey, again.PublicKey)
	}
	a.post("/api/v1/nodes/keys/derive-public", object{"private_key": " " + made.PrivateKey + "\n"}).ok(&derived)
	if derived != made {
		t.Errorf("derived %s, made %s", derived.PublicKey, made.PublicKey)
	}
	var psk struct {
		PresharedKey string `json:"preshared_key"`
	}
	a.post("/api/v1/peer-links/psk/generate", nil).ok(&psk)
	if raw, err := base64.StdEncoding.DecodeString(psk.PresharedKey); err != nil || len(raw) != 32 {
		t.Errorf("%v, %d bytes", err, len(raw))
	}

	r := a.post("/api/v1/nodes/keys/derive-public", object{"private_key": "not-a-key"})
	r.fails(422, "INVALID_KEY")
	if !strings.HasPrefix(r.Error.Message, "private_key ") || strings.Contains(r.body, "not-a-key") {
		t.Errorf("%s", r.Error.Message)
	}
	a.post("/api/v1/nodes/keys/derive-public", object{}).invalid("private_key")

	audit := a.get("/api/v1/audit").ok(nil).body
	for _, secret := range []string{made.PrivateKey, psk.PresharedKey} {
		if strings.Contains(a.log.String(), secret) || strings.Contains(audit, secret) {
			t.Error("a key is in the log or in the audit log")
		}
	}
}

func TestAnAddressIsSuggestedAndChecked(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	at := "/api/v1/configs/" + cfg + "/nodes/"
	r := a.post(at+"suggest-ip", nil)
	r.fails(422, "INVALID_SUBNET")
	if !strings.HasPrefix(r.Error.Message, "virtual_subnet: ") {
		t.Error(r.Error.Message)
	}
	gate, hand := a.addNode(cfg, "gate"), a.addNode(cfg, "hand")
	a.save(nodePath(cfg, hand), "[Interface]\nPrivateKey = "+newPrivateKey(t)+"\nAddress = 10.66.0.2/24\n")
	a.giveAddresses(cfg, gate)

	var ip struct {
		IP  string  `json:"ip"`
		IP6 *string `json:"ip6"`
	}
	if a.post(at+"suggest-ip", nil).ok(&ip); ip.IP != "10.66.0.3/32" || ip.IP6 == nil || *ip.IP6 != "fd00:66::1/128" {
		t.Errorf("suggested %+v", ip)
	}
	for _, tc := range []struct {
		body    object
		valid   bool
		warning string
	}{
		{object{"virtual_ip": "10.66.0.3"}, true, ""},
		{object{"virtual_ip": "10.66.0.3/32"}, true, ""},
		{object{"virtual_ip": "fd00:66::2"}, true, ""},
		{object{"virtual_ip": "10.66.0.1"}, false, "virtual_ip 10.66.0.1 is taken by gate; choose a free one."},
		{object{"virtual_ip": "10.66.0.1", "node_id": gate}, true, ""},
		{object{"virtual_ip": "10.66.0.2"}, false, "virtual_ip 10.66.0.2 is taken by hand; choose a free one."},
		{object{"virtual_ip": "10.66.0.0"}, false, "virtual_ip 10.66.0.0 is the address of the network 10.66.0.0/24 itself; choose another one."},
		{object{"virtual_ip": "10.66.0.255"}, false, "virtual_ip 10.66.0.255 is the broadcast address of 10.66.0.0/24; choose another one."},
		{object{"virtual_ip": "10.70.0.1"}, true, "virtual_ip 10.70.0.1 is outside of the mesh's subnet 10.66.0.0/24: " +
			"links that carry the subnet do not reach it by themselves."},
		{object{"virtual_ip": "ten"}, false, `virtual_ip "ten" is not an address that a node can have; write one like 10.66.0.5/32.`},
	} {
		var v struct {
			Valid   bool
			Warning *string
		}
		a.post(at+"validate-ip", tc.body).ok(&v)
		if v.Valid != tc.valid || (v.Warning == nil) != (tc.warning == "") || v.Warning != nil && *v.Warning != tc.warning {
			t.Errorf("%v: %v, %q", tc.body, v.Valid, deref(v.Warning))
		}
	}
	a.post(at+"validate-ip", object{}).invalid("virtual_ip")
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func newPrivateKey(t *testing.T) string {
	t.Helper()
	keys, err := mesh.NewKeys(strings.NewReader(strings.Repeat("k", 32)))
	if err != nil {
		t.Fatal(err)
	}
	return keys.Private
}

// giveAddresses gives subnets to the mesh, and an address of the first one to the node.
func (a *api) giveAddresses(configID, nodeID string) {
	a.t.Helper()
	a.update(func(tx *store.Tx) error {
		cfg, err := tx.Config(configID)
		if err != nil {
			return err
		}
		cfg.VirtualSubnet, _ = mesh.ParseSubnet("", "10.66.0.0/24")
		cfg.VirtualSubnet6, _ = mesh.ParseSubnet("", "fd00:66::/64")
		if err := tx.PutConfig(&cfg); err != nil {
			return err
		}
		n, err := tx.Node(nodeID)
		if err != nil {
			return err
		}
		n.ConfigSource = store.SourceMesh
		n.VirtualIP, _ = mesh.ParseAddress("", "10.66.0.1/32")
		return tx.PutNode(&n)
	})
}

type awgJSON struct {
	Version string `json:"awg_version"`
	S1      *int   `json:"awg_s1"`
	S3      *int   `json:"awg_s3"`
	H1      string `json:"awg_h1"`
	Options struct {
		HeaderProtectionKey string `json:"header_protection_key"`
		RandomTrailers      bool   `json:"random_trailers"`
	} `json:"awg_options"`
}

func TestValuesOfAmneziaWGAreDraftedForEachVersion(t *testing.T) {
	a := newAPI(t)
	var options struct {
		DefaultAWGVersion string `json:"default_awg_version"`
		AWGVersions       []struct {
			AWGVersion    string   `json:"awg_version"`
			ConfigMembers []string `json:"config_members"`
			Options       []string `json:"awg_options"`
		} `json:"awg_versions"`
	}
	a.get("/api/v1/configs/protocol-options").ok(&options)
	if options.DefaultAWGVersion != "2.0" || len(options.AWGVersions) != 3 {
		t.Fatalf("%+v", options)
	}
	for i, want := range []struct{ members, options int }{{6, 0}, {8, 0}, {8, 9}} {
		v := options.AWGVersions[i]
		if len(v.ConfigMembers) != want.members || len(v.Options) != want.options {
			t.Errorf("%+v", v)
		}
		var drafted awgJSON
		a.post("/api/v1/configs/awg/random?awg_version="+v.AWGVersion, nil).ok(&drafted)
		if drafted.Version != v.AWGVersion || drafted.S1 == nil || drafted.H1 == "" || (drafted.S3 != nil) != (want.members == 8) ||
			(drafted.Options.HeaderProtectionKey != "") != (want.options > 0) {
			t.Errorf("%s: %+v", v.AWGVersion, drafted)
		}
	}
	var drafted awgJSON
	a.post("/api/v1/configs/awg/random", nil).ok(&drafted)
	if drafted.Version != "2.0" {
		t.Errorf("%+v", drafted)
	}
	drafted = awgJSON{}
	a.post("/api/v1/configs/awg/random?awg_version=3.1&regenerate_key=false", nil).ok(&drafted)
	if drafted.Version != "3.1" || drafted.Options.HeaderProtectionKey != "" {
		t.Errorf("%+v", drafted)
	}
	a.post("/api/v1/configs/awg/random?awg_version=9", nil).invalid("awg_version")
	a.post("/api/v1/configs/awg/random?regenerate_key=maybe", nil).invalid("regenerate_key")

	var node struct {
		Jc, Jmin, Jmax *int
		I1             *string `json:"awg_i1"`
	}
	a.post("/api/v1/nodes/awg/random?direction=dns&intensity=low", nil).ok(&node)
	if node.I1 == nil || !strings.HasPrefix(*node.I1, "<r 2><b 0x0100") {
		t.Errorf("%+v", node)
	}
	a.post("/api/v1/nodes/awg/random?direction=smtp", nil).fails(422, "INVALID_AWG_VALUE")
	a.post("/api/v1/nodes/awg/random?intensity=loud", nil).fails(422, "INVALID_AWG_VALUE")
}

func TestValuesOfAmneziaWGAreConverted(t *testing.T) {
	a := newAPI(t)
	var v struct {
		Config  awgJSON
		Changes []string
	}
	from := object{"awg_version": "2.0", "awg_s1": 20, "awg_s2": "30", "awg_s3": 40, "awg_s4": 8, "awg_h1": "10-20", "awg_h2": 30, "awg_h3": 40, "awg_h4": "50"}
	a.post("/api/v1/configs/awg/convert", object{"awg_version": "1.5", "config": from}).ok(&v)
	if v.Config.Version != "1.5" || v.Config.H1 != "10" || v.Config.S3 != nil || *v.Config.S1 != 20 || len(v.Changes) != 3 {
		t.Errorf("%+v", v)
	}
	a.post("/api/v1/configs/awg/convert", object{"awg_version": "3.1", "config": from}).ok(&v)
	if v.Config.Options.HeaderProtectionKey == "" || strings.Contains(strings.Join(v.Changes, " "), v.Config.Options.HeaderProtectionKey) {
		t.Errorf("%+v", v)
	}
	a.post("/api/v1/configs/awg/convert", object{"awg_version": "2.0", "config": from}).ok(&v)
	if len(v.Changes) != 0 || v.Changes == nil {
		t.Errorf("%q", v.Changes)
	}
	at := "/api/v1/configs/awg/convert"
	a.post(at, object{"config": from}).invalid("awg_version")
	a.post(at, object{"awg_version": "4", "config": from}).invalid("awg_version")
	a.post(at, object{"awg_version": "2.0"}).invalid("config")
	a.post(at, object{"awg_version": "2.0", "config": "text"}).invalid("config")
	a.post(at, object{"awg_version": "2.0", "config": object{"awg_s1": true}}).invalid("config.awg_s1")
	a.post(at, object{"awg_version": "2.0", "config": object{"awg_options": object{"random_trailers": 7}}}).invalid("config.awg_options.random_trailers")
	r := a.post(at, object{"awg_version": "2.0", "config": object{"awg_s1": 99999, "awg_h1": 7, "awg_h2": 7}})
	r.fails(422, "INVALID_AWG_VALUE")
	if !strings.HasPrefix(r.Error.Message, "awg_s1: ") || !strings.Contains(r.Error.Message, "awg_h") {
		t.Error(r.Error.Message)
	}
}
