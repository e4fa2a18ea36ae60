package mesh_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"wfm/mesh"
	"wfm/store"
)

// packetOf returns the bytes of a packet that is described in the tags b, r and rc.
func packetOf(t *testing.T, description string) []byte {
	t.Helper()
	var packet []byte
	for rest := description; rest != ""; {
		inner, after, ok := strings.Cut(strings.TrimPrefix(rest, "<"), ">")
		tag, value, _ := strings.Cut(inner, " ")
		rest = after
		n, _ := strconv.Atoi(value)
		switch {
		case !ok:
			t.Fatalf("a tag is open in %q", description)
		case tag == "b":
			b, err := hex.DecodeString(strings.TrimPrefix(value, "0x"))
			if err != nil {
				t.Fatal(err)
			}
			packet = append(packet, b...)
		case tag == "r":
			packet = append(packet, bytes.Repeat([]byte{0xa5}, n)...)
		case tag == "rc":
			packet = append(packet, bytes.Repeat([]byte{'q'}, n)...)
		default:
			t.Fatalf("the tag %q of %q is not one that all versions know", tag, description)
		}
	}
	return packet
}

// problemOf returns why the packet is not one of the protocol, as its RFC describes them.
func problemOf(d mesh.Disguise, p []byte) string {
	switch d {
	case mesh.DisguiseGeneric:
	case mesh.DisguiseDNS: // RFC 1035, 4.1
		if len(p) < 12 || p[2]&0x80 != 0 || p[2]>>3&0xf != 0 || !bytes.Equal(p[4:12], []byte{0, 1, 0, 0, 0, 0, 0, 0}) {
			return "the header is not that of a query with one question"
		}
		at := 12
		for at < len(p) && p[at] != 0 {
			if p[at] > 63 {
				return "a label is too long"
			}
			at += 1 + int(p[at])
		}
		if at+5 != len(p) || binary.BigEndian.Uint16(p[at+3:]) != 1 {
			return "the question does not end with a type and the class IN"
		}
	case mesh.DisguiseSTUN: // RFC 8489, 5
		if len(p) != 20 || p[0]>>6 != 0 || binary.BigEndian.Uint16(p) != 1 || binary.BigEndian.Uint16(p[2:]) != 0 || binary.BigEndian.Uint32(p[4:]) != 0x2112a442 {
			return "it is not a binding request without attributes"
		}
	case mesh.DisguiseRTP: // RFC 3550, 5.1
		if len(p) <= 12 || p[0] != 0x80 || p[1]&0x7f < 96 {
			return "it is not a packet of version 2 with a dynamic type"
		}
	case mesh.DisguiseQUIC: // RFC 9000, 17.2.2
		if len(p) < 1200 || p[0]>>4 != 0xc || binary.BigEndian.Uint32(p[1:]) != 1 || p[5] < 8 || p[5] > 20 {
			return "it is not an initial packet of version 1 and 1200 bytes"
		}
		at := 6 + int(p[5])
		at += 1 + int(p[at]) // source id
		at += 1 + int(p[at]) // token
		if p[at]>>6 != 1 || int(binary.BigEndian.Uint16(p[at:])&0x3fff) != len(p)-at-2 {
			return "its length is not that of the rest"
		}
	}
	return ""
}

func TestGeneratedValuesAreTakenAndLookLikeTheProtocol(t *testing.T) {
	for seed := range byte(180) {
		q := mesh.AWGQuery{
			Version:   versions[seed%3],
			Disguise:  disguises[int(seed)%len(disguises)],
			Intensity: []mesh.Intensity{"", mesh.IntensityLow, mesh.IntensityBalanced, mesh.IntensityHigh}[seed%4],
			Nodes:     []store.AWGNode{{}, {RekeyTimeout: "4-5", I5: "<r 7>"}},
		}
		v, err := mesh.GenerateAWG(q, chacha(seed))
		if err != nil || len(v.Nodes) != 2 {
			t.Fatalf("seed %d: %+v, %v", seed, v, err)
		}
		cfg := amnezia(q.Version, v.Mesh)
		if problems := slices.Concat(mesh.CheckAWGMesh(cfg), mesh.CheckAWGNode(cfg, v.Nodes[0]), mesh.CheckAWGNode(cfg, v.Nodes[1])); problems != nil {
			t.Fatalf("seed %d: %q", seed, problems)
		}
		if v.Nodes[1].RekeyTimeout != "4-5" || v.Nodes[1].I5 != "" || v.Nodes[0] == v.Nodes[1] {
			t.Errorf("seed %d: %+v", seed, v.Nodes)
		}
		for _, n := range v.Nodes {
			for _, packet := range []string{n.I1, n.I2, n.I3, n.I4, n.I5} {
				if packet == "" {
					continue
				}
				if problem := problemOf(q.Disguise, packetOf(t, packet)); problem != "" {
					t.Errorf("seed %d: %s is not %s: %s", seed, packet, q.Disguise, problem)
				}
			}
		}
	}
}

