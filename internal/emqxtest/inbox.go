package emqxtest

import (
	"slices"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Zone has the limits of a listener's sessions.
type Zone struct {
	// MaxInflight bounds the messages sent to a client and not acknowledged; it overrides the
	// client's own Receive Maximum. MaxMQueue bounds the queue behind them, which drops the oldest.
	MaxInflight, MaxMQueue int
	// MaxMailbox is force_shutdown: a session whose process has more messages than this waiting is
	// ended, with all its messages. 0: no bound.
	MaxMailbox int
	// Handling is the time that a session's process needs for one message.
	Handling time.Duration
	// NoShared makes the broker refuse shared subscriptions.
	NoShared bool
}

// The default zone of an EMQX, and the zone of the appliance's own listener as `wfm emqx config`
// prints it.
func defaultZone() Zone { return Zone{MaxInflight: 32, MaxMQueue: 1000, MaxMailbox: 1000} }
func ownZone() Zone     { return Zone{MaxInflight: 512, MaxMQueue: 100_000} }

// batch is the number of messages that a session's process takes at once.
const batch = 64

// inbox is the session of a superuser, the appliance: a process with a mailbox, a window and a queue.
// Nodes' sessions are mochi's, which has no such bounds.
type inbox struct {
	clientID string
	username string
	zone     Zone
	done     <-chan struct{}
	kill     func()
	wake     chan struct{}

	mu       sync.Mutex
	cl       *mqtt.Client // nil if there is no connection
	mailbox  []packets.Packet
	queue    []packets.Packet
	inflight map[uint16]packets.Packet
	sent     []uint16 // ids in flight, oldest first; some may be acknowledged
	lastID   uint16
	dead     bool
}

// put delivers a message to the session's process.
func (i *inbox) put(pk packets.Packet) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.dead {
		return
	}
	i.mailbox = append(i.mailbox, pk)
	if i.zone.MaxMailbox > 0 && len(i.mailbox) > i.zone.MaxMailbox {
		i.dead = true
		go i.kill()
		return
	}
	i.stir()
}

func (i *inbox) stir() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// run is the session's process.
func (i *inbox) run() {
	for {
		select {
		case <-i.wake:
		case <-i.done:
			return
		}
		for n := i.step(); n > 0; n = i.step() {
			if i.zone.Handling == 0 {
				continue
			}
			select {
			case <-time.After(time.Duration(n) * i.zone.Handling):
			case <-i.done:
				return
			}
		}
	}
}

// step takes messages from the mailbox and sends as many as the window allows. It returns the
// number taken.
func (i *inbox) step() int {
	i.mu.Lock()
	if i.dead {
		i.mu.Unlock()
		return 0
	}
	n := min(batch, len(i.mailbox))
	i.queue = append(i.queue, i.mailbox[:n]...)
	i.mailbox = i.mailbox[n:]
	if over := len(i.queue) - i.zone.MaxMQueue; over > 0 && i.zone.MaxMQueue > 0 {
		i.queue = i.queue[over:]
	}
	cl := i.cl
	var out []packets.Packet
	for cl != nil && len(i.queue) > 0 && len(i.inflight) < i.zone.MaxInflight {
		out = append(out, i.assign(i.queue[0]))
		i.queue = i.queue[1:]
	}
	i.mu.Unlock()
	for _, pk := range out {
		_ = cl.WritePacket(pk) // after a lost connection it is sent again
	}
	return n
}

// assign gives the message an id and puts it in flight.
func (i *inbox) assign(pk packets.Packet) packets.Packet {
	if pk.FixedHeader.Qos == 0 {
		return pk
	}
	for used := true; used || i.lastID == 0; {
		i.lastID = (i.lastID + 1) % clientsOwn
		_, used = i.inflight[i.lastID]
	}
	pk.PacketID = i.lastID
	i.inflight[pk.PacketID] = pk
	i.sent = append(i.sent, pk.PacketID)
	return pk
}

func (i *inbox) acknowledged(id uint16) {
	i.mu.Lock()
	delete(i.inflight, id)
	for len(i.sent) > 0 {
		if _, ok := i.inflight[i.sent[0]]; ok {
			break
		}
		i.sent = i.sent[1:]
	}
	i.mu.Unlock()
	i.stir()
}

// attach gives the session a connection, which gets the messages in flight again.
func (i *inbox) attach(cl *mqtt.Client, zone Zone) {
	i.mu.Lock()
	i.zone = zone
	again := i.unacknowledged()
	i.mu.Unlock()
	for _, pk := range again {
		pk.FixedHeader.Dup = true
		_ = cl.WritePacket(pk)
	}
	i.mu.Lock()
	i.cl = cl
	i.mu.Unlock()
	i.stir()
}

func (i *inbox) detach(cl *mqtt.Client) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.cl == cl {
		i.cl = nil
	}
}

func (i *inbox) size() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.mailbox) + len(i.queue) + len(i.inflight)
}

// all returns the waiting messages, oldest first.
func (i *inbox) all() []packets.Packet {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Concat(i.unacknowledged(), i.queue, i.mailbox)
}

// unacknowledged returns the messages in flight, oldest first; i.mu is held.
func (i *inbox) unacknowledged() (out []packets.Packet) {
	seen := make(map[uint16]bool)
	for _, id := range i.sent {
		if pk, ok := i.inflight[id]; ok && !seen[id] {
			seen[id] = true
			out = append(out, pk)
		}
	}
	return out
}
