package mesh

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"

	"wfm/store"
)

// source makes values from random bytes. The zero value cannot be used.
type source struct {
	from io.Reader
	err  error // the first one; then everything is the least value
}

// between returns a number from low to high.
func (r *source) between(low, high uint32) uint32 {
	var b [8]byte
	if r.err == nil {
		_, r.err = io.ReadFull(r.from, b[:])
	}
	if r.err != nil {
		return low
	}
	return low + uint32(binary.BigEndian.Uint64(b[:])%(uint64(high-low)+1)) //nolint:gosec // less than high-low
}

// The generated values. Paddings stay far below the room in a packet. The padding of data packets
// (S4) is so small that an MTU of 1420 still fits into the 1500 bytes of an Ethernet over IPv4.
const (
	noncePadding  = 12 // bytes that header protection takes from each padding
	leastPadding  = 15
	lowPadding    = 40 // the most, of low intensity
	mostPadding   = 120
	highPadding   = 200
	mostOfData    = 20         // for S4
	leastHeader   = 5          // 1 to 4 are WireGuard's own
	highestHeader = 1<<31 - 1  // some tools read headers as signed numbers
	headerRoom    = 10_000_000 // at least so many numbers lie between two headers
)

// The sizes of WireGuard's packets, in bytes: the two of a handshake, a cookie, and the least with data.
var packetSizes = [4]int{148, 92, 64, 32}

// NewAWG returns values of AmneziaWG that all nodes of a mesh share, for the version.
func NewAWG(version string, random io.Reader) (store.AWGMesh, error) {
	return newAWG(version, mostPadding, random)
}

// newAWG is NewAWG with paddings of up to most bytes.
func newAWG(version string, most uint32, random io.Reader) (store.AWGMesh, error) {
	r := source{from: random}
	a := store.AWGMesh{}
	s1 := r.padding(most, 0, nil)
	s2 := r.padding(most, 1, []int{packetSizes[0] + s1})
	a.S1, a.S2 = strconv.Itoa(s1), strconv.Itoa(s2)
	if version != awg15 {
		a.S3, a.S4 = r.paddings(a.S1, a.S2, most)
	}
	a.H1, a.H2, a.H3, a.H4 = r.headers(version != awg15)
	if version == awg31 && r.err == nil {
		a.HeaderProtectionKey, r.err = NewPresharedKey(random)
	}
	if r.err != nil {
		return store.AWGMesh{}, fmt.Errorf("random values: %w", r.err)
	}
	return a, nil
}

// padding returns one for the kind of packet, with which it has none of the sizes taken: packets of
// equal size could not be told apart.
func (r *source) padding(most uint32, kind int, taken []int) int {
	s := int(r.between(leastPadding, most))
	for slices.Contains(taken, packetSizes[kind]+s) {
		s++
	}
	return s
}

// paddings returns S3 and S4 beside S1 and S2; S3 is up to most.
func (r *source) paddings(s1, s2 string, most uint32) (s3, s4 string) {
	var taken []int
	for i, s := range []string{s1, s2} {
		n, _ := strconv.Atoi(s) // 0 if it is not given
		taken = append(taken, packetSizes[i]+n)
	}
	three := r.padding(most, 2, taken)
	four := r.padding(mostOfData-uint32(len(packetSizes)), 3, append(taken, packetSizes[2]+three))
	return strconv.Itoa(three), strconv.Itoa(four)
}

// headers returns four numbers, or four ranges, that do not overlap.
func (r *source) headers(ranges bool) (h1, h2, h3, h4 string) {
	// Each header has a quarter of all numbers, and which one is up to chance.
	const quarter = (highestHeader - leastHeader) / 4
	places := []uint32{0, 1, 2, 3}
	for i := range uint32(3) {
		j := r.between(i, 3)
		places[i], places[j] = places[j], places[i]
	}
	var h [4]string
	for i, place := range places {
		low := leastHeader + place*quarter
		from := r.between(low, low+quarter/2)
		h[i] = strconv.FormatUint(uint64(from), 10)
		if ranges {
			h[i] += "-" + strconv.FormatUint(uint64(r.between(from, low+quarter-headerRoom)), 10)
		}
	}
	return h[0], h[1], h[2], h[3]
}

