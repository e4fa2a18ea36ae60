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

// relistPause is the least time between two looks at who is connected that a doubt has caused.
const relistPause = 30 * time.Second

// nodeSession is a node's connection to EMQX as far as we know; under Broker.mu.
type nodeSession struct {
	connectedAt moment // names it
	since       time.Time
	remote      string            // its address, as EMQX sees it
	replaced    *ingress.Replaced // whose place it took
	untold      bool              // to the ingress: EMQX does not know the account yet, so it may be the former agent's
	heard       bool              // it has sent something
	tries       int               // publishes that reached nobody, since it was heard
	again       *time.Timer
}

// ending is the end of a connection.
type ending struct {
	connectedAt moment            // names it
	replaced    *ingress.Replaced // set if another connection took its place
	heard       time.Time
}

func (s *nodeSession) stop() {
	if s.again != nil {
		s.again.Stop()
	}
}

// session is the node's connection for the ingress, and whether that is to be told of it; ok is false
// when there is none.
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
	return ingress.Session{ID: uint64(s.connectedAt), NodeID: nodeID, ConfigID: grant.ConfigID, Generation: grant.Generation, Since: s.since, Remote: s.remote, Replaced: s.replaced}
}

// opened takes note of a connection.
func (b *Broker) opened(nodeID string, at moment, remote string) {
	if b.learn(nodeID, at, remote) {
		b.announce(nodeID)
	}
}

// learn puts a connection on record, unless it is known or older than what is.
func (b *Broker) learn(nodeID string, at moment, remote string) (news bool) {
	if _, granted := b.o.Store.Grant(nodeID); !granted {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.sessions[nodeID]
	if fence := b.ended[nodeID].connectedAt; at <= fence || (known != nil && at <= known.connectedAt) {
		// A late event, or EMQX's clock was put back: a list tells.
		if at != fence && (known == nil || at != known.connectedAt) {
			b.relistLocked()
		}
		return false
	}
	s := &nodeSession{connectedAt: at, since: time.Now(), remote: remote, untold: true}
	if known != nil { // the end of it is yet to be told
		known.stop()
		s.replaced = known.asReplaced()
	} else if end := b.ended[nodeID]; time.Since(end.heard) < relistPause {
		s.replaced = end.replaced
	}
	b.sessions[nodeID] = s
	delete(b.gone, nodeID)
	return true
}

// closed takes note of the end of a connection. That of an older one, which a newer one has taken
// over, says nothing about the node.
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

// announce tells that the node is connected, if that is news, and that it may be ready for what waits
// for it.
func (b *Broker) announce(nodeID string) {
	if settled, granted := b.accounts.settled(nodeID); !settled || !granted {
		return // accountsTold does, once it is
	}
	s, news, ok := b.session(nodeID)
	if news {
		b.o.Ingress.Connected(s)
	}
	if ok {
		b.o.Ingress.Subscribed(s)
	}
}

// connections names the nodes' connections, as far as they have any.
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

// accountsTold forgets the connections that were kicked, without waiting for EMQX to say so, and
// announces those of agents that have logged in since.
func (b *Broker) accountsTold(nodeIDs []string, kicked map[string]moment) {
	for _, id := range nodeIDs {
		if at, ok := kicked[id]; ok {
			b.closed(id, at, "ended by the appliance")
		}
		b.announce(id)
	}
}

// heard is called after the node's message was stored: it has subscribed by now.
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

// askAgain has what waits for a node that has not subscribed sent a little later.
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

// isLate reports whether the node has sent a message before its connection ended: it is known who
// is connected, and the node is not.
func (b *Broker) isLate(nodeID string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.epoch != nil && b.epoch.listed && b.sessions[nodeID] == nil
}

// relist has a look at who is connected, since it may differ from what is known.
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

// evict has a client kicked that has a client id which is not its own. In the meantime it is denied
// everything, but what waited in the session it took is lost to it.
func (b *Broker) evict(clientID string) {
	b.strangers.Warn("a client has logged in to EMQX with a client id that is not its own, and is kicked; have EMQX ask at logins, as `wfm emqx config` prints")
	select {
	case b.evicted <- clientID:
	default:
		b.accounts.recovered() // which kicks all of them
	}
}

// runEvictions kicks, apart from the comparison of accounts, which may take long.
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

// applyListing makes what is known of connections agree with the list that was begun at began.
func (b *Broker) applyListing(rows []clientRow, began time.Time) {
	b.gate.Lock()
	defer b.gate.Unlock()
	b.mu.Lock()
	epoch := b.epoch
	if epoch == nil || began.Before(b.lastUp) {
		b.mu.Unlock()
		return // events may have been missed since; there will be another list
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
		// The list wins over what was heard before it, also where that is newer by EMQX's clock, which
		// may have been put back since.
		if s := b.sessions[r.Username]; s != nil && s.since.Before(began) && r.ConnectedAt < s.connectedAt {
			gone[r.Username] = s.connectedAt
		}
	}
	epoch.listed = true
	b.mu.Unlock()

	g := &errgroup.Group{}
	g.SetLimit(laneCount) // they share disk writes
	for id, at := range gone {
		g.Go(func() error { b.closed(id, at, "EMQX has it no more"); return nil })
	}
	_ = g.Wait()
	b.mu.Lock()
	for _, r := range rows {
		at, replaced := gone[r.Username]
		end, ok := b.ended[r.Username]
		// That of the connection that has ended itself is a list that lags behind.
		if ok && r.ConnectedAt < end.connectedAt && (end.heard.Before(began) || (replaced && end.connectedAt == at)) {
			delete(b.ended, r.Username)
		}
	}
	b.mu.Unlock()
	for _, r := range rows {
		g.Go(func() error { b.opened(r.Username, r.ConnectedAt, r.IPAddress); return nil })
	}
	_ = g.Wait()
	b.mu.Lock()
	for id := range b.sessions { // of some that have connected since, the list knows nothing
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

// reasonInWords words EMQX's reason for the end of a connection.
func reasonInWords(reason string) string {
	switch reason {
	case "normal":
		return "disconnected by the client"
	case "keepalive_timeout":
		return "nothing heard within the keep-alive time"
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
