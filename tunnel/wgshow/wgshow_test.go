package wgshow

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The files contain output of wireguard-tools v1.0.20210914 for real interfaces.
func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestPeersOfARealOutput(t *testing.T) {
	got := Parse(read(t, "two-peers.txt"))
	if len(got) != 1 || got[0].Name != "wga" || got[0].ListenPort != "51820" || len(got[0].PublicKey) != 44 || len(got[0].Peers) != 2 {
		t.Fatalf("%+v", got)
	}
	live, silent := got[0].Peers[0], got[0].Peers[1]
	if live.Endpoint != "127.0.0.1:51821" || !reflect.DeepEqual(live.AllowedIPs, []string{"10.9.0.2/32", "fd09::2/128"}) ||
		!strings.HasSuffix(live.Handshake, "ago") || !strings.HasSuffix(live.Received, "B") || !strings.HasSuffix(live.Sent, "B") ||
		live.Keepalive != "every 25 seconds" || len(live.PublicKey) != 44 {
		t.Errorf("a peer with a session: %+v", live)
	}
	if len(silent.PublicKey) != 44 || !reflect.DeepEqual(silent, Peer{PublicKey: silent.PublicKey}) {
		t.Errorf("a peer without a handshake: %+v", silent)
	}
}

func TestSeveralInterfacesKeepTheirOwnPeers(t *testing.T) {
	got := Parse(read(t, "all.txt"))
	if len(got) != 2 || got[1].Name != "wgb" || len(got[1].Peers) != 1 || got[1].Peers[0].PublicKey != got[0].PublicKey {
		t.Errorf("%+v", got)
	}
}

func TestAmneziaAndOlderForms(t *testing.T) {
	got := Parse("interface: awg0\n  public key: (none)\n  jc: 4\n  s1: 86\n  h1: 1-4\n\npeer: P=\n" +
		"  latest handshake: 1 hour, 2 minutes, 3 seconds ago\n  transfer: 1.25 KiB received, 3.02 MiB sent\n  endpoint: [fe80::1%eth0]:51820\n")
	want := []Interface{{Name: "awg0", Peers: []Peer{{
		PublicKey: "P=", Endpoint: "[fe80::1%eth0]:51820", Handshake: "1 hour, 2 minutes, 3 seconds ago", Received: "1.25 KiB", Sent: "3.02 MiB",
	}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestAnythingElseIsNoOutputAndNothingIsUnbounded(t *testing.T) {
	for _, text := range []string{"", "\x00\xff:", "Unable to access interface: No such device", "peer: x\n endpoint: y", ":\n:\n"} {
		if got := Parse(text); got != nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
	if got := Parse(strings.Repeat("interface: a\n", 10_000)); len(got) != maxInterfaces {
		t.Errorf("%d interfaces", len(got))
	}
	if got := Parse("interface: a\n" + strings.Repeat("peer: b\n", 100_000)); len(got[0].Peers) != maxPeers {
		t.Errorf("%d peers", len(got[0].Peers))
	}
}

func FuzzParse(f *testing.F) {
	f.Add("interface: a\n\npeer: b\n  transfer: 1 B received, 2 B sent\n  allowed ips: (none)\n")
	f.Fuzz(func(_ *testing.T, text string) { Parse(text) })
}
