package emqx

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"wfm/appliance/ingress"
	"wfm/protocol"
	"wfm/store"
)

const (
	// eventLag is how far the event about a node's connection may lag behind the node's first
	// message, which comes over another session.
	eventLag = 300 * time.Millisecond
	// goneFor is how long messages of a node without an event are not delayed again: the messages
	// that a node has left at EMQX must not be slow.
	goneFor = 5 * time.Second
)

// storeRetry is the pause before a message that could not be stored is tried again.
const storeRetry = time.Second

// item is one message from EMQX.
type item struct {
	epoch   *epoch
	topic   protocol.Topic
	payload []byte
	// generation is that of the node's right when the message came; zero while EMQX does not know
	// the right yet, so that the message may be the former agent's.
	generation uint64
	at         time.Time // when it came
	ack        func()    // nil for an event about a connection
	event      *connectionEvent
}

// connectionEvent is EMQX's event when a client has connected or disconnected.
type connectionEvent struct {
	clientID  string
	nodeID    string // the node that the client id belongs to
	connected bool
	// ready is set by the appliance itself: a list of connected clients has the node, which may be
	// ready for commands.
	ready bool

	Username    string
	ConnectedAt moment `json:"connected_at"`
	Reason      string
	IPAddress   string
}

// receive runs in the connection's reader and must not block it.
func (b *Broker) receive(e *epoch, p paho.PublishReceived) {
	ack := func() { _ = p.Client.Ack(p.Packet) } // fails only if the connection is lost, and then EMQX sends it again
	if ev := parseEvent(p.Packet.Topic, p.Packet.Payload); ev != nil {
		if ev.Username != ev.nodeID { // anyone who can log in as another user can choose any client id
			if ev.connected && b.accounts.stranger(ev.clientID, ev.Username) {
				b.evict(ev.clientID)
			}
		} else if !b.lanes.put(ev.nodeID, item{epoch: e, event: ev}) {
			b.relist() // the list of connected clients makes up for it
		}
		ack()
		return
	}
	topic, err := protocol.ParseTopic(p.Packet.Topic)
	if err != nil || !topic.Kind.IsUpstream() {
		ack() // nothing of ours
		return
	}
	b.lanes.put(topic.NodeID, item{epoch: e, topic: topic, payload: p.Packet.Payload, generation: b.accounts.generation(topic.NodeID), at: time.Now(), ack: ack})
}

// parseEvent reads an event about a connection; nil for anything else.
func parseEvent(topic string, payload []byte) *connectionEvent {
	// $SYS/brokers/<broker>/clients/<client id>/connected
	level := strings.Split(topic, "/")
	if len(level) != 6 || level[0] != "$SYS" || level[3] != "clients" {
		return nil
	}
	ev := &connectionEvent{clientID: level[4], connected: level[5] == "connected"}
	if json.Unmarshal(payload, ev) != nil || ev.ConnectedAt == 0 {
		return nil
	}
	if id, ok := strings.CutPrefix(ev.clientID, protocol.ClientIDPrefix); ok && protocol.ValidID(id) {
		ev.nodeID = id
	}
	return ev
}

// early returns how long a message may have to wait for the event that its node has connected.
// Until then it would count as a message of a node that has left. If the end of the node's
// connection is known, its message needs no event: it may be its will.
func (b *Broker) early(it item) time.Duration {
	if it.event != nil || !it.epoch.share || it.epoch.ctx.Err() != nil {
		return 0 // over the main session, events come first
	}
	select {
	case <-it.epoch.settled:
	default:
		return 0
	}
	if !b.isLate(it.topic.NodeID) {
		return 0
	}
	wait := time.Until(it.at.Add(eventLag))
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ended := b.ended[it.topic.NodeID]
	switch {
	case ended && it.topic.Kind == protocol.KindEvent, time.Since(b.gone[it.topic.NodeID]) < goneFor:
		return 0
	case wait <= 0:
		b.gone[it.topic.NodeID] = time.Now()
	}
	return wait
}

// handle processes an event about a connection or messages, in their nodes' lane.
func (b *Broker) handle(items []item) {
	e := items[0].epoch
	select {
	case <-e.settled:
	case <-e.ctx.Done():
	}
	b.gate.RLock()
	defer b.gate.RUnlock()
	event := items[0].event
	switch {
	case e.ctx.Err() != nil:
		// Its connection is lost: EMQX sends unacknowledged messages again.
	case event == nil:
		b.take(e, items)
	case event.ready:
		b.announce(event.nodeID)
	case event.connected:
		b.opened(event.nodeID, event.ConnectedAt, event.IPAddress)
	default:
		b.closed(event.nodeID, event.ConnectedAt, reasonInWords(event.Reason))
	}
}

// take stores messages and acknowledges them, however long that takes. A message keeps the
// generation that it came with: after a change, its session has no right any more.
func (b *Broker) take(e *epoch, items []item) {
	for {
		items = slices.DeleteFunc(items, func(it item) bool {
			if b.rightful(it) {
				return false
			}
			b.refused.Add(1)
			it.ack()
			return true
		})
		if len(items) == 0 {
			return
		}
		messages := make([]ingress.Message, len(items))
		for i, it := range items {
			messages[i] = ingress.Message{
				Session: ingress.Session{NodeID: it.topic.NodeID, ConfigID: it.topic.ConfigID, Generation: it.generation, Late: b.isLate(it.topic.NodeID)},
				Topic:   it.topic, Payload: it.payload,
			}
		}
		var again []item
		for i, err := range b.o.Ingress.ReceiveAll(messages) {
			if errors.Is(err, store.ErrClosed) {
				return
			}
			if !b.done(items[i], err) {
				again = append(again, items[i])
			}
		}
		if items = again; len(items) == 0 {
			return
		}
		if !slices.ContainsFunc(items, func(it item) bool { return !b.rightful(it) }) {
			b.pause(e)
			if e.ctx.Err() != nil {
				return
			}
		}
	}
}

// pause waits before a message is stored again. It releases the gate meanwhile: one message that
// cannot be stored must not stop all others.
func (b *Broker) pause(e *epoch) {
	b.gate.RUnlock()
	defer b.gate.RLock()
	select {
	case <-time.After(storeRetry):
	case <-e.ctx.Done():
	}
}

// rightful reports whether the right that the message came with is still valid.
func (b *Broker) rightful(it item) bool {
	grant, ok := b.o.Store.Grant(it.topic.NodeID)
	return ok && grant.ConfigID == it.topic.ConfigID && grant.Generation == it.generation
}

// done acknowledges the message unless it has to be stored again. err is the result of storing it.
func (b *Broker) done(it item, err error) bool {
	switch {
	case err == nil:
		b.stored.Add(1)
		it.ack()
		b.heard(it.topic)
		return true
	case errors.Is(err, ingress.ErrRefused):
	case errors.Is(err, store.ErrPanic):
		// It would fail for ever, and block every other node's messages behind it.
		b.log.Error("a node's message cannot be processed, and is dropped", "node_id", it.topic.NodeID, "kind", string(it.topic.Kind), "err", err)
	default:
		return false
	}
	b.refused.Add(1)
	it.ack()
	return true
}
