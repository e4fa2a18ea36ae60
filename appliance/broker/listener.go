package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/hooks"
	"wfm/internal/connlimit"
	"wfm/internal/floodlog"
)

// Limits bound the cost of strangers and clients. Zero values mean defaults.
type Limits struct {
	Connections    int           // at a time; default 20,000, or half the file descriptors
	Pending        int           // before CONNECT, at a time; default 1,024, or an eighth of them
	PendingAddress int           // before CONNECT, per address (IPv6: /64); default 128
	ConnectTimeout time.Duration // for a whole CONNECT, and for a TLS handshake before it; default 5 s
	ConnectSize    int           // remaining length of a CONNECT packet, bytes; default 16 KiB
	WriteTimeout   time.Duration // for one write to a client; default 5 s
}

func (l *Limits) setDefaults() {
	setDefault(&l.Connections, connlimit.Share(2, 20_000))
	setDefault(&l.Pending, connlimit.Share(8, 1024))
	setDefault(&l.PendingAddress, 128)
	setDefault(&l.ConnectTimeout, 5*time.Second)
	setDefault(&l.ConnectSize, 16<<10)
	setDefault(&l.WriteTimeout, 5*time.Second)
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// listener passes connections to the broker, which by itself has no limits before CONNECT, dies of
// a panic in any connection and stops accepting at the first error.
//
// It has a socket for plain connections, one for TLS, or both, with common limits.
type listener struct {
	id      string
	sockets []socket
	limits  Limits
	log     *slog.Logger
	ended   func(net.Conn) // cleans up after a connection, before its Done

	wg sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	conns   map[*conn]struct{}
	pending map[string][]*conn // connections before CONNECT, by address, oldest first
	waiting int                // sum of pending
	refused int                // since the last log line
	logged  time.Time

	told   *floodlog.Keyed // by address and reason
	newest Unserved        // under mu
}

// socket accepts connections; with tls, they begin with a handshake.
type socket struct {
	net.Listener
	tls *tls.Config
}

var _ listeners.Listener = (*listener)(nil)

func newListener(id string, sockets []socket, limits Limits, log *slog.Logger, ended func(net.Conn)) *listener {
	limits.setDefaults()
	return &listener{
		id: id, sockets: sockets, limits: limits, log: log, ended: ended,
		conns: make(map[*conn]struct{}), pending: make(map[string][]*conn), told: floodlog.NewKeyed(time.Hour),
	}
}

// ID, Address, Protocol and Init are required of a listener by the broker.
func (l *listener) ID() string              { return l.id }
func (l *listener) Address() string         { return l.sockets[0].Addr().String() }
func (l *listener) Protocol() string        { return l.sockets[0].Addr().Network() }
func (l *listener) Init(*slog.Logger) error { return nil }

// Serve accepts until the sockets are closed.
func (l *listener) Serve(establish listeners.EstablishFn) {
	var all sync.WaitGroup
	for _, s := range l.sockets {
		all.Go(func() { l.accept(s, establish) })
	}
	all.Wait()
}

// accept accepts until the socket is closed. After any other error, such as a lack of file
// descriptors, it waits and tries again.
func (l *listener) accept(s socket, establish listeners.EstablishFn) {
	const longest = time.Second
	delay := time.Duration(0)
	for {
		raw, err := s.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if delay == 0 {
				l.log.Error("cannot accept MQTT connections; trying again", "err", err)
			}
			delay = min(max(2*delay, 5*time.Millisecond), longest)
			time.Sleep(delay)
			continue
		}
		delay = 0
		raw = connlimit.BoundWrites(raw, l.limits.WriteTimeout)
		c := &conn{
			Conn: raw, raw: raw, writeTimeout: l.limits.WriteTimeout,
			done: make(chan struct{}), address: connlimit.Address(raw.RemoteAddr()),
		}
		if s.tls != nil {
			c.Conn = tls.Server(raw, s.tls)
		}
		c.slow = time.AfterFunc(l.limits.ConnectTimeout, c.abort)
		c.connected = sync.OnceFunc(func() {
			c.slow.Stop()
			l.uncountPending(c)
		})
		if !l.admit(c) {
			c.slow.Stop()
			c.abort()
			continue
		}
		go l.serve(c, establish)
	}
}

// admit counts the connection, unless that would exceed a limit.
func (l *listener) admit(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if len(l.conns) >= l.limits.Connections {
		l.refused++
		if time.Since(l.logged) > time.Minute {
			l.log.Warn("too many MQTT connections; some are refused", "refused", l.refused,
				"open", len(l.conns), "before_connect", l.waiting, "remote", c.address)
			l.refused, l.logged = 0, time.Now()
		}
		return false
	}
	// An honest CONNECT arrives within a round trip. So if too many are outstanding, the oldest is
	// closed: a client that holds sockets open does not keep others out.
	switch {
	case len(l.pending[c.address]) >= l.limits.PendingAddress:
		l.evictLocked(c.address)
	case l.waiting >= l.limits.Pending:
		l.evictLocked(l.fullestLocked())
	}
	l.conns[c] = struct{}{}
	l.pending[c.address] = append(l.pending[c.address], c)
	l.waiting++
	l.wg.Add(1)
	return true
}

