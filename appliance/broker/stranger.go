package broker

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"wfm/hooks"
)

// Unserved is a client that was refused at its first packet.
type Unserved struct {
	At      time.Time
	Address string // IPv6: its /64
	Reason  string // for people
}

// tell logs why a client is not served, once an hour for each address and reason: the client tries
// again for ever, and many agents in the field log nothing themselves. Without a reason it logs
// nothing.
func (l *listener) tell(c *conn, reason string) {
	if reason == "" {
		return
	}
	now := time.Now()
	l.mu.Lock()
	l.newest = Unserved{At: now, Address: c.address, Reason: reason}
	l.mu.Unlock()
	if repeated, ok := l.told.Take(c.address+" "+reason, now); ok {
		l.log.Warn("an MQTT client cannot be served", "remote", c.address, "reason", reason, "repeated", repeated)
	}
}

// unserved returns the last client that could not be served, the zero value if there was none.
func (l *listener) unserved() Unserved {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest
}

// The languages of clients that do not speak MQTT, by their first bytes.
var languages = []struct{ beginning, name string }{
	{"GET ", "HTTP"},
	{"POST ", "HTTP"},
	{"PUT ", "HTTP"},
	{"HEAD ", "HTTP"},
	{"OPTIONS ", "HTTP"},
	{"CONNECT ", "HTTP"},
	{"DELETE ", "HTTP"},
	{"PATCH ", "HTTP"},
	{"PRI * HTTP", "HTTP"},
	{"\x16\x03", "TLS"},
	{"PROXY ", "PROXY"},
	{"\r\n\r\n\x00\r\nQUIT", "PROXY"},
	{"SSH-", "SSH"},
}

// language returns the name of the language that begins so, "" if it is unknown.
func language(beginning []byte) string {
	for _, l := range languages {
		if bytes.HasPrefix(beginning, []byte(l.beginning)[:min(len(l.beginning), len(beginning))]) {
			return l.name
		}
	}
	return ""
}

// refuseOther ends a connection whose first byte is not that of a CONNECT [MQTT-3.1.0-1].
func (l *listener) refuseOther(c *conn, first byte) error {
	r := &hooks.Refusal{}
	switch language(append([]byte{first}, glance(c, 11)...)) {
	case "HTTP":
		r.Reason = "the client speaks HTTP on the MQTT port: give it the address of the API"
		r.Answer = wrongPort
	case "TLS":
		r.Reason = "the client speaks TLS on the MQTT port without TLS: give it the port with TLS, or turn TLS off there"
	case "PROXY":
		r.Reason = "a proxy sends the PROXY protocol, which is not supported: turn it off there"
	default:
		r.Reason = "the first packet is not an MQTT CONNECT"
	}
	return l.refuse(c, r)
}

// wrongPort is the answer for agents whose server address has the MQTT port. They show
// error.message.
var wrongPort = func() []byte {
	const body = `{"success":false,"data":null,"error":{"code":"MQTT_PORT",` +
		`"message":"This is the MQTT port. Use the address of the page and the API as server.","detail":null}}` + "\n"
	return fmt.Appendf(nil, "HTTP/1.1 421 Misdirected Request\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}()

// handshakeFault says, for people, why a TLS handshake failed; "" if that is not worth a line, as
// after a check whether the port is open.
func handshakeFault(c *conn, err error) string {
	if header, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return notTLS(header.RecordHeader[:])
	}
	said := err.Error()
	for _, a := range alerts {
		if strings.Contains(said, a.part) {
			return a.words
		}
	}
	encrypted, _ := c.Conn.(*tls.Conn)
	if begun := encrypted != nil && encrypted.ConnectionState().Version != 0; errors.Is(err, net.ErrClosed) || (!begun && errors.Is(err, io.EOF)) {
		return ""
	} else if begun && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
		return "the client ended the TLS handshake: it may not trust the server's certificate"
	}
	return "the TLS handshake failed: " + strings.TrimPrefix(said, "tls: ")
}

// notTLS describes a client that does not begin with TLS.
func notTLS(beginning []byte) string {
	switch name := language(beginning); {
	case beginning[0] == 0x10:
		return "the client speaks MQTT without TLS on the port with TLS: turn TLS on there, or give it the port without"
	case name == "HTTP":
		return "the client speaks HTTP on the MQTT port with TLS: give it the address of the API"
	case name == "PROXY":
		return "a proxy sends the PROXY protocol, which is not supported: turn it off there"
	}
	return "the client does not speak TLS on the port with TLS"
}

// alerts are parts of TLS errors, with their meaning for people.
var alerts = []struct{ part, words string }{
	{"remote error: tls: bad certificate", "the client does not trust the server's certificate (bad certificate): bind it again, or give it our " +
		"certificate authority"},
	{
		"remote error: tls: unknown certificate authority",
		"the client does not trust the server's certificate (unknown authority): bind it again, or give it our certificate authority",
	},
	{"remote error: tls: unknown certificate", "the client does not trust the server's certificate: bind it again, or give it our certificate authority"},
	{"remote error: tls: expired certificate", "the server's certificate has expired for the client: compare its clock with the server's"},
	{"remote error: tls: unsupported certificate", "the client does not accept this kind of certificate"},
	{"remote error: tls: protocol version not supported", "client and server have no version of TLS in common: the server needs 1.2 or newer"},
	{"remote error: tls: handshake failure", "client and server have no version or cipher of TLS in common"},
	{"client offered only unsupported versions", "client and server have no version of TLS in common: the server needs 1.2 or newer"},
	{"no cipher suite supported by both client and server", "client and server have no cipher of TLS in common"},
}
