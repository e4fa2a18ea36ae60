package apptest

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
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

// AddBehind makes a namespace that has no link but to n, in the network lan: n has its first address,
// the new namespace the second one.
func (n *Netns) AddBehind(t *testing.T, lan netip.Prefix) *Netns {
	t.Helper()
	w := n.network
	w.size++
	first := lan.Masked().Addr().Next()
	host := &Netns{Name: fmt.Sprintf("wfm-%d-%d-%d", os.Getpid(), w.number, w.size), IP: first.Next().String(), network: w}
	ip(t, "netns", "add", host.Name)
	t.Cleanup(func() { ip(t, "netns", "del", host.Name) })
	port := fmt.Sprintf("lan%d", w.size)
	n.IPTool(t, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.Name)
	t.Cleanup(func() { n.IPTool(t, "link", "del", port) })
	n.IPTool(t, "address", "add", netip.PrefixFrom(first, lan.Bits()).String(), "dev", port)
	n.IPTool(t, "link", "set", port, "up")
	host.IPTool(t, "address", "add", netip.PrefixFrom(first.Next(), lan.Bits()).String(), "dev", "eth0")
	host.IPTool(t, "link", "set", "eth0", "up")
	host.IPTool(t, "link", "set", "lo", "up")
	return host
}

// Masquerade makes n the router of the namespaces behind it, like a router at home: they reach the
// network with the address of n, and nothing reaches them unasked. It needs nft and sysctl.
func (n *Netns) Masquerade(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"sysctl", "-q", "-w", "net.ipv4.ip_forward=1"},
		{"nft", "add table ip home; add chain ip home post { type nat hook postrouting priority 100; }; add rule ip home post oifname eth0 masquerade"},
	} {
		if out, code := n.Run(t, args[0], args[1:]...); code != 0 {
			t.Fatalf("%v: %s", args, out)
		}
	}
}

// Machine is a namespace with a /run of its own, in which the tools of WireGuard keep their sockets:
// names of its interfaces do not meet those of other machines.
type Machine struct {
	*Netns
	pid string // of a process in it
}

// Boot makes the namespace a machine. At the end, its userspace tunnels end with it.
func (n *Netns) Boot(t *testing.T) *Machine {
	t.Helper()
	Need(t, "nsenter", "mount")
	p := n.Spawn(t, nil, "sh", "-c", "mount -t tmpfs tmpfs /run && echo booted && exec sleep 1800")
	p.Expect(t, "booted")
	t.Cleanup(func() {
		out, _ := n.Run(t, "ip", "-o", "link", "show", "type", "tun")
		for line := range strings.Lines(out) {
			if fields := strings.Fields(line); len(fields) > 1 {
				_, _ = n.Run(t, "ip", "link", "del", strings.TrimSuffix(fields[1], ":"))
			}
		}
	})
	return &Machine{n, strconv.Itoa(p.Cmd.Process.Pid)}
}

// Command returns the arguments with which nsenter runs the program on the machine.
func (m *Machine) Command(name string, args ...string) []string {
	return append([]string{"--target", m.pid, "--net", "--mount", name}, args...)
}

// Spawn starts a program on the machine, see [Spawn].
func (m *Machine) Spawn(t *testing.T, env []string, name string, args ...string) *Process {
	t.Helper()
	return Spawn(t, env, "nsenter", m.Command(name, args...)...)
}

// Run runs a program on the machine, see [Run].
func (m *Machine) Run(t *testing.T, name string, args ...string) (string, int) {
	t.Helper()
	return Run(t, "nsenter", m.Command(name, args...)...)
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
