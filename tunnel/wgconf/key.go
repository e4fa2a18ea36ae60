package wgconf

import (
	"net/netip"
	"strings"
)

// key is one key of the grammar.
type key struct {
	name string
	in   section
	list bool // it may be repeated, and the values add up
	awg  bool // only for AmneziaWG
	// quick marks keys that wg-quick handles itself and ignores if they are empty. All other keys
	// are refused then, those of wg(8) by wg, and SaveConfig by wg-quick.
	quick bool
	hook  bool
	raw   bool // spaces within the value matter; elsewhere wg(8) drops them
	set   func(p *parser, value string) error
}

// keyList is the grammar of wg(8) and wg-quick(8); awgKeys adds AmneziaWG's.
var keyList = append([]key{
	{name: "PrivateKey", in: interfaceSection, set: setPrivateKey},
	{name: "ListenPort", in: interfaceSection, set: func(p *parser, v string) error {
		n, err := number(v, 0, 65535)
		p.iface().ListenPort = int(n)
		return err
	}},
	{name: "FwMark", in: interfaceSection, set: setFwMark},
	{name: "Address", in: interfaceSection, list: true, quick: true, set: setAddress},
	{name: "DNS", in: interfaceSection, list: true, quick: true, set: setDNS},
	// 68 is the least MTU for IPv4; the tools pass any value to the system.
	{name: "MTU", in: interfaceSection, quick: true, set: func(p *parser, v string) error {
		n, err := number(v, 68, 65535)
		p.iface().MTU, p.mtuLine = int(n), p.line
		return err
	}},
	{name: "Table", in: interfaceSection, quick: true, set: setTable},
	{name: "SaveConfig", in: interfaceSection, raw: true, set: setSaveConfig},
	hookKey("PreUp"), hookKey("PostUp"), hookKey("PreDown"), hookKey("PostDown"),

	{name: "PublicKey", in: peerSection, set: setPublicKey},
	{name: "PresharedKey", in: peerSection, set: func(p *parser, v string) error {
		key, err := decodeKey(v)
		p.peer().HasPresharedKey = err == nil && !isZero(key)
		if err == nil && isZero(key) {
			p.note(CodeNoPresharedKey, "line %d", p.line)
		}
		return err
	}},
	{name: "Endpoint", in: peerSection, set: func(p *parser, v string) error {
		p.peer().Endpoint = v
		return checkEndpoint(v)
	}},
	{name: "AllowedIPs", in: peerSection, list: true, set: setAllowedIPs},
	{name: "PersistentKeepalive", in: peerSection, set: setKeepalive},
}, awgKeys...)

// keys maps the name of a key, in lower case, to the key.
var keys = func() map[string]key {
	m := make(map[string]key, len(keyList))
	for _, k := range keyList {
		m[lower(k.name)] = k
	}
	return m
}()

func setPrivateKey(p *parser, v string) error {
	if v == KeptOnNode {
		p.iface().KeptLine, p.iface().PublicKey = p.line, keptKey(p.rest)
		return nil
	}
	if v == Hidden {
		return problem("%s keeps the key of the version before, which has none; give the key", Hidden)
	}
	secret, err := decodeKey(v)
	if err != nil {
		return err
	}
	if isZero(secret) {
		return errZeroKey
	}
	if p.iface().PublicKey, err = publicKey(secret); err != nil {
		return err
	}
	p.iface().HasPrivateKey = true
	return nil
}

func setPublicKey(p *parser, v string) error {
	p.named[len(p.named)-1] = true
	key, err := decodeKey(v)
	if err != nil {
		return err
	}
	if isZero(key) {
		return errZeroKey
	}
	if first, again := p.peers[v]; again {
		return problem("the peer with this key is already on line %d, and the tools would drop the first; list each peer once", first)
	}
	p.peers[v] = p.line
	p.peer().PublicKey = v
	return nil
}

// setKeepalive also accepts a range, as AmneziaWG does since 3.0.
func setKeepalive(p *parser, v string) error {
	if lower(v) == "off" {
		return nil
	}
	var longest uint32
	var err error
	if p.family == "awg" {
		_, longest, err = numbers(v, 65535)
	} else {
		longest, err = number(v, 0, 65535)
	}
	p.peer().PersistentKeepalive = int(longest)
	return err
}

