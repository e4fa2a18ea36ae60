package emqxtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Sender is a node that publishes as an agent does: refused or unacknowledged messages are sent
// again, over a new connection if the old one is lost.
type Sender struct {
	Addr, ClientID, Username, Password string
	Topic                              string
	// Pause is the time before it tries again.
	Pause time.Duration
	// Linger is called once every payload is acknowledged; the connection stays open until it returns.
	Linger func()
	// Retries counts repeated messages, Reconnects the connections after the first.
	Retries, Reconnects int
}

// Send publishes the payloads with QoS 1 and returns once all are acknowledged, or ctx ends. At
// most 32,000 at once.
func (s *Sender) Send(ctx context.Context, payloads [][]byte) error {
	open := make(map[uint16][]byte, len(payloads))
	for i, p := range payloads {
		open[uint16(i+1)] = p
	}
	var last error
	for first := true; len(open) > 0; first = false {
		if !first {
			s.Reconnects++
			select {
			case <-time.After(s.Pause):
			case <-ctx.Done():
				return fmt.Errorf("%d messages of %s are not acknowledged: %w", len(open), s.ClientID, errors.Join(ctx.Err(), last))
			}
		}
		last = s.connection(ctx, open)
	}
	return nil
}

// connection sends the open payloads over one connection, again and again, until none is left or it
// ends.
func (s *Sender) connection(ctx context.Context, open map[uint16][]byte) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	r := bufio.NewReader(c)
	var out bytes.Buffer
	connect := packets.Packet{
		ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Connect},
		Connect: packets.ConnectParams{
			ProtocolName: []byte("MQTT"), ClientIdentifier: s.ClientID, Keepalive: 0, Clean: true,
			UsernameFlag: true, Username: []byte(s.Username), PasswordFlag: true, Password: []byte(s.Password),
		},
	}
	if err := connect.ConnectEncode(&out); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if _, err := c.Write(out.Bytes()); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if kind, body, err := read(r); err != nil || kind != packets.Connack || len(body) < 2 || body[1] != 0 {
		return fmt.Errorf("login refused: %x %w", body, err)
	}
	for round := 0; len(open) > 0; round++ {
		if round > 0 {
			s.Retries += len(open)
			select {
			case <-time.After(s.Pause):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := s.round(c, r, open); err != nil {
			return err
		}
	}
	if s.Linger != nil {
		s.Linger()
	}
	return nil
}

// round sends the open payloads and removes the acknowledged ones.
func (s *Sender) round(c net.Conn, r *bufio.Reader, open map[uint16][]byte) error {
	var out bytes.Buffer
	for _, id := range slices.Sorted(maps.Keys(open)) {
		pk := packets.Packet{
			ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, TopicName: s.Topic, PacketID: id, Payload: open[id],
		}
		if err := pk.PublishEncode(&out); err != nil {
			return fmt.Errorf("encode: %w", err)
		}
	}
	if _, err := c.Write(out.Bytes()); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	for range len(open) { // evaluated once
		kind, body, err := read(r)
		if err != nil || kind != packets.Puback || len(body) < 2 {
			return fmt.Errorf("no PUBACK but %d: %w", kind, err)
		}
		if len(body) < 3 || body[2] < 0x80 {
			delete(open, binary.BigEndian.Uint16(body))
		}
	}
	return nil
}

// read reads one packet.
func read(r *bufio.Reader) (kind byte, body []byte, err error) {
	first, err := r.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	size, err := binary.ReadUvarint(r) // the same form as MQTT's
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, min(size, 1<<20))
	_, err = io.ReadFull(r, body)
	return first >> 4, body, err
}
