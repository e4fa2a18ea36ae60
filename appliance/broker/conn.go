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

// conn wraps a client's connection for the broker.
type conn struct {
	net.Conn              // with TLS, the encrypted one
	raw          net.Conn // beneath TLS, or the same
	prefix       []byte   // read by the listener, to be read again by the broker
	writeTimeout time.Duration
	done         chan struct{}
	address      string      // the key for limits
	connected    func()      // ends the time before CONNECT, once
	slow         *time.Timer // closes the connection after that time, even within TLS
	silent       atomic.Bool
	gone         atomic.Bool  // the other side has closed it, or cannot be reached
	writing      atomic.Int32 // writes in progress
	refused      atomic.Pointer[packets.Code]
	farewell     atomic.Pointer[func() []byte]
	frames       frames // used by the reader only
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

// refusedSize (bytes) and refusedTime bound how much of a refused packet is read.
const (
	refusedSize = 1 << 20
	refusedTime = time.Second
)

// refuse ends the stream within the current packet. It reads the rest of that packet: otherwise the
// system would answer it with a reset, which the farewell might not survive.
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

// sayFarewell writes the last packet, unless the other side would not read it.
func (c *conn) sayFarewell() {
	compose := c.farewell.Load()
	if compose == nil || c.gone.Load() {
		return
	}
	patience := goodbye
	if c.writing.Load() > 0 {
		patience = brief // the other write delays ours, and may hang
	}
	if p := (*compose)(); p != nil {
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		_, _ = c.Conn.Write(p)
	}
}

// noteSilence records that the link has gone silent: one of our deadlines passed, or the system
// gave up sending.
func (c *conn) noteSilence(err error) {
	var timeout net.Error
	if (errors.As(err, &timeout) && timeout.Timeout()) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) {
		c.silent.Store(true)
	}
}

// Silent is part of hooks.Conn.
func (c *conn) Silent() bool { return c.silent.Load() }

// Write ends the connection of a client that does not read within the write deadline: nothing
// sensible can follow half a packet.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.writeTimeout)); err != nil {
		return 0, err
	}
	c.writing.Add(1)
	n, err := c.Conn.Write(p)
	c.writing.Add(-1)
	c.noteSilence(err)
	if err == nil {
		_ = c.SetWriteDeadline(time.Time{}) // Close has set its own by now, if it was called
	}
	if err != nil {
		c.abort()
	}
	return n, err
}

// SetDeadline sets the read deadline only: the broker uses it for the keep-alive, and would clear
// the write deadline. The broker first calls it after it has read a whole CONNECT.
func (c *conn) SetDeadline(t time.Time) error {
	c.connected()
	return c.SetReadDeadline(t)
}

// goodbye bounds a farewell, and then TLS's own: both fit the system's buffer, unless the client
// does not read.
const (
	goodbye = 250 * time.Millisecond
	brief   = 20 * time.Millisecond // while another write is in progress
)

// Close sends the farewell and TLS's close notification, then closes the connection. If a write
// hangs, it sends neither. TLS also writes while it is read from, to change keys; Close would wait
// for that.
func (c *conn) Close() error {
	c.closeOnce.Do(func() {
		hangs := time.AfterFunc(goodbye, func() { _ = c.raw.Close() })
		defer hangs.Stop()
		c.sayFarewell()
		c.closeErr = c.Conn.Close()
	})
	return c.closeErr
}

// abort closes the connection at once, without a farewell. It ends a running goodbye.
func (c *conn) abort() {
	err := c.raw.Close()
	c.closeOnce.Do(func() { c.closeErr = err })
}

// Done is closed once the broker has released the connection and the registry has cleaned up.
func (c *conn) Done() <-chan struct{} { return c.done }
