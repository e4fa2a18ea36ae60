package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/internal/mqtttest"
	"wfm/protocol"
)

// packet is a packet with its fixed header.
func packet(first byte, body []byte) []byte {
	p := binary.AppendUvarint([]byte{first}, uint64(len(body)))
	return append(p, body...)
}

// unsubscribe is an UNSUBSCRIBE of n filters of one byte.
func unsubscribe(level byte, n int) []byte {
	body := []byte{0, 9}
	if level == 5 {
		body = append(body, 0)
	}
	return packet(0xa2, append(body, bytes.Repeat([]byte{0, 1, 'x'}, n)...))
}

func subscribe(level byte, n int) []byte {
	body := []byte{0, 9}
	if level == 5 {
		body = append(body, 0)
	}
	return packet(0x82, append(body, bytes.Repeat([]byte{0, 1, 'x', 1}, n)...))
}

// userProperties is a length and that many empty user properties.
func userProperties(n int) []byte {
	return append(binary.AppendUvarint(nil, uint64(5*n)), bytes.Repeat([]byte{0x26, 0, 0, 0, 0}, n)...)
}

func TestCostlyPacketsAreRefusedBeforeTheyAreDecoded(t *testing.T) {
	topic := []byte("\x00\x03a/b")
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, tc := range map[string]struct {
		level byte
		sent  []byte
		want  error
	}{
		"a node's topics":             {5, subscribe(5, 4), nil},
		"as many filters as allowed":  {4, subscribe(4, maxFilters), nil},
		"one filter more":             {4, subscribe(4, maxFilters+1), errTooManyFilters},
		"one filter more, 5":          {5, subscribe(5, maxFilters+1), errTooManyFilters},
		"60,000 filters":              {5, subscribe(5, 60_000), errTooManyFilters},
		"unsubscribed":                {4, unsubscribe(4, maxFilters), nil},
		"one more unsubscribed":       {5, unsubscribe(5, maxFilters+1), errTooManyFilters},
		"long filters":                {4, packet(0x82, append([]byte{0, 1, 0x40, 0}, make([]byte, 0x4001)...)), errTooManyFilters},
		"properties of a SUBSCRIBE":   {5, packet(0x82, cat([]byte{0, 1}, userProperties(500), []byte{0, 1, 'x', 1})), errTooManyProperties},
		"few properties of SUBSCRIBE": {5, packet(0x82, cat([]byte{0, 1}, userProperties(5), []byte{0, 1, 'x', 1})), nil},
		"properties of a PUBLISH":     {5, packet(0x32, cat(topic, []byte{0, 1}, userProperties(50_000))), errTooManyProperties},
		"the same, QoS 0":             {5, packet(0x30, cat(topic, userProperties(50_000))), errTooManyProperties},
		"no properties in 3.1.1":      {4, packet(0x32, cat(topic, []byte{0, 1}, userProperties(50_000))), nil},
		"a large PUBLISH":             {5, packet(0x32, cat(topic, []byte{0, 1, 0}, make([]byte, 250<<10))), nil},
		"too large a PUBLISH":         {4, packet(0x32, cat(topic, make([]byte, 300<<10))), packets.ErrPacketTooLarge},
		"PUBACK with a novel":         {5, packet(0x40, cat([]byte{0, 1, 0}, userProperties(50_000))), errPacketTooLong},
		"DISCONNECT with a novel":     {5, packet(0xe0, cat([]byte{0}, userProperties(50_000))), errPacketTooLong},
		"AUTH with a novel":           {5, packet(0xf0, cat([]byte{0x18}, userProperties(50_000))), errPacketTooLong},
		"PINGREQ":                     {4, []byte{0xc0, 0}, nil},
		"PINGREQ with a body":         {4, []byte{0xc0, 1, 0}, packets.ErrMalformedPacket},
		"endless length":              {4, []byte{0x30, 0xff, 0xff, 0xff, 0xff}, packets.ErrMalformedVariableByteInteger},
		"fields beyond the packet":    {5, cat(packet(0x82, []byte{0, 1, 0, 0xff, 0xff}), []byte{0xc0, 0}), nil},
		"several":                     {5, cat([]byte{0xc0, 0}, subscribe(5, 4), packet(0x30, cat(topic, []byte{0, '{'})), unsubscribe(5, 99)), errTooManyFilters},
	} {
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{1, 2, 7, 256, len(tc.sent)} { // however the stream is cut
				f := frames{level: tc.level}
				var err error
				for chunk := range slices.Chunk(tc.sent, piece) {
					if err = f.scan(chunk); err != nil {
						break
					}
				}
				if !errors.Is(err, tc.want) {
					t.Errorf("in pieces of %d: %v, want %v", piece, err, tc.want)
				}
				if err == nil && f.step != stepHeader {
					t.Errorf("in pieces of %d: the packet has not ended: %+v", piece, f)
				}
			}
		})
	}
}

func FuzzFramesAreFollowedHoweverTheyAreCut(f *testing.F) {
	f.Add(byte(5), 3, append(subscribe(5, 4), unsubscribe(5, 40)...))
	f.Add(byte(4), 1, packet(0x32, []byte("\x00\x03a/b\x00\x01{}")))
	f.Fuzz(func(t *testing.T, level byte, piece int, stream []byte) {
		whole, cut := frames{level: level}, frames{level: level}
		want := whole.scan(stream)
		var got error
		for chunk := range slices.Chunk(stream, max(1, piece%300)) {
			if got = cut.scan(chunk); got != nil {
				break
			}
		}
		if !errors.Is(got, want) || (want == nil && whole != cut) {
			t.Errorf("%v %+v, want %v %+v", got, cut, want, whole)
		}
		if whole.left < 0 {
			t.Errorf("%d bytes left", whole.left)
		}
	})
}

// BenchmarkPubackBesideHostileNodes has four nodes send the costliest packets at their full rate, and
// measures the time from an honest PUBLISH to its PUBACK.
func BenchmarkPubackBesideHostileNodes(b *testing.B) {
	for name, hostile := range map[string][]byte{
		"nobody":      nil,
		"unsubscribe": unsubscribe(5, 60_000),
		"subscribe":   subscribe(5, 60_000),
		"properties":  packet(0x30, append([]byte("\x00\x03a/b"), userProperties(50_000)...)),
	} {
		b.Run(name, func(b *testing.B) {
			f := start(b, Limits{})
			honest := f.connect(b, f.a, 5)
			stop := make(chan struct{})
			var all sync.WaitGroup
			for i := range 4 {
				if hostile == nil {
					break
				}
				a := f.account(b, "node_h"+string(rune('0'+i)))
				all.Go(func() { attack(b, f, a, hostile, stop) })
			}
			var took []time.Duration
			for i := 0; b.Loop(); i++ {
				began := time.Now()
				honest.Publish(f.a.topic(protocol.KindHeartbeat), []byte("{}"), 1, uint16(i%60_000+1))
				honest.Expect(packets.Puback)
				took = append(took, time.Since(began))
				<-f.received
				<-time.After(20 * time.Millisecond) // below the node's own rate
			}
			close(stop)
			all.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// attack sends the packet 50 times a second, and comes back when it is thrown out.
func attack(b *testing.B, f *fixture, a account, p []byte, stop <-chan struct{}) {
	b.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c := mqtttest.Dial(b, f.Addr(), 5)
		c.SendConnect(a.login())
		for dead := false; !dead; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			_ = c.SetWriteDeadline(time.Now().Add(time.Second))
			_, err := c.Write(p)
			dead = err != nil
		}
		_ = c.Close()
	}
}
