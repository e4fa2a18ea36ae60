package wgconf

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxSize bounds a config's text, in bytes: 128 KiB. A push carries it as a JSON string in one MQTT
// message (protocol.MaxMessageSize), where escapes make it longer. It bounds lines and peers too, at
// some 2,000; a limit of their own would only get in the way of long AllowedIPs.
const MaxSize = 128 << 10

// Parse reads text as the config of a tunnel of family "wg" or "awg" (protocol.ToolFamily). The
// error is an *Error.
func Parse(text, family string) (Config, error) {
	if family != "wg" && family != "awg" {
		return Config{}, &Error{Problem: "the tunnel protocol has to be WireGuard or AmneziaWG"}
	}
	if len(text) > MaxSize {
		return Config{}, &Error{Problem: fmt.Sprintf("the config has %d bytes; %d are the most a push can carry", len(text), MaxSize)}
	}
	p := parser{family: family, seen: map[string]int{}, peers: map[string]int{}}
	for line := range strings.SplitSeq(text, "\n") {
		p.line++
		if err := p.readLine(strings.TrimSuffix(line, "\r")); err != nil {
			return Config{}, &Error{Line: p.line, Problem: err.Error()}
		}
	}
	if err := p.finish(); err != nil {
		return Config{}, err
	}
	return p.config, nil
}

// parser is the state between two lines.
type parser struct {
	family  string
	config  Config
	section section
	line    int
	seen    map[string]int // line of each key in this section
	peers   map[string]int // line of each peer's PublicKey
	junk    junkSizes      // of AmneziaWG
	headers []header       // of AmneziaWG
}

type section int

const (
	noSection section = iota
	interfaceSection
	peerSection
)

func (s section) String() string {
	switch s {
	case interfaceSection:
		return "the [Interface] section"
	case peerSection:
		return "a [Peer] section"
	default:
		return "no section"
	}
}

// iface and peer are what the current section fills in.
func (p *parser) iface() *Interface { return &p.config.Interface }
func (p *parser) peer() *Peer       { return &p.config.Peers[len(p.config.Peers)-1] }

func (p *parser) readLine(line string) error {
	if err := checkText(line, p.line); err != nil {
		return err
	}
	line, _, _ = strings.Cut(line, "#") // also within a value, as the tools do
	line = strings.Trim(line, " \t")
	switch {
	case line == "":
		return nil
	case line[0] == '[':
		return p.open(line)
	}
	name, value, ok := strings.Cut(line, "=")
	if !ok {
		return problem(`is neither a section like [Peer] nor a "Key = value"`)
	}
	return p.set(strings.Trim(name, " \t"), strings.Trim(value, " \t"))
}

// checkText refuses what an editor does not show and the tools would stumble over.
func checkText(line string, number int) error {
	if number == 1 && strings.HasPrefix(line, "\uFEFF") {
		return problem("begins with a byte order mark, which the tools cannot read; save the text without it")
	}
	for _, r := range line {
		if r == utf8.RuneError && !utf8.ValidString(line) {
			return problem("is not UTF-8; save the text as UTF-8")
		}
		if unicode.IsControl(r) && r != '\t' {
			return problem("has the control character %U; remove it", r)
		}
	}
	return nil
}

// open begins a section.
func (p *parser) open(header string) error {
	switch lower(header) {
	case "[interface]":
		if first := p.iface().Line; first != 0 {
			return problem("there is a second [Interface] section; the first is on line %d", first)
		}
		p.section = interfaceSection
		p.iface().Line = p.line
	case "[peer]":
		p.section = peerSection
		p.config.Peers = append(p.config.Peers, Peer{Line: p.line})
	default:
		return problem("%s is no section; there are [Interface] and [Peer]", quote(header))
	}
	clear(p.seen)
	return nil
}

// set takes one "Key = value".
func (p *parser) set(name, value string) error {
	if p.section == noSection {
		return problem("stands before the first section; begin with [Interface]")
	}
	k, known := keys[lower(name)]
	switch {
	case !known:
		return unknownKey(name, p.family)
	case k.awg && p.family != "awg":
		return problem("%s: is a key of AmneziaWG, and this tunnel protocol is WireGuard; remove the line or change the protocol", k.name)
	case k.in != p.section:
		return problem("%s: belongs in %s", k.name, k.in)
	case value == "":
		return problem("%s: has no value; give one or remove the line", k.name)
	}
	if first, again := p.seen[k.name]; !again {
		p.seen[k.name] = p.line
	} else if !k.list {
		return problem("%s: is given twice; it stands on line %d already", k.name, first)
	}
	if err := k.set(p, value); err != nil {
		return problem("%s: %w", k.name, err)
	}
	return nil
}

// finish checks what only the whole text can tell.
func (p *parser) finish() *Error {
	iface := p.iface()
	switch {
	case iface.Line == 0:
		return &Error{Problem: "there is no [Interface] section"}
	case !iface.HasPrivateKey:
		return &Error{iface.Line, "this [Interface] has no PrivateKey; wg genkey makes one"}
	}
	for _, peer := range p.config.Peers {
		switch peer.PublicKey {
		case "":
			return &Error{peer.Line, "this [Peer] has no PublicKey; it is the other side's, as wg pubkey prints it"}
		case iface.PublicKey:
			return &Error{p.peers[peer.PublicKey], "PublicKey: is the key of this node itself; a peer needs the other side's"}
		}
	}
	if err := p.checkJunk(); err != nil {
		return err
	}
	return p.checkHeaders()
}

// problem is an error for a person, without the line.
func problem(format string, args ...any) error { return fmt.Errorf(format, args...) }

// lower folds ASCII only, as the tools do. The Kelvin sign is no k.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// unknownKey names the key that was probably meant.
func unknownKey(name, family string) error {
	words := "is no key of a WireGuard config"
	if family == "awg" {
		words = "is no key of an AmneziaWG config"
	}
	if meant := nearestKey(name, family); meant != "" {
		return problem("%s %s; did you mean %s?", quote(name), words, meant)
	}
	return problem("%s %s", quote(name), words)
}

// nearestKey is the key of the family that differs from name by little, or "".
func nearestKey(name, family string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune(" \t_-", r):
			return -1
		case r > unicode.MaxASCII: // a lookalike, one byte of difference
			return '?'
		}
		return r
	}, lower(name))
	best, least := "", 3
	for _, k := range keyList {
		if k.awg && family != "awg" || len(name) > len(k.name)+2 {
			continue
		}
		// Two changes make any two short keys alike.
		if d := distance(name, lower(k.name)); d < min(least, len(k.name)/2) {
			best, least = k.name, d
		}
	}
	return best
}

// distance counts the letters to change, add or drop to make a of b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