func setFwMark(p *parser, v string) error {
	p.iface().FwMark = v
	return checkFwMark(v)
}

func setTable(p *parser, v string) error {
	p.iface().Table = v
	return checkTable(v)
}

func setSaveConfig(p *parser, v string) error {
	p.iface().SaveConfigLine = p.line
	switch lower(v) {
	case "true":
		p.iface().SaveConfig = true
	case "false":
	default:
		return problem("%s is neither true nor false", quote(v))
	}
	return nil
}

func hookKey(name string) key {
	return key{name: name, in: interfaceSection, list: true, quick: true, hook: true, set: func(p *parser, v string) error {
		p.iface().Hooks = append(p.iface().Hooks, Hook{name, p.line, hookSetsKey(name, v)})
		return nil
	}}
}

// words splits v at commas and spaces, as wg-quick splits its own lists.
func words(v string) []string {
	return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// squeeze drops the spaces beside punctuation, as in "100 - 200" or "host : 51820". wg(8) also
// drops those between two words, and so reads "10.0.0.1 1/32" as another address. Such a value
// keeps its spaces, and is refused.
func squeeze(v string) string {
	if !strings.ContainsAny(v, " \t") {
		return v
	}
	fields := strings.Fields(v)
	var b strings.Builder
	for i, field := range fields {
		if i > 0 && isName(field[:1], "") && isName(fields[i-1][len(fields[i-1])-1:], "") {
			b.WriteByte(' ')
		}
		b.WriteString(field)
	}
	return b.String()
}

func setAddress(p *parser, v string) error {
	var wrong []error
	for _, s := range words(v) {
		prefix, err := parsePrefix(s)
		if err == nil {
			err = p.checkAddress(prefix)
		}
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if p.iface().AddressLine == 0 {
			p.iface().AddressLine = p.line
		}
		p.iface().Addresses = append(p.iface().Addresses, prefix)
	}
	return problems(wrong)
}

// checkAddress refuses addresses that the kernel refuses for a tunnel: the same address twice,
// where IPv4 addresses with networks of different lengths differ and IPv6 addresses do not, and
// some kinds of IPv6 addresses.
func (p *parser) checkAddress(address netip.Prefix) error {
	addr := address.Addr()
	if addr.Is6() && (addr.IsMulticast() || addr.IsLoopback() || addr.IsUnspecified()) {
		return problem("%s cannot be the address of a tunnel", addr)
	}
	same := address
	if addr.Is6() {
		same = netip.PrefixFrom(addr, addr.BitLen())
	}
	first, again := p.addresses[same]
	switch {
	case again && first == p.line:
		return problem("%s is given twice on this line (line %d), and the kernel takes an address once; remove one", addr, p.line)
	case again:
		return problem("%s is given twice; it is already on line %d, and the kernel takes an address once; remove one", addr, first)
	}
	p.addresses[same] = p.line
	return nil
}

func setDNS(p *parser, v string) error {
	if p.iface().DNSLine == 0 {
		p.iface().DNSLine = p.line
	}
	var wrong []error
	for _, s := range words(v) {
		// wg-quick uses this test to recognize a server.
		if strings.Trim(s, "0123456789.") != "" && !strings.Contains(s, ":") {
			if !validDomain(s) {
				wrong = append(wrong, problem("%s is neither an address nor a search domain", quote(s)))
				continue
			}
			p.iface().SearchDomains = append(p.iface().SearchDomains, s)
			continue
		}
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			wrong = append(wrong, problem("%s is not an address", quote(s)))
			continue
		}
		p.iface().DNS = append(p.iface().DNS, addr)
	}
	return problems(wrong)
}

// setAllowedIPs splits v at commas only: wg drops spaces and reads "10.0.0.1 10.0.0.2" as one word.
func setAllowedIPs(p *parser, v string) error {
	peer := p.peer()
	if peer.AllowedIPsLine == 0 {
		peer.AllowedIPsLine = p.line
	}
	var wrong []error
	for s := range strings.SplitSeq(v, ",") {
		prefix, err := parsePrefix(s)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		peer.AllowedIPs = append(peer.AllowedIPs, prefix.Masked())
	}
	return problems(wrong)
}
