package wire

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"wfm/internal/plaintext"
	"wfm/protocol"
)

// Rule checks a string from a client. It returns the string to store, or a problem, worded to
// follow the field's name.
type Rule func(string) (clean, problem string)

// Line accepts one line of low to high characters, after trimming.
func Line(low, high int) Rule {
	return func(v string) (string, string) {
		v = strings.TrimSpace(v)
		switch n := utf8.RuneCountInString(v); {
		case n < low && low == 1:
			return "", "must not be empty"
		case n < low || n > high:
			return "", fmt.Sprintf("must have %d to %d characters", low, high)
		case strings.ContainsFunc(v, plaintext.Unseen):
			return "", "must not contain control or invisible characters"
		}
		return v, ""
	}
}

// Prose accepts at most limit characters, including line breaks and tabs.
func Prose(limit int) Rule {
	return func(v string) (string, string) {
		v = strings.TrimSpace(v)
		if utf8.RuneCountInString(v) > limit {
			return "", fmt.Sprintf("must have at most %d characters", limit)
		}
		if strings.ContainsFunc(v, func(r rune) bool { return plaintext.Unseen(r) && !strings.ContainsRune("\r\n\t\u200d", r) }) {
			return "", "must not contain control or invisible characters"
		}
		return v, ""
	}
}

// OneOf accepts one of the choices.
func OneOf(choices ...string) Rule {
	return func(v string) (string, string) {
		if !slices.Contains(choices, v) {
			return "", "must be one of " + strings.Join(choices, ", ")
		}
		return v, ""
	}
}

// Network accepts an address or a network, and returns it with the length of its prefix.
func Network(v string) (clean, problem string) {
	v = strings.TrimSpace(v)
	if a, err := netip.ParseAddr(v); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()).String(), ""
	}
	p, err := netip.ParsePrefix(v)
	if err != nil {
		return "", "must be a network like 192.168.1.0/24"
	}
	return p.String(), ""
}

// AWGVersion accepts "" or a version of AmneziaWG.
func AWGVersion(v string) (clean, problem string) {
	if v != "" && !protocol.ValidAWGVersion(v) {
		return "", "must be empty or a version of AmneziaWG: 1.5, 2.0 or 3.1"
	}
	return v, ""
}

// ConfText accepts any text but "". It does not trim, since a config reaches the node byte for
// byte.
func ConfText(v string) (clean, problem string) {
	if v == "" {
		return "", "must not be empty"
	}
	return v, ""
}

// LinuxInterface is the problem with a name that Linux does not accept for an interface.
const LinuxInterface = "must be the name of a Linux network interface: 1 to 15 of the characters A-Z a-z 0-9 _ = + . -, without a leading dash"

// longInterface matches the names of tunnels that Windows accepts and Linux does not.
var longInterface = regexp.MustCompile(`^[A-Za-z0-9_=+.][A-Za-z0-9_=+.-]{15,63}$`)

// InterfaceName accepts "", a Linux interface name, or a longer one; the caller decides whether the
// node may have a longer one.
func InterfaceName(v string) (clean, problem string) {
	if v != "" && !protocol.ValidInterfaceName(v) && !longInterface.MatchString(v) {
		return "", LinuxInterface
	}
	return v, ""
}
