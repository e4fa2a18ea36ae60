package hooks

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"wfm/appliance/ingress"
	"wfm/protocol"
	"wfm/rights"
	"wfm/store"
)

const (
	// endWait limits the wait for the end of a session. Writes have a deadline of 5 s, so only a
	// hanging store can take longer.
	endWait = 10 * time.Second
	// A session may send packetsPerSecond in the long run and packetBurst at once. Beyond that only
	// its own connection is slowed down.
	packetsPerSecond = 50
	packetBurst      = 200
	// longestThrottle is how long a session may be slowed down without a pause in between.
	// Meanwhile its packets, and the end of its connection, wait in the system's buffers: the
	// longer they wait, the less a message says about the node's current state.
	longestThrottle = 10 * time.Second
)

// Conn is a connection that reports when the broker has finished with it.
type Conn interface {
	net.Conn
	// Done is closed after the broker's goroutine for the connection has returned and
	// [Registry.Ended] has run.
	Done() <-chan struct{}
	// Silent reports whether reading or writing has ended because the link was silent for too long,
	// and not because the other side closed the connection.
	Silent() bool
	// Refused returns the reason why the connection itself has ended the stream of packets, and
	// reports whether it has.
	Refused() (packets.Code, bool)
	// Farewell makes Close first write the result of compose, unless the other side is gone or does
	// not read. compose may return nil.
	Farewell(compose func() []byte)
}

// session is a live MQTT session, from authentication to the end of its connection.
type session struct {
	ingress.Session
	client      *mqtt.Client
	limiter     *rate.Limiter
	established atomic.Bool
	superseded  atomic.Bool // taken over, refused, or without its right
	parted      atomic.Bool // one side has sent DISCONNECT
	// ending is the reason why we end the session; nil while we do not.
	ending atomic.Pointer[packets.Code]
	// throttledSince is when the session began to be slowed down; zero once it has paused for a
	// while. Only the connection's own goroutine uses it.
	throttledSince time.Time
}

// right identifies the session to package rights.
func (s *session) right() rights.Session {
	return rights.Session{ClientID: s.client.ID, Generation: s.Generation}
}

func (s *session) willCause() ingress.WillCause {
	conn, ok := s.client.Net.Conn.(Conn)
	refused := false
	if ok {
		_, refused = conn.Refused()
	}
	switch {
	case s.superseded.Load(), refused:
		return ingress.WillSuperseded
	case ok && conn.Silent():
		return ingress.WillSilent
	}
	return ingress.WillClosed
}

// end ends the session on purpose: its will says nothing about the node. The first reason counts.
func (s *session) end(reason packets.Code) {
	s.superseded.Store(true)
	s.ending.CompareAndSwap(nil, &reason)
	s.client.Stop(reason)
}

// farewell composes the DISCONNECT for a connection that is about to be closed. It returns nil if
// none may be sent: MQTT 3.1.1 has none from the server, and only one may be sent [MQTT-3.14.4-2].
func (r *Registry) farewell(s *session) []byte {
	if s.client.Properties.ProtocolVersion < level5 || s.parted.Swap(true) {
		return nil
	}
	code := packets.ErrMalformedPacket // the broker's decoder ends a connection without an answer
	conn, _ := s.client.Net.Conn.(Conn)
	refused, wasRefused := conn.Refused()
	switch reason := s.ending.Load(); {
	case reason != nil:
		code = *reason
	case r.isClosing():
		code = packets.ErrServerShuttingDown
	case wasRefused:
		code = refused
	case conn.Silent():
		code = packets.ErrKeepAliveTimeout
	}
	words := code.Reason
	if longest := s.client.Properties.Props.MaximumPacketSize; longest > 0 && longest < 128 {
		return []byte{packets.Disconnect << 4, 1, code.Code}
	}
	if code == packets.ErrSessionTakenOver {
		words = takenOver
	}
	return withReason(packets.Disconnect, []byte{code.Code}, words)
}

// takenOver explains to an MQTT 5 client why its session was ended.
const takenOver = "another machine has logged in as this node: if that was not intended, bind one of them again"

// Registry holds the live sessions, at most one per client id. The broker's own takeover loses
// subscriptions and leaves stale sessions when a client reconnects quickly; with the registry, a
// new session waits until the old one is gone entirely.
type Registry struct {
	server  *mqtt.Server
	grants  Grants
	ingress ingress.Port
	log     *slog.Logger
	counter atomic.Uint64

	mu      sync.RWMutex
	byConn  map[net.Conn]*session
	refused map[net.Conn]packets.Code // refused logins, until their connection has ended
	slots   map[string]*slot          // by client id
	closing bool
}

