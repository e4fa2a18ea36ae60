package mesh

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"wfm/store"
	"wfm/tunnel/wgconf"
)

// The versions of AmneziaWG for which configs are made.
const (
	awg15 = "1.5"
	awg20 = "2.0"
	awg31 = "3.1"
)

// DefaultAWGVersion is the version of a mesh that names none. The tools for 3.1 are rare.
const DefaultAWGVersion = awg20

// awgVersionOf returns the version of the mesh.
func awgVersionOf(cfg store.Config) string {
	return cmp.Or(cfg.AWGVersion, DefaultAWGVersion)
}

// awgLine is one line of an [Interface] section.
type awgLine struct{ key, value string }

// awgLines returns the values of AmneziaWG as they stand in a config. Values that the version of the
// mesh does not know are left out.
func awgLines(cfg store.Config, n store.AWGNode) []awgLine {
	a, version := cfg.AWG, awgVersionOf(cfg)
	lines := []awgLine{{"Jc", n.Jc}, {"Jmin", n.Jmin}, {"Jmax", n.Jmax}, {"S1", a.S1}, {"S2", a.S2}}
	if version != awg15 {
		lines = append(lines, awgLine{"S3", a.S3}, awgLine{"S4", a.S4})
	}
	lines = append(lines, awgLine{"H1", a.H1}, awgLine{"H2", a.H2}, awgLine{"H3", a.H3}, awgLine{"H4", a.H4},
		awgLine{"I1", n.I1}, awgLine{"I2", n.I2}, awgLine{"I3", n.I3}, awgLine{"I4", n.I4}, awgLine{"I5", n.I5})
	if version != awg31 {
		return lines
	}
	cookies := cmp.Or(n.DisableCookies, switchValue(a.DisableCookies))
	if cookies == switchOff {
		cookies = ""
	}
	return append(lines,
		awgLine{"HeaderProtectionKey", a.HeaderProtectionKey},
		awgLine{"ContentPaddingAddition", cmp.Or(n.ContentPaddingAddition, a.ContentPaddingAddition)},
		awgLine{"RekeyAfterTime", cmp.Or(n.RekeyAfterTime, a.RekeyAfterTime)}, awgLine{"RekeyTimeout", cmp.Or(n.RekeyTimeout, a.RekeyTimeout)},
		awgLine{"RejectAfterTime", cmp.Or(n.RejectAfterTime, a.RejectAfterTime)},
		awgLine{"KeepaliveTimeout", cmp.Or(n.KeepaliveTimeout, a.KeepaliveTimeout)},
		awgLine{"MaxHandshakeAttempts", cmp.Or(n.MaxHandshakeAttempts, a.MaxHandshakeAttempts)},
		awgLine{"RandomTrailers", switchValue(a.RandomTrailers)}, awgLine{"DisableCookies", cookies})
}

// The values of a switch.
const (
	switchOn  = "on"
	switchOff = "off"
)

// lacksAWG reports whether the node has no values of its own that are made for it. Its options are
// chosen by a person.
func lacksAWG(n store.AWGNode) bool {
	return n.Jc+n.Jmin+n.Jmax+n.I1+n.I2+n.I3+n.I4+n.I5 == ""
}

// withPackets returns the options of n with the junk and the packets of made.
func withPackets(n, made store.AWGNode) store.AWGNode {
	n.Jc, n.Jmin, n.Jmax = made.Jc, made.Jmin, made.Jmax
	n.I1, n.I2, n.I3, n.I4, n.I5 = made.I1, made.I2, made.I3, made.I4, made.I5
	return n
}

func switchValue(on bool) string {
	if on {
		return switchOn
	}
	return ""
}

// awgFields has the names of the fields by the keys of a config.
var awgFields = map[string]string{
	"HeaderProtectionKey": "header_protection_key", "ContentPaddingAddition": "content_padding_addition", "RekeyAfterTime": "rekey_after_time",
	"RekeyTimeout": "rekey_timeout", "RejectAfterTime": "reject_after_time", "KeepaliveTimeout": "keepalive_timeout",
	"MaxHandshakeAttempts": "max_handshake_attempts", "RandomTrailers": "random_trailers", "DisableCookies": "disable_cookies",
}

