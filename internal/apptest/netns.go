package apptest

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
)

// networks counts the networks that this process has made.
var networks atomic.Int32

// Network is a network of the test's own namespace and those that are added to it.
type Network struct {
	HostIP string // of the test's own namespace
	number int
	bridge string
	size   int
}

// Netns is a network namespace, with one link to its network.
type Netns struct {
	Name, IP string
	network  *Network
}

// NewNetwork makes a network with names and addresses of its own, so that tests that have one may
// run in parallel: 10.77.N.0/24, in which the test's own namespace is 10.77.N.1. It needs root, see
// [NeedRoot].
func NewNetwork(t *testing.T) *Network {
	t.Helper()
	NeedRoot(t)
	Need(t, "ip")
	w := &Network{number: int(networks.Add(1))}
	w.HostIP, w.bridge = w.address(1), fmt.Sprintf("wfmbr%d", w.number)
	ip(t, "link", "add", w.bridge, "type", "bridge")
	t.Cleanup(func() { ip(t, "link", "del", w.bridge) })
	ip(t, "address", "add", w.HostIP+"/24", "dev", w.bridge)
	ip(t, "link", "set", w.bridge, "up")
	return w
}

func (w *Network) address(host int) string { return fmt.Sprintf("10.77.%d.%d", w.number, host) }

// Add makes a namespace on the network. The first one has the address 10.77.N.11.
func (w *Network) Add(t *testing.T) *Netns {
	t.Helper()
	w.size++
	itsIP := w.address(10 + w.size)
	// The names of namespaces are files that all processes of the machine share.
	n := &Netns{Name: fmt.Sprintf("wfm-%d-%d-%d", os.Getpid(), w.number, w.size), IP: itsIP, network: w}
	ip(t, "netns", "add", n.Name)
	t.Cleanup(func() { ip(t, "netns", "del", n.Name) })
	port := fmt.Sprintf("wfmv%d-%d", w.number, w.size)
	ip(t, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", n.Name)
	// Not with the namespace: that goes when the last process in it has.
	t.Cleanup(func() { ip(t, "link", "del", port) })
	ip(t, "link", "set", port, "master", w.bridge, "up")
	n.IPTool(t, "address", "add", itsIP+"/24", "dev", "eth0")
	n.IPTool(t, "link", "set", "eth0", "up")
	n.IPTool(t, "link", "set", "lo", "up")
	return n
}

// ip runs a command of ip that has to succeed.
func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, code := Run(t, "ip", args...); code != 0 {
		t.Fatalf("ip %v: %s", args, out)
	}
}

// IPTool runs a command of ip in the namespace, which has to succeed.
func (n *Netns) IPTool(t *testing.T, args ...string) {
	t.Helper()
	ip(t, append([]string{"-n", n.Name}, args...)...)
}

// Cut makes every packet between the namespace and the test's own vanish without telling either:
// both are sure to know the other's hardware address, and neither has it.
func (n *Netns) Cut(t *testing.T) {
	t.Helper()
	const nobody = "02:00:00:00:00:99"
	ip(t, "neigh", "replace", n.IP, "lladdr", nobody, "nud", "permanent", "dev", n.network.bridge)
	n.IPTool(t, "neigh", "replace", n.network.HostIP, "lladdr", nobody, "nud", "permanent", "dev", "eth0")
}

// Heal undoes Cut.
func (n *Netns) Heal(t *testing.T) {
	t.Helper()
	ip(t, "neigh", "del", n.IP, "dev", n.network.bridge)
	n.IPTool(t, "neigh", "del", n.network.HostIP, "dev", "eth0")
}

// Spawn starts a program in the namespace, see [Spawn].
func (n *Netns) Spawn(t *testing.T, env []string, name string, args ...string) *Process {
	t.Helper()
	return Spawn(t, env, "ip", append([]string{"netns", "exec", n.Name, name}, args...)...)
}

// Run runs a program in the namespace, see [Run].
func (n *Netns) Run(t *testing.T, name string, args ...string) (string, int) {
	t.Helper()
	return Run(t, "ip", append([]string{"netns", "exec", n.Name, name}, args...)...)
}
