package wgconf

import (
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"wfm/protocol"
)

// number parses a decimal number from low to high. A leading zero is refused, since it means octal
// to ip(8) and nothing to wg(8).
func number(s string, low, high uint32) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || uint32(n) < low || uint32(n) > high || len(s) > 1 && s[0] == '0' {
		return 0, problem("%s is not a number from %d to %d", quote(s), low, high)
	}
	return uint32(n), nil
}

// numbers reads "n" or "n-m" with n ≤ m ≤ high.
func numbers(s string, high uint32) (from, to uint32, err error) {
	first, last, isRange := strings.Cut(s, "-")
	if from, err = number(first, 0, high); err == nil {
		to = from
		if isRange {
			to, err = number(last, from, high)
		}
	}
	if err != nil {
		return 0, 0, problem("%s is neither a number nor a range like 100-200, from 0 to %d", quote(s), high)
	}
	return from, to, nil
}

var errNotKey = errors.New("is not a key; a key is 32 bytes in base64, 44 characters with a = at the end")

// decodeKey reads a key. Its errors never show the value.
func decodeKey(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != 32 {
		return nil, errNotKey
	}
	return b, nil
}

var errZeroKey = errors.New("is all zeros, which the tools take for no key at all")

func isZero(key []byte) bool { return bytes.Equal(key, make([]byte, len(key))) }

// publicKey returns the output of wg pubkey.
func publicKey(private []byte) (string, error) {
	k, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		return "", errNotKey // not err, which could show the secret
	}
	return base64.StdEncoding.EncodeToString(k.PublicKey().Bytes()), nil
}

func checkFwMark(s string) error {
	if lower(s) == "off" {
		return nil
	}
	digits, hex := strings.CutPrefix(s, "0x")
	if hex {
		if _, err := strconv.ParseUint(digits, 16, 32); err == nil {
			return nil
		}
	} else if _, err := number(s, 0, math.MaxUint32); err == nil {
		return nil
	}
	return problem("%s is neither off nor a number of 32 bits, decimal or like 0xca6c", quote(s))
}

func checkTable(s string) error {
	const most = 32 // bytes of a name; the system's own have fewer than ten
	switch {
	case s == "off", s == "auto":
		return nil
	case lower(s) == "off", lower(s) == "auto":
		return problem("write %s in lower case, the only form that wg-quick knows", lower(s))
	case strings.Trim(s, "0123456789") == "":
		_, err := number(s, 1, math.MaxUint32)
		return err
	case len(s) <= most && isName(s, "_.-") && s[0] != '-' && s[0] != '.':
		return nil
	}
	return problem("%s is neither off, auto, nor the number or name of a routing table", quote(s))
}

// isName reports whether s has only ASCII letters, digits and the characters of more.
func isName(s, more string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', strings.IndexByte(more, c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// parsePrefix parses an address with or without the length of its network; the default is the
// address alone.
func parsePrefix(s string) (netip.Prefix, error) {
	if prefix, err := netip.ParsePrefix(s); err == nil {
		return prefix, nil
	}
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if s == "" {
		return netip.Prefix{}, problem("there is nothing between two commas, or after the last")
	}
	return netip.Prefix{}, problem("%s is not an address or network", quote(s))
}

func checkEndpoint(s string) error {
	const form = "%s is not an endpoint; write host:port, or [address]:port for IPv6"
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return problem(form, quote(s))
	}
	host, port := s[:i], s[i+1:]
	if _, err := number(port, 1, 65535); err != nil {
		return problem("the port %w", err)
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !strings.HasSuffix(inner, "]") || !addr.Is6() ||
			addr.Zone() != "" && !protocol.ValidInterfaceName(addr.Zone()) {
			return problem(form, quote(s))
		}
		return nil
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is4() {
		return nil
	}
	if !validHost(host) {
		return problem(form, quote(s))
	}
	return nil
}

// validHost reports whether s can be resolved as a name. If its last part is a number, it is meant
// as an address.
func validHost(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if len(s) > 253 {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if len(label) > 63 || !isName(label, "-_") || label[0] == '-' {
			return false
		}
		last = label
	}
	return strings.Trim(last, "0123456789") != ""
}

// validDomain is validHost for a search domain. systemd-resolved marks a domain for routing only
// with a tilde, and "~." means all.
func validDomain(s string) bool {
	s, routing := strings.CutPrefix(s, "~")
	return routing && s == "." || validHost(s)
}