// evictLocked closes the oldest unfinished connection of the address.
func (l *listener) evictLocked(address string) {
	oldest := l.pending[address][0]
	l.forgetPendingLocked(oldest)
	oldest.abort()
}

// fullestLocked returns the address with the most unfinished connections.
func (l *listener) fullestLocked() string {
	fullest := ""
	for address, conns := range l.pending {
		if len(conns) > len(l.pending[fullest]) {
			fullest = address
		}
	}
	return fullest
}

func (l *listener) uncountPending(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetPendingLocked(c)
}

func (l *listener) forgetPendingLocked(c *conn) {
	conns := l.pending[c.address]
	i := slices.Index(conns, c)
	if i < 0 {
		return // evicted before
	}
	l.waiting--
	if l.pending[c.address] = slices.Delete(conns, i, i+1); len(conns) == 1 {
		delete(l.pending, c.address)
	}
}

func (l *listener) serve(c *conn, establish listeners.EstablishFn) {
	defer l.wg.Done()
	defer close(c.done)
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.conns, c)
	}()
	defer l.guard(c, "clean up after", func() { l.ended(c) })
	defer func() { _ = c.Close() }()
	defer c.connected()

	err := handshake(c)
	if err != nil {
		l.tell(c, handshakeFault(c, err))
	} else {
		// A separate timer for the whole CONNECT instead of a deadline: with TLS, a deadline would
		// end reads, but not writes that a client can cause TLS to make.
		c.slow.Reset(l.limits.ConnectTimeout)
		l.guard(c, "read CONNECT of", func() { err = l.awaitConnect(c) })
	}
	if err == nil {
		l.guard(c, "serve", func() { err = establish(l.id, c) })
	}
	if err != nil {
		l.log.Debug("MQTT connection ended", "remote", c.address, "err", err)
	}
}

// handshake does TLS's handshake, if the connection has TLS.
func handshake(c *conn) error {
	if encrypted, ok := c.Conn.(*tls.Conn); ok {
		return encrypted.HandshakeContext(context.Background())
	}
	return nil
}

// guard confines a panic to the connection. The broker does not, and a SUBSCRIBE of seven bytes
// makes it panic.
func (l *listener) guard(c *conn, doing string, fn func()) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("internal error in an MQTT connection; it was closed", "doing", doing, "remote", c.address, "panic", fmt.Sprint(p))
		}
	}()
	fn()
}

// awaitConnect reads the whole first packet, so that a stranger cannot make the broker reserve more
// memory than a CONNECT needs, and checks it against the standard.
func (l *listener) awaitConnect(c *conn) error {
	header := make([]byte, 1, 5)
	if _, err := io.ReadFull(c.Conn, header); err != nil {
		return err
	}
	if header[0] != packets.Connect<<4 {
		return l.refuseOther(c, header[0])
	}
	length := 0
	for shift := 0; shift == 0 || header[len(header)-1]&0x80 != 0; shift += 7 {
		if len(header) == cap(header) {
			return l.refuse(c, &hooks.Refusal{Reason: "the length of CONNECT is malformed"})
		}
		header = header[:len(header)+1]
		if _, err := io.ReadFull(c.Conn, header[len(header)-1:]); err != nil {
			return err
		}
		length |= int(header[len(header)-1]&0x7f) << shift
	}
	if length > l.limits.ConnectSize {
		return l.refuse(c, hooks.TooLarge(glance(c, 7))) // name and level
	}
	packet := append(header, make([]byte, length)...)
	body := packet[len(header):]
	if _, err := io.ReadFull(c.Conn, body); err != nil {
		return err
	}
	level, refusal := hooks.CheckConnect(body)
	if refusal != nil {
		return l.refuse(c, refusal)
	}
	c.frames.level, c.prefix = level, packet
	return nil
}

// glance reads up to n bytes that are there or arrive at once.
func glance(c *conn, n int) []byte {
	_ = c.SetReadDeadline(time.Now().Add(glanceTime))
	p := make([]byte, n)
	n, _ = io.ReadFull(c.Conn, p)
	return p[:n]
}

// glanceTime is how long a glance waits.
const glanceTime = 200 * time.Millisecond

// refuse answers a first packet that is not passed to the broker.
func (l *listener) refuse(c *conn, r *hooks.Refusal) error {
	if len(r.Answer) > 0 {
		_, _ = c.Write(r.Answer)
	}
	l.tell(c, r.Reason)
	return r
}

// Close stops accepting and closes every connection at once: a client that does not read must not
// delay the others, as it would in the broker's closeClients.
func (l *listener) Close(listeners.CloseFn) {
	for _, s := range l.sockets {
		_ = s.Close()
	}
	l.mu.Lock()
	l.closed = true
	open := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		open = append(open, c)
	}
	l.mu.Unlock()
	for _, c := range open {
		l.wg.Go(func() { _ = c.Close() })
	}
	l.wg.Wait()
}
