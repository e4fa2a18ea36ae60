package broker

import (
	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/hooks"
)

const (
	// maxFilters is the most topic filters in one SUBSCRIBE or UNSUBSCRIBE. A node has four topics.
	maxFilters = 32
	// maxFilterPacket bounds a SUBSCRIBE or UNSUBSCRIBE in bytes, and so the length of filters.
	maxFilterPacket = 8 << 10
	// maxSmallPacket bounds every other packet but CONNECT and PUBLISH, in bytes.
	maxSmallPacket = 2 << 10
	// maxProperties bounds the properties of MQTT 5 in one packet, in bytes.
	maxProperties = 2 << 10
)

// The cost of a packet of a logged-in client is bounded before the broker decodes it: its decoder
// takes some 400 ns for each filter and property, and 256 KiB hold tens of thousands of them.
var (
	errTooManyFilters    = packets.Code{Code: packets.ErrQuotaExceeded.Code, Reason: "too many topic filters in one packet"}
	errTooManyProperties = packets.Code{Code: packets.ErrQuotaExceeded.Code, Reason: "too many properties in one packet"}
	errPacketTooLong     = packets.Code{Code: packets.ErrQuotaExceeded.Code, Reason: "packet is too long for its type"}
)

// frames follows the packets in a stream, however they are cut, and keeps none of their content.
type frames struct {
	level byte // the protocol level

	kind    byte // type of the packet
	qos     byte
	left    int  // bytes left of it
	filters int  // so far
	step    step // the next one
	after   step // the step after skip
	skip    int
	number  int // being read
	bytes   int // of number
}

type step byte

const (
	stepHeader     step = iota // the first byte of a packet
	stepLength                 // its remaining length
	stepSkip                   // skip bytes, then after
	stepTopic                  // the length of a topic name
	stepFilter                 // the length of a topic filter
	stepProperties             // the length of the properties
	stepRest                   // nothing more to check
)

// scan checks the next bytes. An error, always a packets.Code, is the reason why the stream ends
// within the current packet; left bytes of it are still to come.
func (f *frames) scan(p []byte) error {
	rest, err := f.advance(p)
	if err != nil {
		f.left = max(0, f.left-len(rest))
	}
	return err
}

// advance is scan, and returns the rest of p after an error.
func (f *frames) advance(p []byte) (rest []byte, err error) {
	for len(p) > 0 {
		switch f.step {
		case stepHeader:
			f.kind, f.qos = p[0]>>4, p[0]>>1&3
			f.next(stepLength)
			p = p[1:]
		case stepLength:
			err := f.length(p[0])
			p = p[1:]
			if err != nil {
				return p, err
			}
		case stepSkip, stepRest:
			n := min(len(p), f.left)
			if f.step == stepSkip {
				n = min(n, f.skip)
			}
			p = p[n:]
			f.skip -= n
			f.consumed(n)
			if f.step == stepSkip && f.skip == 0 {
				f.next(f.after)
			}
		case stepTopic, stepFilter, stepProperties:
			b := p[0]
			p = p[1:]
			if err := f.field(b); err != nil {
				f.left--
				return p, err
			}
			f.consumed(1)
		}
	}
	return nil, nil
}

// next makes s the current step.
func (f *frames) next(s step) { f.step, f.number, f.bytes = s, 0, 0 }

// skipThen skips n bytes before s.
func (f *frames) skipThen(n int, s step) {
	if n == 0 {
		f.next(s)
		return
	}
	f.next(stepSkip)
	f.skip, f.after = n, s
}

// consumed counts bytes of the packet. The last one ends it, even within a field: the broker
// detects fields that reach beyond the packet.
func (f *frames) consumed(n int) {
	if f.left -= n; f.left <= 0 {
		f.next(stepHeader)
	}
}

// varint reads one byte of a variable byte integer.
func (f *frames) varint(b byte) (done bool, err error) {
	f.number |= int(b&0x7f) << (7 * f.bytes)
	f.bytes++
	switch {
	case b&0x80 == 0:
		return true, nil
	case f.bytes == 4:
		return false, packets.ErrMalformedVariableByteInteger
	}
	return false, nil
}

// length reads one byte of the remaining length, and checks the packet by it.
func (f *frames) length(b byte) error {
	done, err := f.varint(b)
	if err != nil || !done {
		return err
	}
	f.left, f.filters = f.number, 0
	switch f.kind {
	case packets.Subscribe, packets.Unsubscribe:
		if f.left > maxFilterPacket {
			return errTooManyFilters
		}
		f.skipThen(2, stepFilter)
		if f.level == 5 {
			f.after = stepProperties
		}
	case packets.Publish:
		if f.left > hooks.MaxPacketSize {
			return packets.ErrPacketTooLarge
		}
		f.next(stepRest)
		if f.level == 5 {
			f.next(stepTopic)
		}
	case packets.Pingreq:
		if f.left != 0 {
			return packets.ErrMalformedPacket // MQTT 5, 3.12.1
		}
	default:
		if f.left > maxSmallPacket {
			return errPacketTooLong
		}
		f.next(stepRest)
	}
	f.consumed(0)
	return nil
}

// field reads one byte of a number in the packet.
func (f *frames) field(b byte) error {
	if f.step == stepProperties {
		done, err := f.varint(b)
		switch {
		case err != nil:
			return err
		case done && f.number > maxProperties:
			return errTooManyProperties
		case done && f.kind == packets.Publish:
			f.next(stepRest)
		case done:
			f.skipThen(f.number, stepFilter)
		}
		return nil
	}
	f.number = f.number<<8 | int(b)
	if f.bytes++; f.bytes < 2 {
		return nil
	}
	if f.step == stepTopic {
		if f.qos > 0 {
			f.number += 2 // the packet id
		}
		f.skipThen(f.number, stepProperties)
		return nil
	}
	if f.filters++; f.filters > maxFilters {
		return errTooManyFilters
	}
	if f.kind == packets.Subscribe {
		f.number++ // the options
	}
	f.skipThen(f.number, stepFilter)
	return nil
}
