package wgconf

import (
	"encoding/hex"
	"strconv"
	"strings"
)

// mostOfFormer is the length of a packet's description, in bytes, that amneziawg-tools before 3.0
// accept.
const mostOfFormer = 5<<10 - 1

// packetKey takes a packet's description: tags like <b 0xc0ff> and <r 16>, one after the other. The
// tools skip text outside of tags, and after a tag's one value.
func packetKey(name string) key {
	return key{name: name, in: interfaceSection, awg: true, raw: true, set: func(p *parser, v string) error {
		if len(v) > mostOfFormer {
			p.note(CodeAWGValues, "%s (line %d) has %d characters, and tools before AmneziaWG 3.0 take at most %d", name, p.line, len(v), mostOfFormer)
		}
		outside := false
		for rest := v; ; {
			before, after, opened := strings.Cut(rest, "<")
			before = strings.Trim(before, " \t")
			if _, err := decodeKey(before); err == nil {
				return problem("is a key (not shown), and so belongs to another line; write tags like <b 0xc0ff><r 16>")
			}
			outside = outside || before != ""
			if !opened {
				break
			}
			inner, next, closed := strings.Cut(after, ">")
			if !closed {
				return problem("%s has a tag without its >; write tags like <b 0xc0ff><r 16>", quote(v))
			}
			skipped, err := p.packetTag(name, strings.Fields(inner))
			if err != nil {
				return err
			}
			outside = outside || skipped
			rest = next
		}
		if outside {
			p.note(CodeAWGValues, "%s (line %d) has text beside its tags, which is not sent", name, p.line)
		}
		return nil
	}}
}

// packetTag checks one tag, given as its words, and reports whether the tools skip some of them.
func (p *parser) packetTag(key string, words []string) (skipped bool, err error) {
	if len(words) == 0 {
		return false, problem("has an empty tag <>; write tags like <b 0xc0ff><r 16>")
	}
	value, most := "", 1
	if len(words) > 1 {
		value = words[1]
	}
	switch tag := words[0]; tag {
	case "b":
		digits := strings.TrimPrefix(value, "0x")
		if _, err := hex.DecodeString(digits); err != nil || digits == "" {
			return false, problem("the tag <b …> needs whole bytes, two hexadecimal digits each, like <b 0xc0ff>")
		}
		most = 2
	case "r", "rc", "rd", "dz":
		if n, err := strconv.Atoi(value); err != nil || n < 0 || n > 65535 {
			return false, problem("the tag <%s …> needs a number of bytes from 0 to 65535, like <%s 16>", tag, tag)
		}
		most = 2
	case "c", "t", "d", "ds":
	default:
		return false, problem("%s is not a tag; there are b, r, rc, rd, t, c, d, ds and dz", quote("<"+tag+">"))
	}
	switch tag := words[0]; tag {
	case "c":
		p.note(CodeAWGValues, "%s (line %d) has the tag <c>, which the kernel module knows and amneziawg-go refuses", key, p.line)
	case "d", "ds", "dz":
		p.note(CodeAWGValues, "%s (line %d) has the tag <%s>, which amneziawg-go knows and the kernel module refuses", key, p.line, tag)
	}
	return len(words) > most, nil
}
