package emqx

import (
	"errors"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"wfm/appliance/ingress"
	"wfm/protocol"
	"wfm/store"
)

// relistPause is the least time between two lists of connected clients that are requested because
// of a doubt.
const relistPause = 30 * time.Second

// nodeSession is a node's connection to EMQX as far as known; under Broker.mu.
type nodeSession struct {
	connectedAt moment // identifies it
	since       time.Time
	remote      string            // its address, as seen by EMQX
	replaced    *ingress.Replaced // the connection that it replaced
	untold      bool              // to the ingress: EMQX does not know the account yet, so it may be the former agent's
	heard       bool              // it has sent something
	tries       int               // publishes without a subscriber since it was last heard
	again       *time.Timer
}

// ending is the end of a connection.
type ending struct {
	connectedAt moment            // identifies it
	replaced    *ingress.Replaced // set if another connection replaced it
	heard       time.Time
}

func (s *nodeSession) stop() {
	if s.again != nil {
		s.again.Stop()
	}
}

// session returns the node's connection for the ingress, and whether the ingress has yet to learn
// of it; ok is false if there is none.
func (b *Broker) session(nodeID string) (s ingress.Session, news, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.sessions[nodeID]
	if known == nil {
		return ingress.Session{}, false, false
	}
	news, known.untold = known.untold, false
	return b.ingressSession(nodeID, known), news, true
}

func (b *Broker) ingressSession(nodeID string, s *nodeSession) ingress.Session {
	grant, _ := b.o.Store.Grant(nodeID)
	return ingress.Session{
		ID: uint64(s.connectedAt), NodeID: nodeID, ConfigID: grant.ConfigID, Generation: grant.Generation, Since: s.since, Remote: s.remote,
		Replaced: s.replaced,
	}
}

// opened records a connection.
func (b *Broker) opened(nodeID string, at moment, remote string) {
	if b.learn(nodeID, at, remote) {
		b.announce(nodeID)
	}
}

// learn records a connection, unless it is known or older than the known one.
func (b *Broker) learn(nodeID string, at moment, remote string) (news bool) {
	if _, granted := b.o.Store.Grant(nodeID); !granted {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.sessions[nodeID]
	if fence := b.ended[nodeID].connectedAt; at <= fence || (known != nil && at <= known.connectedAt) {
		// A late event, or EMQX's clock was set back: a list decides.
		if at != fence && (known == nil || at != known.connectedAt) {
			b.relistLocked()
		}
		return false
	}
	s := &nodeSession{connectedAt: at, since: time.Now(), remote: remote, untold: true}
	if known != nil { // its end has yet to be reported
		known.stop()
		s.replaced = known.asReplaced()
	} else if end := b.ended[nodeID]; time.Since(end.heard) < relistPause {
		s.replaced = end.replaced
	}
	b.sessions[nodeID] = s
	delete(b.gone, nodeID)
	return true
}

// closed records the end of a connection. The end of an older one that a newer one has replaced
// says nothing about the node.
func (b *Broker) closed(nodeID string, at moment, reason string) {
	b.mu.Lock()
	known := b.sessions[nodeID]
	end := ending{connectedAt: max(b.ended[nodeID].connectedAt, at), heard: time.Now()}
	ours := known != nil && known.connectedAt == at
	if ours && reason == reasonTakenOver {
		end.replaced = known.asReplaced()
	}
	b.ended[nodeID] = end
	told := ours && !known.untold
	var s ingress.Session
	if ours {
		known.stop()
		delete(b.sessions, nodeID)
		s = b.ingressSession(nodeID, known)
	}
	b.mu.Unlock()
	if told {
		b.o.Ingress.Disconnected(s, reason)
	}
}

func (s *nodeSession) asReplaced() *ingress.Replaced {
	return &ingress.Replaced{Remote: s.remote, Since: s.since}
}

// report reports that the node is connected, if that is new. It returns false if the node has no
// connection or no right to it yet.
func (b *Broker) report(nodeID string) (s ingress.Session, ok bool) {
	if settled, granted := b.accounts.settled(nodeID); !settled || !granted {
		return s, false // accountsTold does that later
	}
	s, news, ok := b.session(nodeID)
	if news {
		b.o.Ingress.Connected(s)
	}
	return s, ok
}

// announce reports that the node is connected, if that is new, and that it may be ready for waiting
// commands.
func (b *Broker) announce(nodeID string) {
	if s, ok := b.report(nodeID); ok {
		b.o.Ingress.Subscribed(s)
	}
}

// connections returns the nodes' open connections.
func (b *Broker) connections(nodeIDs []string) map[string]moment {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[string]moment)
	for _, id := range nodeIDs {
		if s := b.sessions[id]; s != nil {
			out[id] = s.connectedAt
		}
	}
	return out
}

// accountsTold forgets the connections that were kicked, without waiting for EMQX's event, and
// announces those of agents that have logged in since.
func (b *Broker) accountsTold(nodeIDs []string, kicked map[string]moment) {
	for _, id := range nodeIDs {
		if at, ok := kicked[id]; ok {
			b.closed(id, at, "ended by the appliance")
		}
		b.announce(id)
	}
}

