package apptest

import (
	"fmt"
	"os"
	"testing"
)

// Netns is a network namespace with one link to the test's own.
type Netns struct {
	Name, HostIP, IP string
	link             string // our end
}

// NewNetns makes a namespace that reaches the test's own at hostIP, and is reached at itsIP, over a
// link of their own. tag tells the namespaces of a test apart. Needs root, see [NeedRoot].
func NewNetns(t *testing.T, tag, hostIP, itsIP string) *Netns {
	t.Helper()
	NeedRoot(t)
	Need(t, "ip")
	// The names of namespaces are files that all processes of the machine share.
	n := &Netns{Name: fmt.Sprintf("wfm-%d-%s", os.Getpid(), tag), HostIP: hostIP, IP: itsIP, link: "wfm-" + tag}
	n.ip(t, "netns", "add", n.Name)
	t.Cleanup(func() { n.ip(t, "netns", "del", n.Name) })
	n.ip(t, "link", "add", n.link, "type", "veth", "peer", "name", "uplink", "netns", n.Name)
	n.ip(t, "addr", "add", hostIP+"/24", "dev", n.link)
	n.ip(t, "link", "set", n.link, "up")
	n.ip(t, "-n", n.Name, "addr", "add", itsIP+"/24", "dev", "uplink")
	n.ip(t, "-n", n.Name, "link", "set", "uplink", "up")
	n.ip(t, "-n", n.Name, "link", "set", "lo", "up")
	return n
}

func (n *Netns) ip(t *testing.T, args ...string) {
	t.Helper()
	if out, code := Run(t, "ip", args...); code != 0 {
		t.Fatalf("ip %v: %s", args, out)
	}
}

// Cut makes every packet of the link vanish without telling either end: both are sure to know the
// other's hardware address, and neither has it.
func (n *Netns) Cut(t *testing.T) {
	t.Helper()
	const nobody = "02:00:00:00:00:99"
	n.ip(t, "neigh", "replace", n.IP, "lladdr", nobody, "nud", "permanent", "dev", n.link)
	n.ip(t, "-n", n.Name, "neigh", "replace", n.HostIP, "lladdr", nobody, "nud", "permanent", "dev", "uplink")
}

// Heal undoes Cut.
func (n *Netns) Heal(t *testing.T) {
	t.Helper()
	n.ip(t, "neigh", "del", n.IP, "dev", n.link)
	n.ip(t, "-n", n.Name, "neigh", "del", n.HostIP, "dev", "uplink")
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
