package connlimit

import (
	"net"
	"sync"
	"time"
)

// BoundWrites wraps c so that every write has a deadline: the one that is set, or timeout after its
// beginning. TLS writes by itself whenever the other side asks for new keys, even from within a
// read, when no deadline is set: a client that does not read would block the reader for ever. After
// a failed write the connection is closed, because TLS does not report that error.
func BoundWrites(c net.Conn, timeout time.Duration) net.Conn {
	return &boundedConn{Conn: c, timeout: timeout}
}

type boundedConn struct {
	net.Conn
	timeout time.Duration

	mu  sync.Mutex
	set time.Time // zero: none
}

func (c *boundedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	deadline := c.set
	if deadline.IsZero() {
		deadline = time.Now().Add(c.timeout)
	}
	err := c.Conn.SetWriteDeadline(deadline)
	c.mu.Unlock()
	n := 0
	if err == nil {
		n, err = c.Conn.Write(p)
	}
	if err != nil {
		_ = c.Close()
	}
	return n, err
}

// SetWriteDeadline sets the deadline of writes, including one in progress. Removing the deadline
// does not affect a write in progress.
func (c *boundedConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set = t
	if t.IsZero() {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

func (c *boundedConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}