func awgField(key string) string {
	if field, ok := awgFields[key]; ok {
		return "awg_options." + field
	}
	return "awg_" + strings.ToLower(key)
}

// CheckAWGMesh returns the faults for which the tools would refuse the mesh's values of AmneziaWG,
// each a sentence that begins with the field.
func CheckAWGMesh(cfg store.Config) []string {
	problems := checkAWG(cfg, awgLines(cfg, store.AWGNode{}))
	if awgVersionOf(cfg) == awg15 {
		for i, h := range []string{cfg.AWG.H1, cfg.AWG.H2, cfg.AWG.H3, cfg.AWG.H4} {
			if strings.Contains(h, "-") {
				problems = append(problems, fmt.Sprintf("awg_h%d: AmneziaWG 1.5 takes one number, and %q is a range; give a number, or choose awg_version 2.0.", i+1, h))
			}
		}
	}
	return problems
}

// CheckAWGNode returns the faults for which the tools would refuse the node's values of AmneziaWG,
// each a sentence that begins with the field.
func CheckAWGNode(cfg store.Config, n store.AWGNode) []string {
	cfg.AWG, cfg.AWGVersion = store.AWGMesh{}, awg31 // which knows all of them
	return checkAWG(cfg, awgLines(cfg, n))
}

// onLine is how the parser points to another line, which a person who fills in fields does not see.
var onLine = regexp.MustCompile(` on line \d+`)

func checkAWG(cfg store.Config, lines []awgLine) []string {
	m := Mesh{config: cfg}
	var problems []string
	var text strings.Builder
	text.WriteString("[Interface]\n")
	for _, l := range lines {
		if l.value == "" {
			continue
		}
		if strings.ContainsAny(l.value, "#\n\r") || strings.TrimSpace(l.value) == "" {
			problems = append(problems, fmt.Sprintf("%s: %s.", awgField(l.key), m.valueProblem(l.key, l.value)))
			continue
		}
		text.WriteString(l.key + " = " + l.value + "\n")
	}
	_, err := wgconf.Parse(text.String(), m.family())
	if invalid, ok := errors.AsType[*wgconf.Error](err); ok {
		for _, f := range invalid.Faults {
			key, problem, _ := strings.Cut(onLine.ReplaceAllString(f.Problem, ""), ": ")
			problems = append(problems, fmt.Sprintf("%s: %s.", awgField(key), problem))
		}
	}
	return problems
}

// sharedAWGKeys are the values without which two nodes do not understand each other.
var sharedAWGKeys = []string{"S1", "S2", "S3", "S4", "H1", "H2", "H3", "H4", "HeaderProtectionKey"}

// readSharedAWG returns the values of a text that all nodes must share, also those that it takes by
// not naming them.
func readSharedAWG(text string) map[string]string {
	var lines []awgLine
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if key, value, ok := strings.Cut(line, "="); ok {
			lines = append(lines, awgLine{strings.TrimSpace(key), strings.ReplaceAll(strings.TrimSpace(value), " ", "")})
		}
	}
	return sharedAWG(lines)
}

func sharedAWG(lines []awgLine) map[string]string {
	shared := map[string]string{
		"S1": "0", "S2": "0", "S3": "0", "S4": "0", "H1": "1", "H2": "2", "H3": "3", "H4": "4", "HeaderProtectionKey": "",
	}
	for _, l := range lines {
		for _, key := range sharedAWGKeys {
			if strings.EqualFold(l.key, key) && l.value != "" {
				shared[key] = strings.ReplaceAll(l.value, " ", "")
			}
		}
	}
	return shared
}

// ConvertAWG returns the settings of a mesh for another version of AmneziaWG, and a sentence for each
// value that had to change. Values that both versions know stay. A value that the new version needs is
// made; one that it does not know is left out. Error: an [*Error] for an unknown version.
func ConvertAWG(cfg store.Config, version string, random io.Reader) (store.Config, []string, error) {
	c := converter{to: cfg, random: source{from: random}}
	from := awgVersionOf(cfg)
	c.to.AWGVersion = version
	a := &c.to.AWG
	switch version {
	case awg15:
		for i, h := range []*string{&a.H1, &a.H2, &a.H3, &a.H4} {
			if first, _, isRange := strings.Cut(*h, "-"); isRange {
				c.set(fmt.Sprintf("awg_h%d", i+1), h, strings.TrimSpace(first), "1.5 takes one number")
			}
		}
		c.set("awg_s3", &a.S3, "", "1.5 does not know it")
		c.set("awg_s4", &a.S4, "", "1.5 does not know it")
		c.drop31()
	case awg20:
		c.fillS34(from)
		c.drop31()
	case awg31:
		c.fillS34(from)
		if err := c.protect(); err != nil {
			return cfg, nil, err
		}
	default:
		return cfg, nil, refuse(CodeInvalidAWG, "awg_version %q is unknown; give 1.5, 2.0 or 3.1.", version)
	}
	return c.to, c.changes, c.random.err
}

