package tlstest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

// Types of records (RFC 8446, 5.1).
const (
	handshakeRecord   = 22
	applicationRecord = 23
)

// Client is one connection after the handshake.
type Client struct {
	*tls.Conn
	raw     net.Conn
	tb      testing.TB
	secret  []byte
	newAEAD func(key []byte) (cipher.AEAD, error)
	keySize int
	seq     uint64
}

// Over makes a TLS handshake over raw, and closes the connection when the test ends.
func Over(tb testing.TB, raw net.Conn, cfg *tls.Config) *Client {
	tb.Helper()
	tb.Cleanup(func() { _ = raw.Close() })
	var log bytes.Buffer
	cfg = cfg.Clone()
	cfg.MinVersion, cfg.KeyLogWriter = tls.VersionTLS13, &log
	c := &Client{Conn: tls.Client(raw, cfg), raw: raw, tb: tb}
	if err := c.HandshakeContext(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	switch suite := c.ConnectionState().CipherSuite; suite {
	case tls.TLS_AES_128_GCM_SHA256:
		c.keySize, c.newAEAD = 16, func(key []byte) (cipher.AEAD, error) {
			block, err := aes.NewCipher(key)
			if err != nil {
				return nil, err
			}
			return cipher.NewGCM(block)
		}
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		c.keySize, c.newAEAD = chacha20poly1305.KeySize, chacha20poly1305.New
	default:
		tb.Fatalf("cannot speak %s", tls.CipherSuiteName(suite))
	}
	for line := range strings.Lines(log.String()) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "CLIENT_TRAFFIC_SECRET_0" {
			c.secret, _ = hex.DecodeString(words[2])
		}
	}
	return c
}

// Write sends p, at most 16 KiB.
func (c *Client) Write(p []byte) (int, error) { return len(p), c.send(applicationRecord, p) }

// AskForNewKeys sends a KeyUpdate that the server must answer with one of its own.
func (c *Client) AskForNewKeys() error {
	if err := c.send(handshakeRecord, []byte{24, 0, 0, 1, 1}); err != nil {
		return err
	}
	c.secret, c.seq = c.derive("traffic upd", sha256.Size), 0
	return nil
}

// Close closes the underlying connection without an alert.
func (c *Client) Close() error { return c.raw.Close() }

func (c *Client) send(kind byte, p []byte) error {
	c.tb.Helper()
	aead, err := c.newAEAD(c.derive("key", c.keySize))
	if err != nil {
		c.tb.Fatal(err)
	}
	nonce := c.derive("iv", aead.NonceSize())
	var seq [8]byte
	binary.BigEndian.PutUint64(seq[:], c.seq)
	for i, b := range seq {
		nonce[len(nonce)-len(seq)+i] ^= b
	}
	c.seq++
	inner := append(bytes.Clone(p), kind)
	header := binary.BigEndian.AppendUint16([]byte{applicationRecord, 3, 3}, uint16(len(inner)+aead.Overhead())) //nolint:gosec // at most 16 KiB
	_, err = c.raw.Write(aead.Seal(header, nonce, inner, header))
	return err
}

// derive computes HKDF-Expand-Label (RFC 8446, 7.1).
func (c *Client) derive(label string, size int) []byte {
	c.tb.Helper()
	label = "tls13 " + label
	info := append([]byte{0, byte(size), byte(len(label))}, label...) //nolint:gosec // small
	out, err := hkdf.Expand(sha256.New, c.secret, string(append(info, 0)), size)
	if err != nil {
		c.tb.Fatal(err)
	}
	return out
}

// Pipes is a listener without a network. A write on one side of a connection waits until the other
// side reads: a client that does not read is noticed at once.
type Pipes struct {
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

// Listen returns a listener that is closed when the test ends.
func Listen(tb testing.TB) *Pipes {
	tb.Helper()
	p := &Pipes{incoming: make(chan net.Conn), closed: make(chan struct{})}
	tb.Cleanup(func() { _ = p.Close() })
	return p
}

// Accept waits for Dial.
func (p *Pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.incoming:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept; it may be called again.
func (p *Pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr returns an empty address.
func (p *Pipes) Addr() net.Addr { return &net.TCPAddr{} }

// Dial returns the client's side of a new connection.
func (p *Pipes) Dial() net.Conn {
	near, far := net.Pipe()
	select {
	case p.incoming <- far:
	case <-p.closed:
		_ = near.Close()
	}
	return near
}
