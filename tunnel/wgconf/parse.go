package wgconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"wfm/protocol"
)

// MaxSize bounds a config's text, in bytes: a longer one cannot fit into a message to a node, which
// carries it as a JSON string. It also bounds lines and peers, which have no limits of their own.
const MaxSize = protocol.MaxMessageSize

// Parse reads text as the config of a tunnel. family is "wg" or "awg" (protocol.ToolFamily). An
// error is an *Error that names every fault.
func Parse(text, family string) (Config, error) {
	if family != "wg" && family != "awg" {
		return Config{}, NewError("the tunnel protocol must be WireGuard or AmneziaWG")
	}
	if len(text) > MaxSize {
		return Config{}, NewError(fmt.Sprintf("the config has %d bytes, more than the limit of %d; leave out comments and peers that are not needed",
			len(text), MaxSize))
	}
	p := parser{family: family, seen: map[string]int{}, peers: map[string]int{}, addresses: map[netip.Prefix]int{}}
	for line := range strings.SplitSeq(text, "\n") {
		p.line++
		if err := p.readLine(strings.TrimSuffix(line, "\r")); err != nil {
			p.fault(p.line, "%w", err)
		}
	}
	p.finish()
	p.config.quickTime = QuickTime(text)
	if len(p.faults) > 0 {
		slices.SortStableFunc(p.faults, func(a, b Fault) int { return a.Line - b.Line })
		return Config{}, &Error{p.faults}
	}
	return p.config, nil
}

// parser holds the state of Parse between two lines.
type parser struct {
	family    string
	config    Config
	faults    []Fault
	section   section
	line      int
	rest      string               // of the line, after its #
	seen      map[string]int       // line of each key in the current section
	peers     map[string]int       // line of each peer's PublicKey
	addresses map[netip.Prefix]int // line of each Address, see checkAddress
	named     []bool               // for each peer: it has a PublicKey, valid or not
	astray    bool                 // some lines are in no section, because of another fault
	mtuLine   int
	awg       awgValues
}

// fault records a fault of a line; 0 stands for the whole text.
func (p *parser) fault(line int, format string, args ...any) {
	p.faults = append(p.faults, Fault{line, problem(format, args...).Error()})
}

// note records a warning about this line.
func (p *parser) note(code, format string, args ...any) {
	p.noteAt(p.line, code, format, args...)
}

func (p *parser) noteAt(line int, code, format string, args ...any) {
	p.config.notes = append(p.config.notes, note{code, line, fmt.Sprintf(format, args...)})
}

type section int

const (
	noSection section = iota
	interfaceSection
	peerSection
	unknownSection // after an invalid or missing header: the meaning of its lines is unknown
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

// iface and peer are the section being read.
func (p *parser) iface() *Interface { return &p.config.Interface }
func (p *parser) peer() *Peer       { return &p.config.Peers[len(p.config.Peers)-1] }

func (p *parser) readLine(line string) error {
	if text, found := strings.CutPrefix(line, "\uFEFF"); found && p.line == 1 {
		p.fault(p.line, "begins with a byte order mark, which the tools cannot read; save the text without it")
		line = text
	}
	if err := checkText(line); err != nil {
		return err
	}
	read, rest, cut := strings.Cut(line, "#") // also within a value, as the tools cut
	p.rest = rest
	trimmed := strings.Trim(read, " \t")
	switch {
	case trimmed == "":
		return nil
	case trimmed[0] == '[':
		return p.open(trimmed)
	}
	name, value, ok := strings.Cut(trimmed, "=")
	if !ok {
		if p.section == unknownSection {
			return nil
		}
		return problem(`is neither a section like [Peer] nor a "Key = value"`)
	}
	glued := cut && !strings.HasSuffix(read, " ") && !strings.HasSuffix(read, "\t")
	return p.set(strings.Trim(name, " \t"), strings.Trim(value, " \t"), comment{cut, glued}, len(trimmed))
}

// checkText refuses characters that an editor does not show and that trip the tools.
func checkText(line string) error {
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
	clear(p.seen)
	switch lower(header) {
	case "[interface]":
		p.section = interfaceSection
		if first := p.iface().Line; first != 0 {
			return problem("there is a second [Interface] section; the first is on line %d", first)
		}
		p.iface().Line = p.line
	case "[peer]":
		p.section = peerSection
		p.config.Peers = append(p.config.Peers, Peer{Line: p.line})
		p.named = append(p.named, false)
	default:
		p.section, p.astray = unknownSection, true
		return problem("%s is not a section; there are [Interface] and [Peer]", quote(header))
	}
	return nil
}

// comment is the rest of a line after its value.
type comment struct {
	follows bool
	glued   bool // no space before the #
}

// set takes one "Key = value"; length is that of the line in bytes.
func (p *parser) set(name, value string, after comment, length int) error {
	k, known := keys[lower(name)]
	switch {
	case p.section == unknownSection:
		return nil
	case p.section == noSection:
		p.section, p.astray = unknownSection, true
		return problem("stands before the first section; begin with [Interface]")
	case !known:
		return unknownKey(name, p.family)
	case k.awg && p.family != "awg":
		return problem("%s: is a key of AmneziaWG, and this tunnel protocol is WireGuard; remove the line or change the protocol", k.name)
	case k.in != p.section:
		return problem("%s: belongs in %s", k.name, k.in)
	case value == "" && !k.quick:
		p.seen[k.name] = p.line
		return problem("%s: has no value; give one or remove the line", k.name)
	}
	first, again := p.seen[k.name]
	if again && !k.list {
		return problem("%s: is given twice; it is already on line %d", k.name, first)
	}
	p.noteCut(k, value, after)
	if value == "" { // wg-quick ignores its own keys then
		p.note(CodeEmptyValue, "%s on line %d", k.name, p.line)
		return nil
	}
	if !again {
		p.seen[k.name] = p.line
	}
	if !k.quick && !k.raw {
		value = squeeze(value)
	}
	if err := k.set(p, value); err != nil {
		return problem("%s: %w", k.name, err)
	}
	p.noteLong(k, value, length)
	return nil
}

// problem returns an error for people, without the line.
func problem(format string, args ...any) error { return fmt.Errorf(format, args...) }

// problems joins the faults of single words of a value.
func problems(all []error) error {
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	const most = 5 // a line may hold thousands
	text := make([]string, 0, most+1)
	for _, err := range all[:min(len(all), most)] {
		text = append(text, err.Error())
	}
	if more := len(all) - most; more > 0 {
		text = append(text, fmt.Sprintf("and %d more", more))
	}
	return problem("%s", strings.Join(text, ", "))
}
