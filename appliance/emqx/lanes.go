package emqx

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

const (
	// laneCount is the number of messages stored at the same time; they share disk writes.
	laneCount = 512
	// laneRun is the number of messages of a lane that are stored with one disk write. A lane's
	// next messages wait for it, so otherwise a node with many messages would pay one write each.
	laneRun = 64
	// laneMost bounds the queue of a lane. Messages of QoS 1 are already bounded by the receive
	// maximum; events about connections are not.
	laneMost = 4096
)

// lanes process the messages and events from EMQX: in order for each node, at the same time for
// many nodes, and without ever blocking the connection's reader.
type lanes struct {
	deal func([]item)
	// early returns how long an item may still have to wait for an event about its node's
	// connection, since the two come over different sessions.
	early   func(item) time.Duration
	seed    maphash.Seed
	running sync.WaitGroup
	lane    [laneCount]lane
}

type lane struct {
	mu    sync.Mutex
	queue []item
	busy  bool          // a goroutine empties it
	more  chan struct{} // signals that an item was put while the goroutine waits
}

func newLanes(deal func([]item), early func(item) time.Duration) *lanes {
	l := &lanes{deal: deal, early: early, seed: maphash.MakeSeed()}
	for i := range l.lane {
		l.lane[i].more = make(chan struct{}, 1)
	}
	return l
}

// put queues the item. If the queue is full, items that may be dropped are refused.
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
	if it.event != nil {
		select {
		case n.more <- struct{}{}:
		default:
		}
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
		n.mu.Unlock()
		if wait := l.early(it); wait > 0 {
			next := n.event(it.topic.NodeID)
			if next < 0 {
				n.await(it, wait)
				continue
			}
			l.deal([]item{n.pull(next)})
			continue
		}
		l.deal(n.run(l.early))
	}
}

// run takes the first item out of the queue. If that is a message, it also takes the messages
// behind it that need not wait either, at most laneRun of them.
func (n *lane) run(early func(item) time.Duration) []item {
	n.mu.Lock()
	next := n.queue[:min(len(n.queue), laneRun)]
	n.mu.Unlock()
	count := 1
	for next[0].event == nil && count < len(next) && next[count].event == nil && next[count].epoch == next[0].epoch && early(next[count]) <= 0 {
		count++
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queue = n.queue[count:]
	return next[:count:count]
}

// event returns the index of the first event about the node's connection, or -1.
func (n *lane) event(nodeID string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.IndexFunc(n.queue, func(it item) bool { return it.event != nil && it.event.nodeID == nodeID })
}

// pull takes an item out of the queue, which only grows meanwhile.
func (n *lane) pull(index int) item {
	n.mu.Lock()
	defer n.mu.Unlock()
	it := n.queue[index]
	if index == 0 {
		n.queue = n.queue[1:]
	} else {
		n.queue = slices.Delete(n.queue, index, index+1)
	}
	return it
}

// await waits until an event was put, or the item need not wait any more.
func (n *lane) await(it item, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-n.more:
	case <-timer.C:
	case <-it.epoch.ctx.Done():
	}
}

// stop waits until all items are processed. None may be put any more.
func (l *lanes) stop() { l.running.Wait() }
