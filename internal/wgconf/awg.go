package wgconf

import (
	"fmt"
	"math"
	"strings"
)

// awgKeys are what amneziawg-tools add, through all versions in use: 1.0 has the junk packets, two
// paddings and the headers; 1.5 the signature packets I1-I5, and for a while J1-J3 and Itime; 2.0
// ranges of headers and S3, S4; 3.0 and 3.1 the rest. Which of them a node's tool knows is for the
// node to say.
var awgKeys = []key{
	junkKey("Jc", nil),
	junkKey("Jmin", func(j *junkSizes) *uint32 { return &j.min }),
	junkKey("Jmax", func(j *junkSizes) *uint32 { return &j.max }),
	junkKey("S1", nil), junkKey("S2", nil), junkKey("S3", nil), junkKey("S4", nil),
	headerKey("H1"), headerKey("H2"), headerKey("H3"), headerKey("H4"),
	packetKey("I1"), packetKey("I2"), packetKey("I3"), packetKey("I4"), packetKey("I5"),
	packetKey("J1"), packetKey("J2"), packetKey("J3"),
	{name: "Itime", in: interfaceSection, awg: true, set: func(_ *parser, v string) error {
		_, err := number(v, 0, math.MaxUint32)
		return err
	}},

	{name: "HeaderProtectionKey", in: interfaceSection, awg: true, set: func(_ *parser, v string) error {
		_, err := decodeKey(v)
		return err
	}},
	rangeKey("ContentPaddingAddition"),
	rangeKey("RekeyAfterTime"), rangeKey("RekeyTimeout"), rangeKey("RejectAfterTime"),
	rangeKey("KeepaliveTimeout"), rangeKey("MaxHandshakeAttempts"),
	switchKey("RandomTrailers", interfaceSection), switchKey("DisableCookies", interfaceSection),
	switchKey("AdvancedSecurity", peerSection),
}

// junkSizes are the bounds of a junk packet's size in bytes.
type junkSizes struct {
	min, max uint32
	line     int // of the later one
}

// header is the range of one of H1-H4: the numbers that tell the kinds of packets apart.
type header struct {
	name     string
	from, to uint32
	line     int
}

func junkKey(name string, size func(*junkSizes) *uint32) key {
	return key{name: name, in: interfaceSection, awg: true, set: func(p *parser, v string) error {
		n, err := number(v, 0, 65535)
		if size != nil {
			*size(&p.junk) = n
			p.junk.line = p.line
		}
		return err
	}}
}

func headerKey(name string) key {
	return key{name: name, in: interfaceSection, awg: true, set: func(p *parser, v string) error {
		from, to, err := numbers(v, math.MaxUint32)
		p.headers = append(p.headers, header{name, from, to, p.line})
		return err
	}}
}

func rangeKey(name string) key {
	return key{name: name, in: interfaceSection, awg: true, set: func(_ *parser, v string) error {
		_, _, err := numbers(v, 65535)
		return err
	}}
}

func switchKey(name string, in section) key {
	return key{name: name, in: in, awg: true, set: func(_ *parser, v string) error {
		switch lower(v) {
		case "on", "off", "1", "0":
			return nil
		}
		return problem("%s is neither on nor off", quote(v))
	}}
}

// packetKey takes a packet's description: tags like <b 0xc0ff> and <r 16>, one after the other.
// Which tags there are differs between versions, and the node's tool says.
func packetKey(name string) key {
	const most = 5<<10 - 1 // bytes; amneziawg-tools take no more
	return key{name: name, in: interfaceSection, awg: true, set: func(_ *parser, v string) error {
		if len(v) > most {
			return problem("has %d bytes; %d are the most awg takes", len(v), most)
		}
		for rest := v; rest != ""; {
			tag, after, closed := strings.Cut(rest, ">")
			inner, opened := strings.CutPrefix(tag, "<")
			if !closed || !opened || !isName(inner, " ") {
				return problem("%s is no packet; write tags like <b 0xc0ff><r 16>", quote(v))
			}
			rest = strings.TrimLeft(after, " \t")
		}
		return nil
	}}
}

func (p *parser) checkJunk() *Error {
	if p.junk.max != 0 && p.junk.min > p.junk.max {
		return &Error{p.junk.line, fmt.Sprintf("Jmin and Jmax: %d is more than %d; Jmin is the smallest size, Jmax the largest", p.junk.min, p.junk.max)}
	}
	return nil
}

// checkHeaders refuses headers that overlap: the other side could not tell their packets apart.
func (p *parser) checkHeaders() *Error {
	for i, h := range p.headers {
		for _, other := range p.headers[:i] {
			if h.from <= other.to && other.from <= h.to {
				return &Error{h.line, fmt.Sprintf("%s: overlaps %s on line %d; each of H1 to H4 needs numbers of its own", h.name, other.name, other.line)}
			}
		}
	}
	return nil
}