// heard is called after the node's message was stored: the node has subscribed by now.
func (b *Broker) heard(topic protocol.Topic) {
	b.mu.Lock()
	s := b.sessions[topic.NodeID]
	first := s != nil && !s.heard
	if s != nil {
		s.heard, s.tries = true, 0
	}
	b.mu.Unlock()
	switch {
	case first:
		b.announce(topic.NodeID)
	case s == nil && topic.Kind != protocol.KindEvent:
		b.relist() // or a late message; an event may be a will
	}
}

// askAgain retries, a little later, commands for a node that has not subscribed yet.
func (b *Broker) askAgain(nodeID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sessions[nodeID]
	if s == nil || b.epoch == nil {
		return
	}
	s.stop()
	s.tries++
	s.again = time.AfterFunc(min(time.Minute, 500*time.Millisecond<<min(s.tries, 8)), func() {
		if b.life.Err() == nil {
			b.announce(nodeID)
		}
	})
}

// isLate reports whether the message was sent before the node's connection ended: the connected
// clients are known, and the node is not one of them.
func (b *Broker) isLate(nodeID string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.epoch != nil && b.epoch.listed && b.sessions[nodeID] == nil
}

// relist requests the list of connected clients, which may differ from the connections known.
func (b *Broker) relist() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.relistLocked()
}

func (b *Broker) relistLocked() {
	if now := time.Now(); now.After(b.relistAt) {
		b.relistAt = now.Add(relistPause)
		b.accounts.recovered()
	}
}

// evict kicks a client whose client id belongs to another. Until then the client is denied
// everything, but it may have received the messages that waited in the session it took.
func (b *Broker) evict(clientID string) {
	b.log.Warn("a client logged in to EMQX with another's client id, and is kicked; make EMQX ask at logins, as `wfm emqx config` prints")
	select {
	case b.evicted <- clientID:
	default:
		b.accounts.recovered() // which kicks all of them
	}
}

// runEvictions kicks, separately from the comparison of accounts, which may take long.
func (b *Broker) runEvictions() {
	for {
		select {
		case id := <-b.evicted:
			err := b.o.API.kick(b.life, []string{id})
			if err == nil {
				err = b.o.API.clearCaches(b.life, []string{id})
			}
			if err != nil {
				b.accounts.recovered()
			}
		case <-b.life.Done():
			return
		}
	}
}

// applyListing updates the known connections from the list that was begun at began.
func (b *Broker) applyListing(rows []clientRow, began time.Time) {
	b.gate.Lock()
	defer b.gate.Unlock()
	b.mu.Lock()
	epoch := b.epoch
	if epoch == nil || began.Before(b.lastUp) {
		b.mu.Unlock()
		return // events may have been missed since; another list follows
	}
	listed := make(map[string]bool, len(rows))
	for _, r := range rows {
		listed[r.Username] = true
	}
	gone := make(map[string]moment)
	for id, s := range b.sessions {
		if !listed[id] && s.since.Before(began) {
			gone[id] = s.connectedAt
		}
	}
	for _, r := range rows {
		// The list wins over earlier events, even if they are newer by EMQX's clock, which may have
		// been set back since.
		if s := b.sessions[r.Username]; s != nil && s.since.Before(began) && r.ConnectedAt < s.connectedAt {
			gone[r.Username] = s.connectedAt
		}
	}
	epoch.listed = true
	b.mu.Unlock()

	g := &errgroup.Group{}
	g.SetLimit(laneCount) // they share disk writes
	for id, at := range gone {
		g.Go(func() error { b.closed(id, at, "EMQX no longer has it"); return nil })
	}
	_ = g.Wait()
	b.mu.Lock()
	for _, r := range rows {
		at, replaced := gone[r.Username]
		end, ok := b.ended[r.Username]
		// The connection that has itself ended: the list lags behind.
		if ok && r.ConnectedAt < end.connectedAt && (end.heard.Before(began) || (replaced && end.connectedAt == at)) {
			delete(b.ended, r.Username)
		}
	}
	b.mu.Unlock()
	for _, r := range rows {
		g.Go(func() error {
			if b.learn(r.Username, r.ConnectedAt, r.IPAddress) {
				b.report(r.Username)
				// A command that seems not to have been sent may be answered by a message that has come
				// since, so that must be processed first.
				if !b.lanes.put(r.Username, item{epoch: epoch, event: &connectionEvent{nodeID: r.Username, ready: true}}) {
					b.announce(r.Username)
				}
			}
			return nil
		})
	}
	_ = g.Wait()
	b.mu.Lock()
	for id := range b.sessions { // the list does not have those that have connected since
		listed[id] = true
	}
	b.mu.Unlock()
	err := b.o.Store.Update(func(tx *store.Tx) error { return tx.EndLostConnections(listed) })
	if err != nil && !errors.Is(err, store.ErrClosed) {
		b.log.Error("cannot record which connections ended while EMQX was out of sight", "err", err)
	}
	b.settle(epoch)
}

const reasonTakenOver = "session taken over"

// reasonInWords translates EMQX's reason for the end of a connection.
func reasonInWords(reason string) string {
	switch reason {
	case "normal":
		return "disconnected by the client"
	case "keepalive_timeout":
		return "no message within the keep-alive time"
	case "tcp_closed", "ssl_closed", "closed":
		return "connection closed by the other side without DISCONNECT"
	case "takenover", "discarded":
		return reasonTakenOver
	case "kicked":
		return "ended by the appliance or by an administrator of EMQX"
	case "":
		return "connection lost"
	}
	return "connection lost (" + strings.ToValidUTF8(reason[:min(len(reason), 64)], "") + ")"
}
