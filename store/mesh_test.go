package store

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

func TestRecordsFromBeforeTheMeshKeepTheirBytes(t *testing.T) {
	const config = `{"id":"cfg_a","name":"a","description":"","enabled":true,"tunnel_protocol":"wireguard",` +
		`"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z"}`
	const node = `{"id":"node_1","config_id":"cfg_a","name":"one","enabled":true,"node_type":"dynamic","interface_name":"wg0","tags":["x"],` +
		`"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z","client":{"hostname":"h","platform":"linux","version":"1",` +
		`"bound_at":"2026-01-02T03:04:05Z"}}`
	c := decodeRecord[Config](t, config)
	if (c.MeshSettings != MeshSettings{}) {
		t.Errorf("an old config has the settings %+v, want none", c.MeshSettings)
	}
	n := decodeRecord[Node](t, node)
	if n.ConfigSource != SourceText || n.KeyHolder != KeyAtAppliance || !reflect.DeepEqual(n.NodeSettings, NodeSettings{}) {
		t.Errorf("an old node has the settings %+v, want none", n.NodeSettings)
	}
}

func TestMeshRecordsReadWhatTheyWrote(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	writtenAndRead(t, Config{
		ID: "cfg_a", CreatedAt: at, UpdatedAt: at,
		MeshSettings: MeshSettings{
			VirtualSubnet: netip.MustParsePrefix("10.66.0.0/24"), VirtualSubnet6: netip.MustParsePrefix("fd00:1::/64"),
			DefaultListenPort: 51820, DefaultMTU: 1420, DefaultDNS: "9.9.9.9", AutoSync: true, AWG: AWGMesh{S1: "0", H4: "7-9", RandomTrailers: true},
		},
	})
	writtenAndRead(t, Node{ID: "node_1", CreatedAt: at, UpdatedAt: at, NodeSettings: fullSettings()})
	writtenAndRead(t, Link{
		ID: "link_1", ConfigID: "cfg_a", Enabled: true, Manual: true, PresharedKey: "k", Notes: "n", CreatedAt: at, UpdatedAt: at,
		Forward: Direction{
			LocalNodeID: "node_1", PeerNodeID: "node_2", AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.66.0.0/24")},
			PersistentKeepalive: 25, EndpointMode: EndpointManual, EndpointManualHost: "h", EndpointPortMode: PortManual, EndpointManualPort: 1,
		},
		Reverse: Direction{LocalNodeID: "node_2", PeerNodeID: "node_1", EndpointMode: EndpointAuto, EndpointRefFamily: EndpointIPv6},
	})
	writtenAndRead(t, PortForward{ID: "pf_1", FromPort: 80, ToPort: 8080, ToPlatform: "linux", Protocol: ForwardAll, Enabled: true, CreatedAt: at, UpdatedAt: at})
}

func TestANodeReadInATransactionSharesNoSettings(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	update(t, db, func(tx *Tx) error {
		n, err := tx.Node("node_1")
		if err != nil {
			return err
		}
		n.NodeSettings = fullSettings()
		if err := tx.PutNode(&n); err != nil {
			return err
		}
		if n, err = tx.Node("node_1"); err != nil {
			return err
		}
		n.Routes[0], n.PreUp[0], n.PostUp[0], n.PreDown[0], n.PostDown[0] = netip.Prefix{}, "x", "x", "x", "x"
		again, err := tx.Node("node_1")
		if !reflect.DeepEqual(again.NodeSettings, fullSettings()) {
			t.Errorf("after the caller changed its copy, the node has %+v", again.NodeSettings)
		}
		return err
	})
}

// fullSettings returns settings with a value in every field.
func fullSettings() NodeSettings {
	return NodeSettings{
		ConfigSource: SourceMesh, KeyHolder: KeyAtNode, PublicKey: "p", PrivateKey: "s",
		VirtualIP: netip.MustParsePrefix("10.66.0.5/32"), VirtualIP6: netip.MustParsePrefix("fd00:1::5/128"),
		IPv4Address: "192.0.2.1", IPv6Address: "host.example", ListenPort: 1, MTU: 1280, DNS: "9.9.9.9", AutoSync: true,
		Routes: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}, Masquerade: true,
		PreUp: []string{"a"}, PostUp: []string{"b"}, PreDown: []string{"c"}, PostDown: []string{"d"},
		AWG: AWGNode{Jc: "4", I1: "<r 8>"},
	}
}

func decodeRecord[T any](t *testing.T, record string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(record), &v); err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(v); err != nil || string(again) != record {
		t.Errorf("the record is written back as %s, %v; want\n%s", again, err, record)
	}
	return v
}

func writtenAndRead[T any](t *testing.T, v T) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var again T
	if err := json.Unmarshal(raw, &again); err != nil || !reflect.DeepEqual(again, v) {
		t.Errorf("%s is read as %+v, %v; want %+v", raw, again, err, v)
	}
}