// amount returns the padding of a handshake's first packet, the junk and the packets.
func amount(t *testing.T, i mesh.Intensity, seed byte) (padding, junk, packets int) {
	t.Helper()
	v, err := mesh.GenerateAWG(mesh.AWGQuery{Intensity: i, Nodes: make([]store.AWGNode, 1)}, chacha(seed))
	if err != nil {
		t.Fatal(err)
	}
	n := v.Nodes[0]
	padding, _ = strconv.Atoi(v.Mesh.S1)
	junk, _ = strconv.Atoi(n.Jc)
	for _, p := range []string{n.I1, n.I2, n.I3, n.I4} {
		if p != "" {
			packets++
		}
	}
	return padding, junk, packets
}

func TestMoreIntensityIsMore(t *testing.T) {
	var most [3]int
	for seed := range byte(60) {
		lastJunk, lastPackets := 0, 0
		for i, intensity := range []mesh.Intensity{mesh.IntensityLow, mesh.IntensityBalanced, mesh.IntensityHigh} {
			padding, junk, packets := amount(t, intensity, seed)
			most[i] = max(most[i], padding)
			if junk <= lastJunk || packets <= lastPackets {
				t.Errorf("%s has %d junk packets and %d others", intensity, junk, packets)
			}
			lastJunk, lastPackets = junk, packets
		}
	}
	if most[0] > 40 || most[0] >= most[1] || most[1] >= most[2] {
		t.Errorf("the paddings are up to %v bytes", most)
	}
}

func TestGeneratedValuesKeepTheKeyAndTheOptions(t *testing.T) {
	former := newAWG(t, "3.1", 1)
	former.RandomTrailers, former.RekeyTimeout = true, "4-5"
	v, err := mesh.GenerateAWG(mesh.AWGQuery{Version: "3.1", Mesh: former}, chacha(2))
	if err != nil {
		t.Fatal(err)
	}
	a := v.Mesh
	if a.HeaderProtectionKey != former.HeaderProtectionKey || !a.RandomTrailers || a.RekeyTimeout != "4-5" || a.H1 == former.H1 || a.S1 == former.S1 {
		t.Errorf("%+v became %+v", former, a)
	}
	if a.S1 != a.S2 || a.S2 != a.S3 || a.S3 != a.S4 { // random trailers need equal ones
		t.Errorf("the paddings are %s, %s, %s and %s", a.S1, a.S2, a.S3, a.S4)
	}
	cfg := amnezia("3.1", a)
	if problems := mesh.CheckAWGMesh(cfg); problems != nil {
		t.Error(problems)
	}
	if v, err = mesh.GenerateAWG(mesh.AWGQuery{Version: "2.0", Mesh: former}, chacha(2)); err != nil || v.Mesh.HeaderProtectionKey != "" || v.Mesh.RandomTrailers {
		t.Errorf("2.0 has options of 3.1: %+v, %v", v.Mesh, err)
	}
	q := mesh.AWGQuery{Version: "3.1", Mesh: former, NodesOnly: true, Nodes: make([]store.AWGNode, 1)}
	if v, err = mesh.GenerateAWG(q, chacha(2)); err != nil || v.Mesh != former || v.Nodes[0].Jc == "" {
		t.Errorf("%+v, %v", v, err)
	}
	for _, tt := range []struct {
		q    mesh.AWGQuery
		want string
	}{
		{mesh.AWGQuery{Version: "3"}, `awg_version "3" is unknown; give 1.5, 2.0 or 3.1.`},
		{mesh.AWGQuery{Disguise: "http"}, `direction "http" is unknown; give generic, dns, stun, rtp or quic.`},
		{mesh.AWGQuery{Intensity: "wild"}, `intensity "wild" is unknown; give low, balanced or high.`},
	} {
		_, err := mesh.GenerateAWG(tt.q, chacha(1))
		refusedAs(t, err, mesh.CodeInvalidAWG, tt.want)
	}
}

func TestANodeMayHaveOptionsOfItsOwn(t *testing.T) {
	w := newWorld("10.66.0.0/24")
	a := newAWG(t, "3.1", 1)
	a.RekeyTimeout, a.DisableCookies, a.KeepaliveTimeout = "5", true, "10"
	cfg := amnezia("3.1", a)
	w.config.TunnelProtocol, w.config.AWGVersion, w.config.AWG = cfg.TunnelProtocol, cfg.AWGVersion, cfg.AWG
	w.add("north")
	w.add("south", func(n *mesh.Node) {
		n.AWG = store.AWGNode{RekeyTimeout: "8-9", DisableCookies: "off", MaxHandshakeAttempts: "20"}
	})
	texts := w.mesh().Texts()
	for id, want := range map[string]string{
		"north": "RekeyTimeout = 5\nKeepaliveTimeout = 10\nDisableCookies = on\n",
		"south": "RekeyTimeout = 8-9\nKeepaliveTimeout = 10\nMaxHandshakeAttempts = 20\n",
	} {
		if !strings.HasSuffix(texts[id], want) {
			t.Errorf("%s has\n%s\nwant at its end\n%s", id, texts[id], want)
		}
	}
	w.parse(t)
	got := mesh.CheckAWGNode(cfg, store.AWGNode{RekeyTimeout: "9-8", DisableCookies: "maybe"})
	if fmt.Sprint(len(got)) != "2" || !strings.HasPrefix(got[0], "awg_options.rekey_timeout: ") || !strings.HasPrefix(got[1], "awg_options.disable_cookies: ") {
		t.Errorf("the problems are %q", got)
	}
}
