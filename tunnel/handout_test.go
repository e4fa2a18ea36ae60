package tunnel

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel/wgconf"
)

// text returns a config for the port.
func text(port int) string {
	return fmt.Sprintf("[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\nListenPort = %d\n\n"+
		"[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\nAllowedIPs = 10.99.0.2/32\n", port)
}

// amnezia returns a config for the port that only the AmneziaWG tools accept.
func amnezia(port int) string {
	return strings.Replace(text(port), "\n\n", "\nJc = 4\nJmin = 40\nJmax = 70\n\n", 1)
}

// swallows returns a config for the port that routes everything into the tunnel.
func swallows(port int) string { return strings.Replace(text(port), "10.99.0.2/32", "0.0.0.0/0", 1) }

// desk is a store with one WireGuard mesh and one node.
type desk struct {
	t  *testing.T
	db *store.DB
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	db, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	d := &desk{t, db}
	d.update(func(tx *store.Tx) error {
		if err := tx.PutConfig(&store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}); err != nil {
			return err
		}
		return tx.PutNode(&store.Node{ID: "node_a", ConfigID: "cfg_a", Name: "a", Enabled: true, Type: store.NodeDynamic, InterfaceName: "wg0"})
	})
	return d
}

func (d *desk) update(fn func(*store.Tx) error) {
	d.t.Helper()
	if err := d.db.Update(fn); err != nil {
		d.t.Fatal(err)
	}
}

// desire makes text the node's desired config.
func (d *desk) desire(text string, forced bool) (ref store.ConfRef) {
	d.t.Helper()
	d.update(func(tx *store.Tx) error {
		s, err := tx.SetDesired("node_a", text, store.ConfVersion{Author: "admin", Forced: forced})
		ref = s.Desired
		return err
	})
	return ref
}

func TestWhatABindHandsOut(t *testing.T) {
	t.Parallel()
	reach := wgconf.Reach{Host: "203.0.113.7", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.7")}}
	for name, tc := range map[string]struct {
		staged, confirmed, desired string
		forced                     bool
		want                       string
	}{
		"nothing":                          {want: ""},
		"staged before all others":         {staged: text(2), confirmed: text(1), desired: text(3), want: text(2)},
		"confirmed, with nothing staged":   {confirmed: text(1), desired: text(3), want: text(1)},
		"desired, with nothing else":       {desired: text(3), want: text(3)},
		"staged for the other tools":       {staged: amnezia(2), desired: text(3), want: text(3)},
		"staged would cut off":             {staged: swallows(2), confirmed: text(1), want: text(1)},
		"staged would cut off, and forced": {staged: swallows(2), confirmed: text(1), forced: true, want: swallows(2)},
		"all would cut off":                {staged: swallows(2), desired: swallows(3), want: swallows(2)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			var s store.ConfState
			for _, one := range []struct {
				text string
				ref  *store.ConfRef
			}{{tc.confirmed, &s.Confirmed}, {tc.staged, &s.Staged}, {tc.desired, &s.Desired}} {
				if one.text != "" {
					*one.ref = d.desire(one.text, tc.forced)
				}
			}
			d.update(func(tx *store.Tx) error {
				n, err := tx.Node("node_a")
				if err != nil {
					return err
				}
				cfg, err := tx.Config(n.ConfigID)
				if err != nil {
					return err
				}
				ref, got, err := HandOut(tx, cfg, n, s, reach)
				if got != tc.want || (ref.Version == 0) != (got == "") {
					t.Errorf("version %d: %q, want %q", ref.Version, got, tc.want)
				}
				return err
			})
		})
	}
}

func TestABindHandsOutNoTextWhoseKeyTheAgentLacks(t *testing.T) {
	t.Parallel()
	const own, other = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
	kept := func(public string) string {
		return strings.Replace(text(1), "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=", wgconf.KeptAs(public), 1)
	}
	able := &store.Client{Capabilities: []string{protocol.CapabilityNodeKey}, PublicKey: own}
	for name, tc := range map[string]struct {
		staged, desired string
		agent           *store.Client
		want            string
	}{
		"a deployed agent":              {kept(own), text(2), &store.Client{}, text(2)},
		"a deployed agent, and no more": {kept(own), kept(""), &store.Client{}, ""},
		"and the text has a fault":      {amnezia(3) + kept(own), kept(own), &store.Client{}, ""},
		"an agent with the key":         {kept(own), text(2), able, kept(own)},
		"an agent with keys":            {kept(""), text(2), able, kept("")},
		"an agent with another key":     {kept(other), kept(own), able, kept(own)},
	} {
		d := newDesk(t)
		s := store.ConfState{Staged: d.desire(tc.staged, false), Desired: d.desire(tc.desired, false)}
		d.update(func(tx *store.Tx) error {
			n, err := tx.Node("node_a")
			if err != nil {
				return err
			}
			n.Client = tc.agent
			cfg, err := tx.Config(n.ConfigID)
			if err != nil {
				return err
			}
			ref, got, err := HandOut(tx, cfg, n, s, wgconf.Reach{})
			if got != tc.want || (ref.Version == 0) != (got == "") {
				t.Errorf("%s: version %d: %q, want %q", name, ref.Version, got, tc.want)
			}
			return err
		})
	}
}
