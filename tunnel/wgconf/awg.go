package wgconf

import "math"

// awgKeys are the keys that amneziawg-tools add, in all versions in use. 1.0 has the junk packets,
// two paddings and the headers; 1.5 the signature packets I1-I5, and for a while J1-J3 and Itime;
// 2.0 ranges of headers and S3, S4; 3.0 and 3.1 the rest. Only the node knows which of them its
// tool supports.
var awgKeys = []key{
	sizeKey("Jc", nil),
	sizeKey("Jmin", func(v *awgValues) *awgNumber { return &v.junkMin }),
	sizeKey("Jmax", func(v *awgValues) *awgNumber { return &v.junkMax }),
	paddingKey("S1", 0), paddingKey("S2", 1), paddingKey("S3", 2), paddingKey("S4", 3),
	headerKey("H1", 0), headerKey("H2", 1), headerKey("H3", 2), headerKey("H4", 3),
	packetKey("I1"), packetKey("I2"), packetKey("I3"), packetKey("I4"), packetKey("I5"),
	formerKey(packetKey("J1")), formerKey(packetKey("J2")), formerKey(packetKey("J3")),
	formerKey(key{name: "Itime", in: interfaceSection, awg: true, set: func(_ *parser, v string) error {
		_, err := number(v, 0, math.MaxUint32)
		return err
	}}),

	{name: "HeaderProtectionKey", in: interfaceSection, awg: true, set: func(p *parser, v string) error {
		key, err := decodeKey(v)
		if err == nil && !isZero(key) { // all zeros disable it
			p.awg.protectionLine = p.line
		}
		return err
	}},
	rangeKey("ContentPaddingAddition"),
	rangeKey("RekeyAfterTime"), rangeKey("RekeyTimeout"), rangeKey("RejectAfterTime"),
	rangeKey("KeepaliveTimeout"), rangeKey("MaxHandshakeAttempts"),
	switchKey("RandomTrailers", func(p *parser, on bool) {
		if on {
			p.awg.trailersLine = p.line
		}
	}),
	switchKey("DisableCookies", nil),
	{name: "AdvancedSecurity", in: peerSection, awg: true, set: func(*parser, string) error {
		return problem("is refused by amneziawg-go, and the tunnel works without it; remove the line")
	}},
}

// awgValues are the values that have to agree with each other.
type awgValues struct {
	junkMin, junkMax awgNumber
	padding          [4]awgNumber // S1-S4, in bytes
	headers          [4]header    // H1-H4
	protectionLine   int          // of a HeaderProtectionKey; 0: off
	trailersLine     int          // of RandomTrailers = on; 0: off
}

// awgNumber is a number and its line; line 0: not given.
type awgNumber struct {
	n    uint32
	line int
}

// header is the range of one of H1-H4: the numbers that distinguish the kinds of packets.
type header struct {
	from, to uint32
	line     int // 0: not given, or invalid
	wrong    bool
}

func sizeKey(name string, to func(*awgValues) *awgNumber) key {
	return key{name: name, in: interfaceSection, awg: true, set: func(p *parser, v string) error {
		n, err := number(v, 0, 65535)
		if to != nil && err == nil {
			*to(&p.awg) = awgNumber{n, p.line}
		}
		return err
	}}
}

func paddingKey(name string, i int) key {
	return sizeKey(name, func(v *awgValues) *awgNumber { return &v.padding[i] })
}

func headerKey(name string, i int) key {
	return key{name: name, in: interfaceSection, awg: true, set: func(p *parser, v string) error {
		from, to, err := numbers(v, math.MaxUint32)
		p.awg.headers[i] = header{from, to, p.line, err != nil}
		return err
	}}
}

func rangeKey(name string) key {
	return key{name: name, in: interfaceSection, awg: true, set: func(_ *parser, v string) error {
		_, _, err := numbers(v, math.MaxUint32)
		return err
	}}
}

func switchKey(name string, set func(p *parser, on bool)) key {
	return key{name: name, in: interfaceSection, awg: true, set: func(p *parser, v string) error {
		on := false
		switch lower(v) {
		case "on", "1":
			on = true
		case "off", "0":
		default:
			return problem("%s is neither on nor off", quote(v))
		}
		if set != nil {
			set(p, on)
		}
		return nil
	}}
}

// formerKey is a key of the tools of AmneziaWG 1.5 only.
func formerKey(k key) key {
	set := k.set
	k.set = func(p *parser, v string) error {
		p.note(CodeAWGValues, "%s (line %d) is known only to the tools of AmneziaWG 1.5; others refuse it", k.name, p.line)
		return set(p, v)
	}
	return k
}

// checkAWG checks the values of AmneziaWG that depend on each other.
func (p *parser) checkAWG() {
	v := &p.awg
	if v.junkMax.line != 0 && v.junkMin.n > v.junkMax.n {
		line := max(v.junkMin.line, v.junkMax.line)
		p.noteAt(line, CodeAWGValues, "Jmin is more than Jmax (line %d): the smallest size of a junk packet goes into Jmin, the largest into Jmax", line)
	}
	p.checkHeaders()
	p.checkPadding()
}

// checkHeaders refuses headers that overlap: the other side could not distinguish their packets. A
// header that is not given is WireGuard's own, 1 to 4.
func (p *parser) checkHeaders() {
	h := p.awg.headers
	for i := range h {
		if h[i].line == 0 {
			h[i].from, h[i].to = uint32(i)+1, uint32(i)+1
		}
	}
	for i, a := range h {
		for j, b := range h[:i] {
			if a.wrong || b.wrong || a.from > b.to || b.from > a.to {
				continue
			}
			switch { // at least one is given: the defaults differ from each other
			case a.line == 0:
				p.fault(b.line, "H%d: overlaps H%d, which defaults to %d; each of H1 to H4 needs numbers of its own", j+1, i+1, i+1)
			case b.line == 0:
				p.fault(a.line, "H%d: overlaps H%d, which defaults to %d; each of H1 to H4 needs numbers of its own", i+1, j+1, j+1)
			case a.line < b.line:
				p.fault(b.line, "H%d: overlaps H%d on line %d; each of H1 to H4 needs numbers of its own", j+1, i+1, a.line)
			default:
				p.fault(a.line, "H%d: overlaps H%d on line %d; each of H1 to H4 needs numbers of its own", i+1, j+1, b.line)
			}
		}
	}
}

// checkPadding checks S1-S4 against the options that need them: header protection takes its nonce
// from the padding, and random trailers hide sizes only if all paddings are equal.
func (p *parser) checkPadding() {
	const nonce = 12 // bytes
	v := &p.awg
	var short []string
	equal := true
	for i, s := range v.padding {
		if s.n < nonce {
			short = append(short, "S"+string(rune('1'+i)))
		}
		equal = equal && s.n == v.padding[0].n
	}
	if v.protectionLine != 0 && short != nil {
		p.fault(v.protectionLine, "HeaderProtectionKey: needs S1 to S4 of %d or more; raise %s", nonce, list(short))
	}
	if v.trailersLine != 0 && !equal {
		p.noteAt(v.trailersLine, CodeAWGValues, "RandomTrailers (line %d) hides the sizes of packets only where S1 to S4 are equal", v.trailersLine)
	}
}
