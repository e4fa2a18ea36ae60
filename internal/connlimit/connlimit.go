package connlimit

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// strayTimeout is for writes outside of an answer, for which the server sets no deadline: they fit
// the system's buffer, unless the client does not read.
const strayTimeout = time.Second

// Listener is a listener with limits. The writes of its connections are bounded as by [BoundWrites].
type Listener struct {
	net.Listener
	total, perAddress int

	mu        sync.Mutex
	open      int
	addresses map[string]int
}

// New wraps l: at most total connections at a time, and perAddress of one address.
func New(l net.Listener, total, perAddress int) *Listener {
	return &Listener{Listener: l, total: total, perAddress: perAddress, addresses: make(map[string]int)}
}

// Share is the part (one in parts) of the file descriptors this process may have, at most most and
// at least 16. So limits hold also where the system allows few.
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
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		address := Address(c.RemoteAddr())
		if l.admit(address) {
			return &conn{Conn: BoundWrites(c, strayTimeout), done: sync.OnceFunc(func() { l.release(address) })}, nil
		}
		_ = c.Close()
	}
}

func (l *Listener) admit(address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.total || l.addresses[address] >= l.perAddress {
		return false
	}
	l.open++
	l.addresses[address]++
	return true
}

func (l *Listener) release(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.addresses[address]--; l.addresses[address] == 0 {
		delete(l.addresses, address)
	}
}

type conn struct {
	net.Conn
	done func()
}

func (c *conn) Close() error {
	c.done()
	return c.Conn.Close()
}

// Address is what a connection counts for: its IPv4 address, or the /64 of its IPv6 address, of
// which one host usually has them all.
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
