package connlimit

import (
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"
)

// strayTimeout is the limit of writes outside an answer, for which the server sets no deadline.
// They fit the system's buffer, unless the client does not read.
const strayTimeout = time.Second

// Listener is a listener with limits. The writes of its connections are limited as by
// [BoundWrites].
type Listener struct {
	net.Listener
	// Exempt reports whether an address has no limit of its own, like that of a proxy that speaks
	// for many clients. It may be nil, and must be set before the first Accept.
	Exempt            func(net.Addr) bool
	total, perAddress int

	mu        sync.Mutex
	open      int
	addresses map[string]*address
}

// address holds the open connections of one address.
type address struct {
	open    int
	waiting []*conn // idle connections, the longest idle first
}

// New wraps l. It allows at most total connections at a time, and perAddress from one address. One
// more connection replaces the connection that has waited longest, if any waits; see [State].
func New(l net.Listener, total, perAddress int) *Listener {
	return &Listener{Listener: l, total: total, perAddress: perAddress, addresses: make(map[string]*address)}
}

// Share returns one part in parts of the file descriptors that this process may have, at least 16
// and at most most. So limits also hold on systems that allow few.
func Share(parts, most int) int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return most
	}
	return max(16, int(min(limit.Cur/uint64(parts), uint64(most)))) //nolint:gosec // both are small and positive
}

// Accept returns the next connection that is within the limits.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: BoundWrites(raw, strayTimeout), listener: l, address: Address(raw.RemoteAddr())}
		evicted, ok := l.admit(c)
		if evicted != nil {
			_ = evicted.Conn.Close()
		}
		if ok {
			return c, nil
		}
		_ = raw.Close()
	}
}

// admit counts the connection. A connection evicted for it is not counted any more.
func (l *Listener) admit(c *conn) (evicted *conn, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var crowded *address
	switch from := l.addresses[c.address]; {
	case from != nil && from.open >= l.perAddress && (l.Exempt == nil || !l.Exempt(c.RemoteAddr())):
		crowded = from
	case l.open >= l.total:
		crowded = l.mostWaitingLocked()
	}
	if crowded != nil {
		if len(crowded.waiting) == 0 {
			return nil, false
		}
		evicted = crowded.waiting[0]
		l.forgetLocked(evicted)
	}
	if l.addresses[c.address] == nil {
		l.addresses[c.address] = &address{}
	}
	l.open++
	l.addresses[c.address].open++
	l.waitLocked(c)
	return evicted, true
}

// mostWaitingLocked returns the address with the most waiting connections: an address that holds
// many cannot keep others out. There is one, since at least one connection is open.
func (l *Listener) mostWaitingLocked() (most *address) {
	for _, a := range l.addresses {
		if most == nil || len(a.waiting) > len(most.waiting) {
			most = a
		}
	}
	return most
}

func (l *Listener) waitLocked(c *conn) {
	if !c.forgotten {
		a := l.addresses[c.address]
		a.waiting = append(a.waiting, c)
	}
}

func (l *Listener) workLocked(c *conn) {
	if !c.forgotten {
		a := l.addresses[c.address]
		a.waiting = slices.DeleteFunc(a.waiting, func(other *conn) bool { return other == c })
	}
}

func (l *Listener) forgetLocked(c *conn) {
	if c.forgotten {
		return
	}
	l.workLocked(c)
	c.forgotten = true
	l.open--
	a := l.addresses[c.address]
	if a.open--; a.open == 0 {
		delete(l.addresses, c.address)
	}
}

// State is for [http.Server.ConnState]. A connection waits before its first request (including the
// handshake and a request's header) and between requests.
func State(c net.Conn, state http.ConnState) {
	if encrypted, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = encrypted.NetConn()
	}
	ours, ok := c.(*conn)
	if !ok {
		return
	}
	ours.listener.mu.Lock()
	defer ours.listener.mu.Unlock()
	switch state { //nolint:exhaustive // new ones wait already, closed ones are counted out by Close
	case http.StateActive, http.StateHijacked:
		ours.listener.workLocked(ours)
	case http.StateIdle:
		ours.listener.waitLocked(ours)
	}
}

type conn struct {
	net.Conn
	listener  *Listener
	address   string
	forgotten bool // not counted any more; under the listener's mu
}

func (c *conn) Close() error {
	c.listener.mu.Lock()
	c.listener.forgetLocked(c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// Address returns the address that a connection counts for: its IPv4 address, or the /64 of its
// IPv6 address, since one host usually has all addresses of a /64.
func Address(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	ip := net.ParseIP(host)
	if ip == nil || ip.To4() != nil {
		return host
	}
	return ip.Mask(net.CIDRMask(64, 128)).String()
}
