package agent

import (
	"time"

	"github.com/vishvananda/netlink"
)

// otherKind reports whether the interface is known to be something other than a tunnel, such as a
// bridge with the tunnel's name.
func otherKind(name string) bool {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return false
	}
	switch link.Type() {
	case "bridge", "dummy", "veth", "vlan", "macvlan", "ipvlan", "bond", "vxlan":
		return true
	}
	return false
}

// watchLinks signals on changed whenever the kernel reports that an interface came, went or
// changed, until stop is closed. The periodic check finds changes that it misses.
func watchLinks(stop <-chan struct{}, changed chan<- struct{}) {
	for {
		updates, ended := make(chan netlink.LinkUpdate, 64), make(chan struct{})
		if err := netlink.LinkSubscribe(updates, ended); err == nil {
			drainLinks(stop, updates, changed)
		}
		close(ended)
		for range updates { // until the library has noticed
		}
		select { // the socket overflowed, or the kernel allows no such socket
		case <-stop:
			return
		case <-time.After(lookEvery):
		}
	}
}

func drainLinks(stop <-chan struct{}, updates <-chan netlink.LinkUpdate, changed chan<- struct{}) {
	for {
		select {
		case <-stop:
			return
		case _, ok := <-updates:
			if !ok {
				return
			}
			select {
			case changed <- struct{}{}:
			default: // a check is already due
			}
		}
	}
}