// slot serialises the sessions of one client id.
type slot struct {
	turn    sync.Mutex
	waiting int      // under Registry.mu
	current *session // under Registry.mu
}

func newRegistry(server *mqtt.Server, grants Grants, in ingress.Port, log *slog.Logger) *Registry {
	return &Registry{
		server: server, grants: grants, ingress: in, log: log,
		byConn: make(map[net.Conn]*session), refused: make(map[net.Conn]packets.Code), slots: make(map[string]*slot),
	}
}

func (r *Registry) add(cl *mqtt.Client, g store.Grant, instance string) {
	s := &session{
		Session: ingress.Session{
			ID: r.counter.Add(1), NodeID: g.NodeID, ConfigID: g.ConfigID,
			Generation: g.Generation, Remote: cl.Net.Remote, Instance: instance,
		},
		client:  cl,
		limiter: rate.NewLimiter(packetsPerSecond, packetBurst),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byConn[cl.Net.Conn] = s
}

func (r *Registry) session(cl *mqtt.Client) *session {
	if cl.Net.Inline {
		return nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byConn[cl.Net.Conn]
}

// refuse keeps the code for the CONNACK of a refused login.
func (r *Registry) refuse(cl *mqtt.Client, code packets.Code) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused[cl.Net.Conn] = code
}

func (r *Registry) refusal(cl *mqtt.Client) (packets.Code, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	code, ok := r.refused[cl.Net.Conn]
	return code, ok
}

// lock waits for the client id's turn. The returned function ends the turn.
func (r *Registry) lock(clientID string) (unlock func()) {
	r.mu.Lock()
	sl := r.slots[clientID]
	if sl == nil {
		sl = &slot{}
		r.slots[clientID] = sl
	}
	sl.waiting++
	r.mu.Unlock()
	sl.turn.Lock()
	return func() {
		sl.turn.Unlock()
		r.mu.Lock()
		defer r.mu.Unlock()
		sl.waiting--
		r.tidyLocked(clientID, sl)
	}
}

func (r *Registry) tidyLocked(clientID string, sl *slot) {
	if sl.waiting == 0 && sl.current == nil && r.slots[clientID] == sl {
		delete(r.slots, clientID)
	}
}

func (r *Registry) current(clientID string) *session {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if sl := r.slots[clientID]; sl != nil {
		return sl.current
	}
	return nil
}

// establish ends the old session of the client id, waits until it is gone, and makes the new one
// current if its grant is still valid: a reset may have come between its authentication and now. A
// client refused here has already received its CONNACK; the broker cannot write another.
func (r *Registry) establish(cl *mqtt.Client) {
	s := r.session(cl)
	if s == nil {
		cl.Stop(packets.ErrNotAuthorized)
		return
	}
	defer r.lock(cl.ID)()
	if code := r.establishLocked(s); code != packets.CodeSuccess {
		_ = r.server.SendConnack(cl, code, false, nil)
		cl.Stop(code)
	}
}

// establishLocked makes s current, or returns the reason why it may not be. The caller has the
// turn.
func (r *Registry) establishLocked(s *session) packets.Code {
	id := s.client.ID
	if old := r.current(id); old != nil && !old.client.Closed() {
		s.Replaced = &ingress.Replaced{Remote: old.Remote, Instance: old.Instance, Since: old.Since}
	}
	if !r.endCurrent(id, packets.ErrSessionTakenOver) {
		r.log.Error("the node's former session does not end; the new one is refused", "node_id", s.NodeID)
		return packets.ErrServerBusy
	}
	if !r.entitled(s) {
		return packets.ErrNotAuthorized
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return packets.ErrServerShuttingDown
	}
	s.Since = time.Now()
	r.slots[id].current = s
	return packets.CodeSuccess
}

// endCurrent ends the client id's session and waits until nothing of it is left. The caller has the
// turn.
func (r *Registry) endCurrent(clientID string, cause packets.Code) bool {
	old := r.current(clientID)
	if old == nil {
		return true
	}
	old.end(cause)
	conn, ok := old.client.Net.Conn.(Conn)
	if !ok {
		return true
	}
	timeout := time.NewTimer(endWait)
	defer timeout.Stop()
	select {
	case <-conn.Done():
		return true
	case <-timeout.C:
		return false
	}
}

// settleAtOnce is how many sessions are ended at the same time: each waits until its connection is gone.
const settleAtOnce = 16

// Settle ends those sessions of the nodes whose right has ended or was replaced, and returns when
// nothing of them is left, or after a bounded time.
func (r *Registry) Settle(nodeIDs []string) {
	var g errgroup.Group
	g.SetLimit(settleAtOnce)
	for _, id := range nodeIDs {
		g.Go(func() error {
			if !r.settle(id) {
				r.log.Error("a session that was ended still runs", "node_id", id)
			}
			return nil
		})
	}
	_ = g.Wait()
}

// settle reports whether nothing is left of a session that the node has lost the right to. No new one
// can begin with the former right: see establishLocked.
func (r *Registry) settle(nodeID string) bool {
	clientID := protocol.ClientID(nodeID)
	defer r.lock(clientID)()
	if s := r.current(clientID); s == nil || r.entitled(s) {
		return true
	}
	return r.endCurrent(clientID, packets.ErrAdministrativeAction)
}

// entitled reports whether the node still has the right that the session logged in with.
func (r *Registry) entitled(s *session) bool {
	grant, _ := r.grants.Grant(s.NodeID)
	return rights.Holds(grant, s.right())
}

// Ended cleans up after a connection, for every kind of end; the broker itself forgets part of it
// after a failed CONNACK or a panic. It must run after the broker's goroutine for the connection
// has returned and before [Conn.Done] is closed.
func (r *Registry) Ended(conn net.Conn) {
	r.mu.Lock()
	s := r.byConn[conn]
	delete(r.byConn, conn)
	delete(r.refused, conn)
	closing := r.closing
	if s != nil {
		if sl := r.slots[s.client.ID]; sl != nil && sl.current == s {
			sl.current = nil
			r.tidyLocked(s.client.ID, sl)
		}
	}
	r.mu.Unlock()
	if s == nil {
		return
	}
	s.client.ClearInflights()
	r.server.UnsubscribeClient(s.client)
	if known, ok := r.server.Clients.Get(s.client.ID); ok && known == s.client {
		r.server.Clients.Delete(s.client.ID)
	}
	if s.established.Load() && !closing {
		r.ingress.Disconnected(s.Session, endReason(s.client.StopCause()))
	}
}

// endReason describes why a session ended.
func endReason(cause error) string {
	var code packets.Code
	switch {
	case cause == nil, errors.Is(cause, packets.CodeDisconnect):
		return "disconnected by the client"
	case errors.As(cause, &code):
		return code.Reason
	case errors.Is(cause, os.ErrDeadlineExceeded):
		return "no message within the keep-alive time"
	case errors.Is(cause, io.EOF), errors.Is(cause, syscall.ECONNRESET):
		return "connection closed by the other side without DISCONNECT"
	}
	return "connection lost"
}

// Deliver calls publish if the node's session is subscribed to topic. It reports whether the
// session has accepted the message.
func (r *Registry) Deliver(topic protocol.Topic, publish func() error) (bool, error) {
	s := r.subscriber(topic)
	if s == nil {
		return false, nil
	}
	err := publish()
	return err == nil && !s.client.Closed(), err
}

// Connected reports whether the node has a live session, subscribed or not.
func (r *Registry) Connected(nodeID string) bool {
	return r.SessionID(nodeID) != 0
}

// SessionID returns the id of the node's established session, or 0.
func (r *Registry) SessionID(nodeID string) uint64 {
	if s := r.current(protocol.ClientID(nodeID)); s != nil && s.established.Load() && !s.client.Closed() {
		return s.ID
	}
	return 0
}

// Ready reports whether the node's session is subscribed to topic.
func (r *Registry) Ready(topic protocol.Topic) bool { return r.subscriber(topic) != nil }

// subscriber returns the live session that is subscribed to the topic, or nil.
func (r *Registry) subscriber(topic protocol.Topic) *session {
	s := r.current(protocol.ClientID(topic.NodeID))
	if s == nil || s.client.Closed() {
		return nil
	}
	if _, ok := s.client.State.Subscriptions.Get(topic.String()); !ok {
		return nil
	}
	return s
}

// Sessions returns the number of live sessions.
func (r *Registry) Sessions() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.byConn)
}

// Close records that the process stops: sessions that end from now on say nothing about their
// nodes.
func (r *Registry) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
}

func (r *Registry) isClosing() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.closing
}

func (r *Registry) uncountInflight() { atomic.AddInt64(&r.server.Info.Inflight, -1) }
