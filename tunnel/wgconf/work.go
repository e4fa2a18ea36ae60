package wgconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The time that wg-quick needs on an idle PC, as measured. It trims each value with bash patterns,
// whose time grows with the square of the value's length, and it starts tools for each route and
// address.
const (
	timePerByteSquared = 60 * time.Nanosecond
	timePerTool        = 5 * time.Millisecond   // for a route, an address or an endpoint
	timePerHook        = 100 * time.Millisecond // a hook may wait for something
)

// QuickTime estimates how long wg-quick or awg-quick needs to take a tunnel up or down with the
// text, on an idle PC. Small boards need several times as long. Any text has an estimate, valid or
// not.
func QuickTime(text string) time.Duration {
	var total time.Duration
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		total += readTime(len(line))
		name, value, _ := strings.Cut(line, "=")
		switch lower(strings.TrimSpace(name)) {
		case "allowedips", "address":
			total += time.Duration(len(words(value))) * timePerTool
		case "endpoint":
			total += timePerTool
		case "preup", "postup", "predown", "postdown":
			total += timePerHook
		}
	}
	return total
}

// readTime returns the time for reading a line of that length.
func readTime(length int) time.Duration {
	n := time.Duration(min(length, MaxSize)) // its square does not overflow
	return n * n * timePerByteSquared
}

// MostExtra bounds the result of ExtraTime.
const MostExtra = 15 * time.Minute

// ExtraTime returns how much longer than usual a quick tool may take with the text, each time it
// takes a tunnel up or down: many times the estimate, for small or busy machines. The agent gives
// the tool that time, and the appliance waits for the agent accordingly. It is in whole seconds,
// and zero for an ordinary text.
func ExtraTime(text string) time.Duration {
	const many = 16 // a PC with twelve processes per processor was as slow
	return min(many*QuickTime(text), MostExtra).Truncate(time.Second)
}

// longLine is a line that alone costs wg-quick noticeable time.
type longLine struct {
	line, length int
	key          string
	networks     int // in AllowedIPs
	joined       int // number of these networks after joining neighbours
}

// slowEnough is the estimate from which on a warning is given.
const slowEnough = 10 * time.Second

// noteLong records lines that matter for the warning.
func (p *parser) noteLong(k key, value string, length int) {
	long := longLine{line: p.line, length: length, key: k.name}
	if readTime(length) < slowEnough/10 {
		return
	}
	if k.name == "AllowedIPs" {
		long.networks = len(words(value))
		before := p.peer().AllowedIPs
		long.joined = len(join(before[max(0, len(before)-long.networks):]))
	}
	p.config.longLines = append(p.config.longLines, long)
}

func (c Config) slow() Warning {
	if c.quickTime < slowEnough {
		return Warning{}
	}
	seconds := int(c.quickTime.Round(time.Second) / time.Second)
	w := Warning{Code: CodeSlow, Line: c.Interface.Line}
	const cost = "needs about %d s for this tunnel config on an idle PC, and several times that on a small machine, each time it starts or stops; " +
		"a push has the tunnel down meanwhile. "
	if len(c.longLines) == 0 {
		w.Message = fmt.Sprintf("The quick tool "+cost+"It starts a tool for each network and address: join neighbouring networks where that is possible.", seconds)
		return w
	}
	longest := slices.MaxFunc(c.longLines, func(a, b longLine) int { return a.length - b.length })
	w.Line = longest.line
	w.Message = fmt.Sprintf("The quick tool "+cost+"Its time grows with the square of a line's length, and line %d (%s) has %d characters. ",
		seconds, longest.line, longest.key, longest.length)
	switch {
	case longest.networks == 0:
		w.Message += "Shorten it."
	case longest.joined < longest.networks:
		w.Message += fmt.Sprintf("Spread its %d networks over lines of some 20 each, or join neighbours: they are %d networks if joined.", longest.networks,
			longest.joined)
	default:
		w.Message += fmt.Sprintf("Spread its %d networks over lines of some 20 each.", longest.networks)
	}
	return w
}

// join returns the shortest list of networks with the same addresses.
func join(networks []netip.Prefix) []netip.Prefix {
	sorted := slices.Clone(networks)
	slices.SortFunc(sorted, netip.Prefix.Compare) // a network comes before those within it
	var joined []netip.Prefix
	for _, next := range sorted {
		for n := len(joined); n > 0; n = len(joined) {
			last := joined[n-1]
			if last.Overlaps(next) { // within last, which is not longer
				next = last
				joined = joined[:n-1]
				continue
			}
			if last.Bits() != next.Bits() || last.Bits() == 0 {
				break
			}
			both := netip.PrefixFrom(last.Addr(), last.Bits()-1).Masked()
			if !both.Contains(next.Addr()) {
				break
			}
			next = both
			joined = joined[:n-1]
		}
		joined = append(joined, next)
	}
	return joined
}

// WhySlow says why a quick tool needs long for the text and how to shorten that. It is empty for a
// text that does not take long, and for one that Parse refuses.
func WhySlow(text, family string) string {
	c, err := Parse(text, family)
	if err != nil {
		return ""
	}
	return c.slow().Message
}
