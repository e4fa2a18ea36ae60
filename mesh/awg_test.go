package mesh_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel/wgconf"
)

var (
	versions  = []string{"1.5", "2.0", "3.1"}
	disguises = []mesh.Disguise{"", mesh.DisguiseGeneric, mesh.DisguiseDNS, mesh.DisguiseSTUN, mesh.DisguiseRTP, mesh.DisguiseQUIC}
)

func chacha(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func amnezia(version string, a store.AWGMesh) store.Config {
	return store.Config{ID: "cfg_a", TunnelProtocol: protocol.TunnelAmneziaWG, AWGVersion: version, MeshSettings: store.MeshSettings{AWG: a}}
}

func newAWG(t *testing.T, version string, seed byte) store.AWGMesh {
	t.Helper()
	a, err := mesh.NewAWG(version, chacha(seed))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The parser warns of what only some of the tools take.
func TestNewValuesAreTakenByEveryToolWithoutAWord(t *testing.T) {
	for seed := range byte(200) {
		version := versions[int(seed)%3]
		cfg := amnezia(version, newAWG(t, version, seed))
		intensity := []mesh.Intensity{"", mesh.IntensityLow, mesh.IntensityBalanced, mesh.IntensityHigh}[seed%4]
		n, err := mesh.NewAWGNode(disguises[int(seed)%len(disguises)], intensity, chacha(seed))
		if err != nil {
			t.Fatal(err)
		}
		if problems := slices.Concat(mesh.CheckAWGMesh(cfg), mesh.CheckAWGNode(cfg, n)); problems != nil {
			t.Fatalf("seed %d: %q", seed, problems)
		}
		w := newWorld("10.66.0.0/24")
		w.config.TunnelProtocol, w.config.AWGVersion, w.config.AWG = cfg.TunnelProtocol, cfg.AWGVersion, cfg.AWG
		w.add("north", func(node *mesh.Node) { node.AWG = n })
		if warnings := w.parse(t)["north"].Warnings(noReach); warnings != nil {
			t.Fatalf("seed %d: %+v", seed, warnings)
		}
	}
}

func TestNewValuesKeepKindsOfPacketsApart(t *testing.T) {
	sizes := map[int]int{1: 148, 2: 92, 3: 64, 4: 32}
	for seed := range byte(200) {
		version := versions[int(seed)%3]
		a := newAWG(t, version, seed)
		seen := map[int]bool{}
		for i, s := range []string{a.S1, a.S2, a.S3, a.S4} {
			if s == "" && version == "1.5" {
				continue
			}
			n, err := strconv.Atoi(s)
			if err != nil || n < 12 || n > 130 || seen[sizes[i+1]+n] {
				t.Errorf("seed %d: S%d = %q in %+v", seed, i+1, s, a)
			}
			seen[sizes[i+1]+n] = true
		}
		if n, _ := strconv.Atoi(a.S4); n > 20 {
			t.Errorf("seed %d: S4 = %s leaves no room for an MTU of 1420", seed, a.S4)
		}
		if (version == "1.5") != (a.S3 == "" && a.S4 == "") || (version == "3.1") != mesh.ValidKey(a.HeaderProtectionKey) {
			t.Errorf("seed %d: the values for %s are %+v", seed, version, a)
		}
		for _, h := range []string{a.H1, a.H2, a.H3, a.H4} {
			from, _, isRange := strings.Cut(h, "-")
			if n, err := strconv.Atoi(from); err != nil || n < 5 || n >= 1<<31 || isRange == (version == "1.5") {
				t.Errorf("seed %d: a header for %s is %q", seed, version, h)
			}
		}
	}
}

func TestTheSameBytesGiveTheSameValuesAndOthersGiveOthers(t *testing.T) {
	if a, b := newAWG(t, "3.1", 1), newAWG(t, "3.1", 1); a != b {
		t.Errorf("%+v and %+v", a, b)
	}
	if a, b := newAWG(t, "3.1", 1), newAWG(t, "3.1", 2); a.H1 == b.H1 || a.HeaderProtectionKey == b.HeaderProtectionKey {
		t.Errorf("%+v and %+v", a, b)
	}
}

func TestValuesNeedEnoughRandomness(t *testing.T) {
	for n := range 12 {
		short := func() *bytes.Reader { return bytes.NewReader(make([]byte, 8*n)) }
		if _, err := mesh.NewAWG("3.1", short()); err == nil {
			t.Errorf("values of a mesh from %d bytes", 8*n)
		}
		if _, err := mesh.NewAWGNode("", "", short()); err == nil && n < 5 {
			t.Errorf("values of a node from %d bytes", 8*n)
		}
	}
}

func TestDisguisesLookLikeWhatTheySay(t *testing.T) {
	for d, want := range map[mesh.Disguise]string{
		mesh.DisguiseDNS: "<r 2><b 0x01000001000000000000", mesh.DisguiseSTUN: "<b 0x000100002112a442><r 12>",
		mesh.DisguiseRTP: "<b 0x80", mesh.DisguiseQUIC: "<b 0xc30000000108><r 8><b 0x0000449e><r 1182>", mesh.DisguiseGeneric: "<r ",
	} {
		n, err := mesh.NewAWGNode(d, mesh.IntensityHigh, chacha(1))
		if err != nil {
			t.Fatal(err)
		}
		for _, packet := range []string{n.I1, n.I2, n.I3, n.I4} {
			if !strings.HasPrefix(packet, want) {
				t.Errorf("%s looks like %s", d, packet)
			}
		}
	}
	_, err := mesh.NewAWGNode("http", "", chacha(1))
	refusedAs(t, err, mesh.CodeInvalidAWG, `direction "http" is unknown; give generic, dns, stun, rtp or quic.`)
	_, err = mesh.NewAWGNode("", "wild", chacha(1))
	refusedAs(t, err, mesh.CodeInvalidAWG, `intensity "wild" is unknown; give low, balanced or high.`)
}

func TestAConvertedMeshIsOneOfItsVersion(t *testing.T) {
	for seed := range byte(60) {
		from, to := versions[int(seed)%3], versions[int(seed)/3%3]
		before := amnezia(from, newAWG(t, from, seed))
		after, changes, err := mesh.ConvertAWG(before, to, chacha(seed+1))
		if err != nil || after.AWGVersion != to {
			t.Fatalf("from %s to %s: %q, %v", from, to, after.AWGVersion, err)
		}
		if problems := mesh.CheckAWGMesh(after); problems != nil {
			t.Errorf("from %s to %s: %q", from, to, problems)
		}
		if (from == to) != (len(changes) == 0) {
			t.Errorf("from %s to %s changes %q", from, to, changes)
		}
		if again, changes, err := mesh.ConvertAWG(after, to, chacha(seed+2)); err != nil || again != after || changes != nil {
			t.Errorf("from %s to %s twice changes %q, %v", from, to, changes, err)
		}
		if strings.Contains(strings.Join(changes, ""), after.AWG.HeaderProtectionKey) && after.AWG.HeaderProtectionKey != "" {
			t.Errorf("the changes show a key: %q", changes)
		}
	}
}

func TestConversionsSayWhatTheyChange(t *testing.T) {
	full := store.AWGMesh{S1: "5", S2: "20", S3: "30", S4: "15", H1: "100-200", H2: "300", H3: "400", H4: "500 - 600"}
	options := full
	options.HeaderProtectionKey, options.RandomTrailers, options.RekeyTimeout = keysOf("k").Private, true, "5-9"
	for _, tt := range []struct {
		from, to string
		values   store.AWGMesh
		want     []string
	}{
		{"2.0", "1.5", full, []string{
			"awg_h1 changes from 100-200 to 100: 1.5 takes one number.", "awg_h4 changes from 500 - 600 to 500: 1.5 takes one number.",
			"awg_s3 is left out: 1.5 does not know it.", "awg_s4 is left out: 1.5 does not know it.",
		}},
		{"2.0", "3.1", full, []string{
			"awg_s1 changes from 5 to 12: header protection needs 12 bytes or more.",
			"awg_options.header_protection_key is made: 3.1 hides the headers of packets with it.",
		}},
		{"3.1", "2.0", options, []string{
			"awg_options.header_protection_key is left out: only 3.1 knows it.", "awg_options.rekey_timeout is left out: only 3.1 knows it.",
			"awg_options.random_trailers is switched off: only 3.1 knows it.",
		}},
		{"1.5", "2.0", store.AWGMesh{}, nil},
		{"", "2.0", full, nil},
		{"2.0", "2.0", store.AWGMesh{S1: "20", S2: "30"}, nil},
	} {
		_, changes, err := mesh.ConvertAWG(amnezia(tt.from, tt.values), tt.to, chacha(1))
		if err != nil {
			t.Error(err)
		}
		sameLines(t, tt.from+" to "+tt.to, changes, tt.want)
	}
	_, _, err := mesh.ConvertAWG(amnezia("2.0", full), "4", chacha(1))
	refusedAs(t, err, mesh.CodeInvalidAWG, `awg_version "4" is unknown; give 1.5, 2.0 or 3.1.`)
}

func TestCheckAWGNamesTheField(t *testing.T) {
	for want, change := range map[string]func(*store.Config, *store.AWGNode){
		"awg_s1: ":   func(c *store.Config, _ *store.AWGNode) { c.AWG.S1 = "many" },
		"awg_h2: ":   func(c *store.Config, _ *store.AWGNode) { c.AWG.H1, c.AWG.H2 = "5-9", "7" },
		"awg_h1: Am": func(c *store.Config, _ *store.AWGNode) { c.AWG.H1, c.AWGVersion = "5-9", "1.5" },
		"awg_options.header_protection_key: ": func(c *store.Config, _ *store.AWGNode) {
			c.AWGVersion, c.AWG.HeaderProtectionKey = "3.1", keysOf("k").Private
		},
		"awg_options.rekey_timeout: ": func(c *store.Config, _ *store.AWGNode) { c.AWGVersion, c.AWG.RekeyTimeout = "3.1", "9-5" },
		"awg_jc: ":                    func(_ *store.Config, n *store.AWGNode) { n.Jc = "70000" },
		"awg_i1: ":                    func(_ *store.Config, n *store.AWGNode) { n.I1 = "<x>" },
		"awg_i2: has a control":       func(_ *store.Config, n *store.AWGNode) { n.I2 = "<r 1>\nPostUp = x" },
		"awg_i3: is empty":            func(_ *store.Config, n *store.AWGNode) { n.I3 = " " },
	} {
		cfg, n := amnezia("2.0", store.AWGMesh{}), store.AWGNode{}
		change(&cfg, &n)
		got := slices.Concat(mesh.CheckAWGMesh(cfg), mesh.CheckAWGNode(cfg, n))
		if len(got) != 1 || !strings.HasPrefix(got[0], want) || !strings.HasSuffix(got[0], ".") || strings.Contains(got[0], "on line") {
			t.Errorf("the problems are %q, want one that begins with %q", got, want)
		}
	}
}

// The values that the real tools refuse are refused here too, field by field; the values that they
// accept are accepted.
func TestCheckAWGAgreesWithTheAnswersOfTheTools(t *testing.T) {
	raw, err := os.ReadFile("../tunnel/wgconf/testdata/awg-tool-answers.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for line := range bytes.Lines(raw) {
		var answer struct {
			Name     string
			Text     string
			Accepted bool
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			t.Fatal(err)
		}
		cfg, n, ok := fieldsOf(answer.Text)
		if !ok {
			continue // keys that have no field
		}
		if _, err := wgconf.Parse(answer.Text, "awg"); (err == nil) != answer.Accepted {
			continue // stricter, as wgconf's own tests tell
		}
		compared++
		if problems := slices.Concat(mesh.CheckAWGMesh(cfg), mesh.CheckAWGNode(cfg, n)); (problems == nil) != answer.Accepted {
			t.Errorf("%s: the tools say %t, and the fields have the problems %q\n%s", answer.Name, answer.Accepted, problems, answer.Text)
		}
	}
	if compared < 40 {
		t.Errorf("only %d answers were compared", compared)
	}
}

// fieldsOf puts the values of a text into fields; ok is false if some have none, or an empty value,
// which in a field means that it is not given.
func fieldsOf(text string) (cfg store.Config, n store.AWGNode, ok bool) {
	cfg = amnezia("3.1", store.AWGMesh{})
	a := &cfg.AWG
	fields := map[string]*string{
		"jc": &n.Jc, "jmin": &n.Jmin, "jmax": &n.Jmax, "i1": &n.I1, "i2": &n.I2, "i3": &n.I3, "i4": &n.I4, "i5": &n.I5,
		"s1": &a.S1, "s2": &a.S2, "s3": &a.S3, "s4": &a.S4, "h1": &a.H1, "h2": &a.H2, "h3": &a.H3, "h4": &a.H4,
		"headerprotectionkey": &a.HeaderProtectionKey, "contentpaddingaddition": &a.ContentPaddingAddition, "rekeyaftertime": &a.RekeyAfterTime,
		"rekeytimeout": &a.RekeyTimeout, "rejectaftertime": &a.RejectAfterTime, "keepalivetimeout": &a.KeepaliveTimeout,
		"maxhandshakeattempts": &a.MaxHandshakeAttempts,
	}
	for line := range strings.Lines(text) {
		key, value, found := strings.Cut(strings.TrimSpace(line), "=")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		switch to, known := fields[key]; {
		case !found, key == "privatekey", key == "publickey", key == "address", key == "allowedips", key == "endpoint":
		case key == "randomtrailers" && value == "on":
			a.RandomTrailers = true
		case key == "disablecookies" && value == "on":
			a.DisableCookies = true
		case !known || value == "":
			return cfg, n, false
		default:
			*to = value
		}
	}
	return cfg, n, true
}
