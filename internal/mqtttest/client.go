package mqtttest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// patience is the limit of every read of a test. Reaching it fails the test: it only ends one that
// hangs.
const patience = time.Minute

// Client is one connection.
type Client struct {
	net.Conn
	Version byte // 3 (MQTT 3.1), 4 (3.1.1) or 5
	tb      testing.TB
	r       *bufio.Reader
}

// Dial connects to addr without sending anything. The connection is closed when the test ends.
func Dial(tb testing.TB, addr net.Addr, version byte) *Client {
	tb.Helper()
	c, err := (&net.Dialer{Timeout: patience}).DialContext(tb.Context(), addr.Network(), addr.String())
	if err != nil {
		tb.Fatalf("dial %s: %v", addr, err)
	}
	return Over(tb, c, version)
}

// Over speaks MQTT over an existing connection, and closes it when the test ends.
func Over(tb testing.TB, c net.Conn, version byte) *Client {
	tb.Helper()
	tb.Cleanup(func() { _ = c.Close() })
	return &Client{Conn: c, Version: version, tb: tb, r: bufio.NewReader(c)}
}

// Login holds the contents of a CONNECT.
type Login struct {
	ClientID, Username, Password string
	Keepalive                    uint16
	NotClean                     bool
	WillTopic                    string // no will if empty
	WillPayload                  []byte
	WillQos                      byte
	WillRetain                   bool
	WillDelay                    uint32 // seconds
	Properties                   packets.Properties
}

// Connect sends CONNECT and returns the CONNACK.
func (c *Client) Connect(l Login) packets.Packet {
	c.tb.Helper()
	c.SendConnect(l)
	return c.Expect(packets.Connack)
}

// SendConnect sends CONNECT and does not wait for the answer.
func (c *Client) SendConnect(l Login) {
	c.tb.Helper()
	protocolName := "MQTT"
	if c.Version == 3 {
		protocolName = "MQIsdp"
	}
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Connect},
		Properties:  l.Properties,
		Connect: packets.ConnectParams{
			ProtocolName: []byte(protocolName), ClientIdentifier: l.ClientID, Keepalive: l.Keepalive, Clean: !l.NotClean,
			UsernameFlag: l.Username != "", Username: []byte(l.Username),
			PasswordFlag: l.Password != "", Password: []byte(l.Password),
		},
	}
	if l.WillTopic != "" {
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, l.WillTopic, l.WillPayload
		pk.Connect.WillQos, pk.Connect.WillRetain = l.WillQos, l.WillRetain
		pk.Connect.WillProperties.WillDelayInterval = l.WillDelay
	}
	c.Send(pk)
}

// Publish sends a PUBLISH.
func (c *Client) Publish(topic string, payload []byte, qos byte, id uint16) {
	c.tb.Helper()
	c.Send(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos}, TopicName: topic, Payload: payload, PacketID: id,
	})
}

// Subscribe sends a SUBSCRIBE for QoS 1 and returns the reason codes of its SUBACK.
func (c *Client) Subscribe(id uint16, filters ...string) []byte {
	c.tb.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: id}
	for _, f := range filters {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: f, Qos: 1})
	}
	c.Send(pk)
	return c.Expect(packets.Suback).ReasonCodes
}

// Ping sends PINGREQ and waits for the PINGRESP. Every earlier packet has been handled then.
func (c *Client) Ping() {
	c.tb.Helper()
	c.Send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	c.Expect(packets.Pingresp)
}

// Disconnect sends DISCONNECT.
func (c *Client) Disconnect() {
	c.tb.Helper()
	c.Send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
}

// Send encodes and writes the packet.
func (c *Client) Send(pk packets.Packet) {
	c.tb.Helper()
	pk.ProtocolVersion = c.Version
	var b bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&b)
	case packets.Publish:
		err = pk.PublishEncode(&b)
	case packets.Puback:
		err = pk.PubackEncode(&b)
	case packets.Subscribe:
		err = pk.SubscribeEncode(&b)
	case packets.Pingreq:
		err = pk.PingreqEncode(&b)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&b)
	default:
		c.tb.Fatalf("packet type %d is not supported", pk.FixedHeader.Type)
	}
	if err != nil {
		c.tb.Fatalf("encode: %v", err)
	}
	c.SendRaw(b.Bytes())
}

// SendRaw writes bytes. It is not an error if the other side has already closed: tests check the
// packets they read.
func (c *Client) SendRaw(b []byte) {
	c.tb.Helper()
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.Write(b); errors.Is(err, os.ErrDeadlineExceeded) {
		c.tb.Fatal("the broker does not read")
	}
}

// Next reads one packet.
func (c *Client) Next() (packets.Packet, error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var pk packets.Packet
	first, err := c.r.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	n, _, err := packets.DecodeLength(c.r)
	if err != nil {
		return pk, err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return pk, err
	}
	pk.ProtocolVersion, pk.FixedHeader.Remaining = c.Version, n
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Suback:
		err = pk.SubackDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	}
	return pk, err
}

// Expect reads until a packet of the type arrives. It fails the test if none does.
func (c *Client) Expect(kind byte) packets.Packet {
	c.tb.Helper()
	for {
		pk, err := c.Next()
		if err != nil {
			c.tb.Fatalf("waiting for packet type %d: %v", kind, err)
		}
		if pk.FixedHeader.Type == kind {
			return pk
		}
	}
}

// Rest reads until the other side closes, and returns the packets up to then.
func (c *Client) Rest() []packets.Packet {
	c.tb.Helper()
	var all []packets.Packet
	for {
		pk, err := c.Next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.tb.Fatal("the connection was not closed")
		}
		if err != nil {
			return all
		}
		all = append(all, pk)
	}
}
