package broker

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// conn is a client's connection as the broker gets it.
type conn struct {
	net.Conn              // with TLS, the encrypted one
	raw          net.Conn // what it runs over, or the same
	prefix       []byte   // read by the listener already, still to be read by the broker
	writeTimeout time.Duration
	done         chan struct{}
	address      string      // what limits count
	connected    func()      // ends the time before CONNECT, once
	slow         *time.Timer // closes the connection when that time is over, whatever TLS is at
	silent       atomic.Bool
	gone         atomic.Bool  // the other side has closed it, or cannot be reached
	writing      atomic.Int32 // writes under way
	refused      atomic.Pointer[packets.Code]
	farewell     atomic.Pointer[func() []byte]
	frames       frames // the reader's own
	closeOnce    sync.Once
	closeErr     error
}

func (c *conn) Read(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	n, err := c.Conn.Read(p)
	c.noteSilence(err)
	if err != nil && !c.silent.Load() {
		c.gone.Store(true)
	}
	if refused := c.frames.scan(p[:n]); refused != nil {
		return 0, c.refuse(refused)
	}
	return n, err
}

// refusedSize (bytes) and refusedTime bound what is read of a packet that is refused.
const (
	refusedSize = 1 << 20
	refusedTime = time.Second
)

// refuse ends the stream in the packet under way. It reads what is left of that packet: the system
// would answer it with a reset, which the farewell might not survive.
func (c *conn) refuse(cause error) error {
	if code, ok := cause.(packets.Code); ok { //nolint:errorlint // never wrapped
		c.refused.Store(&code)
	}
	_ = c.SetReadDeadline(time.Now().Add(refusedTime))
	_, _ = io.CopyN(io.Discard, c.Conn, int64(min(c.frames.left, refusedSize)))
	return cause
}

// Refused is part of hooks.Conn.
func (c *conn) Refused() (packets.Code, bool) {
	if code := c.refused.Load(); code != nil {
		return *code, true
	}
	return packets.Code{}, false
}

// Farewell is part of hooks.Conn.
func (c *conn) Farewell(compose func() []byte) { c.farewell.Store(&compose) }

// sayFarewell writes the last packet, unless nobody would read it.
func (c *conn) sayFarewell() {
	compose := c.farewell.Load()
	if compose == nil || c.gone.Load() {
		return
	}
	patience := goodbye
	if c.writing.Load() > 0 {
		patience = brief // it holds up ours, and may hang
	}
	if p := (*compose)(); p != nil {
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		_, _ = c.Conn.Write(p)
	}
}

// noteSilence remembers that the link gave no sign any more: a deadline of ours passed, or the
// system gave up sending.
func (c *conn) noteSilence(err error) {
	var timeout net.Error
	if (errors.As(err, &timeout) && timeout.Timeout()) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) {
		c.silent.Store(true)
	}
}

// Silent is part of hooks.Conn.
func (c *conn) Silent() bool { return c.silent.Load() }

// Write gives a client that does not read the write deadline and then up: after half a packet
// nothing sensible can follow.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.writeTimeout)); err != nil {
		return 0, err
	}
	c.writing.Add(1)
	n, err := c.Conn.Write(p)
	c.writing.Add(-1)
	c.noteSilence(err)
	if err == nil {
		_ = c.SetWriteDeadline(time.Time{}) // whoever closed it meanwhile has had this one
	}
	if err != nil {
		c.abort()
	}
	return n, err
}

// SetDeadline sets the read deadline only: the broker means the keep-alive by it, and would take
// away the write deadline. The broker does so first when it has read a whole CONNECT.
func (c *conn) SetDeadline(t time.Time) error {
	c.connected()
	return c.SetReadDeadline(t)
}

// goodbye is how long a farewell, and then TLS's own, may take: both fit the system's buffer, unless
// the client does not read.
const (
	goodbye = 250 * time.Millisecond
	brief   = 20 * time.Millisecond // while another write is under way
)

// Close closes the connection. The farewell goes first, and TLS says goodbye, unless a write hangs: also one that TLS makes
// while it is read from, to change keys, which it would wait for.
func (c *conn) Close() error {
	c.closeOnce.Do(func() {
		hangs := time.AfterFunc(goodbye, func() { _ = c.raw.Close() })
		defer hangs.Stop()
		c.sayFarewell()
		c.closeErr = c.Conn.Close()
	})
	return c.closeErr
}

// abort closes the connection without a word, and so at once. It ends a goodbye under way.
func (c *conn) abort() {
	err := c.raw.Close()
	c.closeOnce.Do(func() { c.closeErr = err })
}

// Done is closed when the broker has let go of the connection and the registry has cleaned up.
func (c *conn) Done() <-chan struct{} { return c.done }
