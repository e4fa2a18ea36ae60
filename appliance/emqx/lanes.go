package emqx

import (
	"hash/maphash"
	"sync"
)

const (
	// laneCount is how many messages are stored at the same time; they share disk writes.
	laneCount = 64
	// laneMost bounds what waits in a lane. Messages of QoS 1 are bounded by the receive maximum
	// already; events about connections are not.
	laneMost = 4096
)

// lanes deal with what comes from EMQX: in order for each node, at the same time for many, and
// without ever holding up the connection's reader.
type lanes struct {
	deal    func(item)
	seed    maphash.Seed
	running sync.WaitGroup
	lane    [laneCount]lane
}

type lane struct {
	mu    sync.Mutex
	queue []item
	busy  bool // a goroutine empties it
}

func newLanes(deal func(item)) *lanes { return &lanes{deal: deal, seed: maphash.MakeSeed()} }

// put queues the item. What need not be kept is refused when too much waits.
func (l *lanes) put(nodeID string, it item) bool {
	n := &l.lane[maphash.String(l.seed, nodeID)%laneCount]
	n.mu.Lock()
	defer n.mu.Unlock()
	if it.ack == nil && len(n.queue) >= laneMost {
		return false
	}
	n.queue = append(n.queue, it)
	if !n.busy {
		n.busy = true
		l.running.Go(func() { l.empty(n) })
	}
	return true
}

func (l *lanes) empty(n *lane) {
	for {
		n.mu.Lock()
		if len(n.queue) == 0 {
			n.queue, n.busy = nil, false
			n.mu.Unlock()
			return
		}
		it := n.queue[0]
		n.queue = n.queue[1:]
		n.mu.Unlock()
		l.deal(it)
	}
}

// stop waits until nothing is dealt with any more. Nothing is put any more then.
func (l *lanes) stop() { l.running.Wait() }
