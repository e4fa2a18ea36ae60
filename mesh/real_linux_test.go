package mesh_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"wfm/mesh"
	"wfm/store"
)

// wires makes a namespace for each node and one outside of the mesh, all on one network, and a host
// behind the branch.
const wires = `
	ip link add net0 type bridge; ip link set net0 up
	n=1
	for node in gate branch peer phone outside; do
		ip netns add $node; ip -n $node link set lo up
		ip link add v$n type veth peer name eth0 netns $node; ip link set v$n master net0 up
		ip -n $node address add 192.0.2.$n/24 dev eth0; ip -n $node link set eth0 up
		n=$((n + 1))
	done
	ip netns add host; ip -n host link set lo up
	ip -n branch link add lan0 type veth peer name eth0 netns host
	ip -n branch address add 192.168.7.1/24 dev lan0; ip -n branch address add fd00:7::1/64 dev lan0 nodad; ip -n branch link set lan0 up
	ip -n host address add 192.168.7.9/24 dev eth0; ip -n host address add fd00:7::9/64 dev eth0 nodad; ip -n host link set eth0 up
	mkdir -p /run/wireguard`

func TestGeneratedConfigsMakeTunnelsThatWork(t *testing.T) {
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("needs /dev/net/tun")
	}
	if !inNamespace(t, "wg", "wg-quick", "wireguard-go") {
		return
	}
	output(t, exec.CommandContext(t.Context(), "bash", "-ec", wires))
	w := newWorld("10.66.0.0/24", "fd00:66::/64")
	w.add("gate", public("192.0.2.1"))
	w.add("branch", routes("192.168.7.0/24", "fd00:7::/64"), func(n *mesh.Node) { n.Masquerade = true })
	w.add("peer")
	w.add("phone", func(n *mesh.Node) { n.Type = store.NodeStatic })
	w.links = w.quick(t, mesh.Quick{Mode: mesh.HubSpoke, UsePresharedKey: true}).Links()
	w.forwards = append(w.forwards, store.PortForward{
		ID: "pf_1", FromNodeID: "peer", FromPort: 80, ToNodeID: "gate", ToPort: 8080, ToPlatform: "linux", Protocol: store.ForwardTCP, Enabled: true,
	})
	if r := w.mesh().Validate(mesh.Surroundings{Reach: near}); len(r.Findings) > 0 {
		t.Fatalf("%+v", r.Findings)
	}
	dir := t.TempDir()
	for i, n := range w.nodes {
		// wireguard-go keeps its sockets by the names of interfaces, in one place for all namespaces.
		w.nodes[i].InterfaceName = "wg-" + n.ID
	}
	for _, n := range w.nodes {
		path := filepath.Join(dir, n.InterfaceName+".conf")
		if err := os.WriteFile(path, []byte(w.mesh().Text(n.ID)), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { // a daemon outlives a test that failed
			_ = exec.Command("nsenter", "--net=/run/netns/"+n.ID, "ip", "link", "del", n.InterfaceName).Run() //nolint:noctx // the test's context has ended
		})
		output(t, in(t, n.ID, "wg-quick", "up", path))
	}
	for _, n := range w.nodes {
		serve(t, n.ID, "tcp", n.VirtualIP.Addr().String()+":80")
		serve(t, n.ID, "tcp", "["+n.VirtualIP6.Addr().String()+"]:80")
	}
	serve(t, "host", "tcp", "192.168.7.9:80")
	serve(t, "host", "tcp", "[fd00:7::9]:80")
	reaches := func(from, address, as string) {
		t.Helper()
		if got := seenAs(t, from, "tcp", address); got != as {
			t.Errorf("%s that dials %s is seen as %s, want %s", from, address, got, as)
		}
	}
	for _, leaf := range []string{"peer", "phone", "branch", "gate"} { // the gateway last: it cannot reach a leaf first
		from := w.node(leaf)
		for _, to := range w.nodes {
			reaches(leaf, to.VirtualIP.Addr().String()+":80", from.VirtualIP.Addr().String())
			reaches(leaf, "["+to.VirtualIP6.Addr().String()+"]:80", from.VirtualIP6.Addr().String())
		}
		reaches(leaf, "192.168.7.9:80", "192.168.7.1")
		reaches(leaf, "[fd00:7::9]:80", "fd00:7::1")
	}
	reaches("outside", "192.0.2.1:8080", "10.66.0.1")
	for _, n := range w.nodes {
		output(t, in(t, n.ID, "wg-quick", "down", filepath.Join(dir, n.InterfaceName+".conf")))
	}
}