// Disguise is the protocol that the first packets of a handshake imitate.
type Disguise string

// The disguises.
const (
	DisguiseGeneric Disguise = "generic" // random bytes
	DisguiseDNS     Disguise = "dns"     // a query
	DisguiseSTUN    Disguise = "stun"    // a binding request
	DisguiseRTP     Disguise = "rtp"     // a packet of audio
	DisguiseQUIC    Disguise = "quic"    // an initial packet
)

// Intensity is how much is sent before a handshake.
type Intensity string

// The intensities.
const (
	IntensityLow      Intensity = "low"
	IntensityBalanced Intensity = "balanced"
	IntensityHigh     Intensity = "high"
)

// NewAWGNode returns values of AmneziaWG that a node has for itself. An empty disguise or intensity
// stands for generic and balanced. Error: an [*Error] for unknown ones.
func NewAWGNode(d Disguise, i Intensity, random io.Reader) (store.AWGNode, error) {
	r := source{from: random}
	junk, packets := [2]uint32{4, 6}, 2
	switch i {
	case "", IntensityBalanced:
	case IntensityLow:
		junk, packets = [2]uint32{2, 3}, 1
	case IntensityHigh:
		junk, packets = [2]uint32{8, 12}, 4
	default:
		return store.AWGNode{}, refuse(CodeInvalidAWG, "intensity %q is unknown; give low, balanced or high.", i)
	}
	least := r.between(40, 90)
	n := store.AWGNode{
		Jc: strconv.Itoa(int(r.between(junk[0], junk[1]))), Jmin: strconv.Itoa(int(least)), Jmax: strconv.Itoa(int(r.between(least+50, least+500))),
	}
	for _, to := range []*string{&n.I1, &n.I2, &n.I3, &n.I4}[:packets] {
		packet, err := r.packet(d)
		if err != nil {
			return store.AWGNode{}, err
		}
		*to = packet
	}
	if r.err != nil {
		return store.AWGNode{}, fmt.Errorf("random values: %w", r.err)
	}
	return n, nil
}

// packet returns the description of a packet, in the tags that all versions know: b for bytes, r for
// so many random ones, rc for letters.
func (r *source) packet(d Disguise) (string, error) {
	switch d {
	case "", DisguiseGeneric:
		return fmt.Sprintf("<r %d>", r.between(40, 400)), nil
	case DisguiseDNS:
		// RFC 1035, section 4.1: an id; flags that ask for recursion, and one question; a name of two
		// labels; type A, or AAAA of RFC 3596, class IN.
		label := r.between(6, 20)
		kind := []int{1, 28}[r.between(0, 1)]
		return fmt.Sprintf("<r 2><b 0x01000001000000000000%02x><rc %d><b 0x03636f6d00%04x0001>", label, label, kind), nil
	case DisguiseSTUN:
		// RFC 8489, sections 5 and 14: a request without attributes, the magic cookie, a transaction id.
		return "<b 0x000100002112a442><r 12>", nil
	case DisguiseRTP:
		// RFC 3550, section 5.1, and RFC 3551: version 2 and a dynamic payload type; sequence number, timestamp and source; 20 ms of sound.
		return fmt.Sprintf("<b 0x80%02x><r 10><r %d>", r.between(96, 127), r.between(80, 200)), nil
	case DisguiseQUIC:
		// RFC 9000, sections 14.1 and 17.2.2: a long header of version 1, a destination id, no source id, no token, the length of
		// the rest; 1200 bytes in all, the least that an initial packet has.
		const rest = 1200 - 18
		return fmt.Sprintf("<b 0xc30000000108><r 8><b 0x0000%04x><r %d>", 0x4000|rest, rest), nil
	}
	return "", refuse(CodeInvalidAWG, "direction %q is unknown; give generic, dns, stun, rtp or quic.", d)
}