// converter records its changes.
type converter struct {
	to      store.Config
	random  source
	changes []string
}

// set changes a value, and says so without showing it if it is secret.
func (c *converter) set(field string, value *string, to, why string) {
	if *value == to {
		return
	}
	switch {
	case to == "":
		c.changes = append(c.changes, fmt.Sprintf("%s is left out: %s.", field, why))
	case strings.HasSuffix(field, "_key"):
		c.changes = append(c.changes, fmt.Sprintf("%s is made: %s.", field, why))
	case *value == "":
		c.changes = append(c.changes, fmt.Sprintf("%s becomes %s: %s.", field, to, why))
	default:
		c.changes = append(c.changes, fmt.Sprintf("%s changes from %s to %s: %s.", field, *value, to, why))
	}
	*value = to
}

func (c *converter) drop31() {
	a := &c.to.AWG
	const why = "only 3.1 knows it"
	for _, v := range []struct {
		key   string
		value *string
	}{
		{"HeaderProtectionKey", &a.HeaderProtectionKey},
		{"ContentPaddingAddition", &a.ContentPaddingAddition},
		{"RekeyAfterTime", &a.RekeyAfterTime},
		{"RekeyTimeout", &a.RekeyTimeout},
		{"RejectAfterTime", &a.RejectAfterTime},
		{"KeepaliveTimeout", &a.KeepaliveTimeout},
		{"MaxHandshakeAttempts", &a.MaxHandshakeAttempts},
	} {
		c.set(awgField(v.key), v.value, "", why)
	}
	for _, v := range []struct {
		key string
		on  *bool
	}{{"RandomTrailers", &a.RandomTrailers}, {"DisableCookies", &a.DisableCookies}} {
		if *v.on {
			*v.on = false
			c.changes = append(c.changes, fmt.Sprintf("%s is switched off: %s.", awgField(v.key), why))
		}
	}
}

// fillS34 makes the paddings that came with 2.0, beside those that are given. Without S1 and S2, the
// mesh pads nothing.
func (c *converter) fillS34(from string) {
	a := &c.to.AWG
	if from != awg15 || a.S1 == "" && a.S2 == "" || a.S3 != "" || a.S4 != "" {
		return
	}
	s3, s4 := c.random.paddings(a.S1, a.S2, mostPadding)
	c.set("awg_s3", &a.S3, s3, "it came with 2.0")
	c.set("awg_s4", &a.S4, s4, "it came with 2.0")
}

// protect makes a header protection key, for which the paddings must be long enough.
func (c *converter) protect() error {
	a := &c.to.AWG
	for i, s := range []*string{&a.S1, &a.S2, &a.S3, &a.S4} {
		if n, err := strconv.Atoi(orZero(*s)); err == nil && n < noncePadding {
			c.set(fmt.Sprintf("awg_s%d", i+1), s, strconv.Itoa(noncePadding+i), "header protection needs 12 bytes or more")
		}
	}
	if a.HeaderProtectionKey == "" {
		key, err := NewPresharedKey(c.random.from)
		if err != nil {
			return err
		}
		c.set(awgField("HeaderProtectionKey"), &a.HeaderProtectionKey, key, "3.1 hides the headers of packets with it")
	}
	return nil
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

// differsInAWG returns the keys of values that a text has otherwise than the mesh.
func (m *Mesh) differsInAWG(t *Text) []string {
	want := sharedAWG(awgLines(m.config, store.AWGNode{}))
	var keys []string
	for _, key := range sharedAWGKeys {
		if t.awg[key] != want[key] {
			keys = append(keys, key)
		}
	}
	return keys
}
