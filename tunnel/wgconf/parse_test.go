package wgconf_test

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"wfm/tunnel/wgconf"
)

// Keys for these tests, made with wg genkey, wg pubkey and wg genpsk.
const (
	ourPrivate   = "+NQXIXn5esF+F5g0Ig8rH7Uq/qcXOZ6bo6XxNf093UM="
	ourPublic    = "hbEZRQcI3wbANli3IWjfLHGZD2Qk7S0Ai/FfGJK89kM="
	eastPublic   = "x/2Rl0Plxg+25yigSOPcniokesCLzvh6GaZ4aACyQiM="
	westPublic   = "raCsuMg2oOgt8LqnXjBy3gdm+LnRKJradBDjavAfDBE="
	presharedKey = "+DCaHqY2dqkzZPXHfdTgfSjK+OjHZJIwUcY7Zyf0Vf8="
)

// text builds a config: iface follows the PrivateKey of [Interface], and each of peers the
// PublicKey of a [Peer].
func text(iface string, peers ...string) string {
	s := "[Interface]\nPrivateKey = " + ourPrivate + "\n" + iface
	for i, peer := range peers {
		s += "\n[Peer]\nPublicKey = " + []string{eastPublic, westPublic}[i] + "\n" + peer
	}
	return s
}

func mustParse(t *testing.T, s, family string) wgconf.Config {
	t.Helper()
	c, err := wgconf.Parse(s, family)
	if err != nil {
		t.Fatalf("Parse: %v\n%s", err, s)
	}
	return c
}

func prefixes(all ...string) (list []netip.Prefix) {
	for _, s := range all {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

func TestParseReadsEveryKeyOfWGQuick(t *testing.T) {
	const whole = `# a site
[interface] # keys and sections in any case
privatekey=` + ourPrivate + `
Address = 10.7.0.2/24, fd07::2/64
ADDRESS = 10.8.0.2
ListenPort = 51820
DNS = 10.7.0.1 9.9.9.9,, corp.example ~.
DNS = fd07::1
MTU = 1380
Table = 1234
FwMark = 0xca6c
SaveConfig = True
PostUp = iptables -A FORWARD -i %i -j ACCEPT; echo "a = b"
PreDown = true # quietly
PostUp = ip rule add from 10.7.0.2 table 1234

[Peer]
	PublicKey =` + eastPublic + `
PresharedKey = ` + presharedKey + `
Endpoint = [2001:db8::5]:51820
AllowedIPs = 10.7.0.0/24 , fd07::/64
AllowedIPs = 192.0.2.77/24,203.0.113.9
PersistentKeepalive = 25
[PEER]
PublicKey = ` + westPublic + `
Endpoint = west.example.org:443
PersistentKeepalive = off`
	want := wgconf.Config{
		Interface: wgconf.Interface{
			HasPrivateKey: true, PublicKey: ourPublic,
			Addresses: prefixes("10.7.0.2/24", "fd07::2/64", "10.8.0.2/32"), AddressLine: 4,
			DNS:           []netip.Addr{netip.MustParseAddr("10.7.0.1"), netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("fd07::1")},
			SearchDomains: []string{"corp.example", "~."}, DNSLine: 7,
			ListenPort: 51820, MTU: 1380, Table: "1234", FwMark: "0xca6c", SaveConfig: true, SaveConfigLine: 12,
			Hooks: []wgconf.Hook{{Key: "PostUp", Line: 13}, {Key: "PreDown", Line: 14}, {Key: "PostUp", Line: 15}},
			Line:  2,
		},
		Peers: []wgconf.Peer{{
			PublicKey: eastPublic, HasPresharedKey: true, Endpoint: "[2001:db8::5]:51820",
			AllowedIPs:          prefixes("10.7.0.0/24", "fd07::/64", "192.0.2.0/24", "203.0.113.9/32"),
			PersistentKeepalive: 25, Line: 17, AllowedIPsLine: 21,
		}, {
			PublicKey: westPublic, Endpoint: "west.example.org:443", Line: 24,
		}},
	}
	for name, s := range map[string]string{
		"with line feeds":            whole,
		"with carriage returns":      strings.ReplaceAll(whole, "\n", "\r\n"),
		"with a line feed at an end": whole + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			got := mustParse(t, s, "wg")
			want := want.WithTimeOf(s)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("\n got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestParseAcceptsWhatTheToolsAccept(t *testing.T) {
	tests := map[string]string{
		"no peers":                    text(""),
		"a peer before the interface": "[Peer]\nPublicKey=" + eastPublic + "\n" + text(""),
		"fwmark off":                  text("FwMark = OFF"),
		"decimal fwmark":              text("FwMark = 4294967295"),
		"table by name":               text("Table = vpn.main"),
		"endpoint with a zone":        text("", "Endpoint = [fe80::1%eth0]:51820"),
		"endpoint by IPv4":            text("", "Endpoint = 192.0.2.1:65535"),
		"endpoint with underscores":   text("", "Endpoint = _vpn.example.org.:51820"),
		"bare IPv6 AllowedIPs":        text("", "AllowedIPs = ::1, 0.0.0.0/0,::/0"),
		"a port of 0":                 text("ListenPort = 0"),
		"no keepalive":                text("", "PersistentKeepalive = 0"),
		"not to save":                 text("SaveConfig = false"),
		"the same network twice":      text("", "AllowedIPs = 10.0.0.0/8, 10.0.0.0/8"),
		"comments alone":              text("  # one\n#two\n\t#three #four"),
		"words of any script":         text("PostUp = echo 'grüß dich, 世界'"),
	}
	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			mustParse(t, s, "wg")
			mustParse(t, s, "awg")
		})
	}
}

func TestParseSaysWhatIsWrongAndWhere(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", "", "there is no [Interface] section"},
		{"no interface", "[Peer]\nPublicKey = " + eastPublic, "there is no [Interface] section"},
		{"two interfaces", text("[Interface]"), "line 3: there is a second [Interface] section; the first is on line 1"},
		{"no public key", text("[Peer]\nAllowedIPs = 10.0.0.0/8"), "line 3: this [Peer] has no PublicKey; add the other side's, as wg pubkey prints it"},
		{"unknown section", text("[Peers]"), `line 3: "[Peers]" is not a section; there are [Interface] and [Peer]`},
		{"open section", text("[Peer"), `line 3: "[Peer" is not a section; there are [Interface] and [Peer]`},
		{"before any section", "ListenPort = 1", "line 1: stands before the first section; begin with [Interface]"},
		{"no key and value", text("ListenPort"), `line 3: is neither a section like [Peer] nor a "Key = value"`},
		{"byte order mark", "\uFEFF" + text(""), "line 1: begins with a byte order mark, which the tools cannot read; save the text without it"},
		{"NUL", text("PostUp = a\x00b"), "line 3: has the control character U+0000; remove it"},
		{"bare carriage return", text("PostUp = a\rb"), "line 3: has the control character U+000D; remove it"},
		{"escape in a comment", text("# \x1b[2J"), "line 3: has the control character U+001B; remove it"},
		{"not UTF-8", text("# \xff"), "line 3: is not UTF-8; save the text as UTF-8"},
		{
			"too large", text(strings.Repeat("#", wgconf.MaxSize)),
			"the config has 262214 bytes, more than the limit of 262144; leave out comments and peers that are not needed",
		},

		{"typing error", text("", "AllowedIP = 10.0.0.0/8"), `line 6: "AllowedIP" is not a key of a WireGuard config; did you mean AllowedIPs?`},
		{"spaces in a key", text("Private Key = x"), `line 3: "Private Key" is not a key of a WireGuard config; did you mean PrivateKey?`},
		{
			"dashes in a key", text("", "persistent-keepalive = 25"),
			`line 6: "persistent-keepalive" is not a key of a WireGuard config; did you mean PersistentKeepalive?`,
		},
		{"far from any key", text("Color = red"), `line 3: "Color" is not a key of a WireGuard config`},
		{"not ASCII", text("ListenPort\u00a0 = 1"), `line 3: "ListenPort\u00a0" is not a key of a WireGuard config; did you mean ListenPort?`},
		{
			"Kelvin sign", text("", "PersistentKeepalive = 1\nPublic\u212aey = x"),
			`line 7: "Public\u212aey" is not a key of a WireGuard config; did you mean PublicKey?`,
		},
		{"in the wrong section", text("", "MTU = 1420"), "line 6: MTU: belongs in the [Interface] section"},
		{"in the wrong section too", text("Endpoint = a:1"), "line 3: Endpoint: belongs in a [Peer] section"},
		{"no value", text("", "AllowedIPs = # none"), "line 6: AllowedIPs: has no value; give one or remove the line"},
		{"twice", text("MTU = 1420\n\nmtu = 1380"), "line 5: MTU: is given twice; it is already on line 3"},
		{"two private keys", text("PrivateKey = " + ourPrivate), "line 3: PrivateKey: is given twice; it is already on line 2"},
		{
			"same peer twice", text("", "") + "\n[Peer]\nPublicKey = " + eastPublic,
			"line 8: PublicKey: the peer with this key is already on line 5, and the tools would drop the first; list each peer once",
		},

		{"short key", "[Interface]\nPrivateKey = AAAA", "line 2: PrivateKey: is not a key; a key is 32 bytes in base64, 44 characters with a = at the end"},
		{
			"stray bits in a key", text("", "PresharedKey = "+strings.Replace(presharedKey, "8=", "9=", 1)),
			"line 6: PresharedKey: is not a key; a key is 32 bytes in base64, 44 characters with a = at the end",
		},
		{"key of zeros", "[Interface]\nPrivateKey = " + strings.Repeat("A", 43) + "=", "line 2: PrivateKey: is all zeros, which the tools take for no key at all"},
		{"port", text("ListenPort = 65536"), `line 3: ListenPort: "65536" is not a number from 0 to 65535`},
		{"port by name", text("ListenPort = domain"), `line 3: ListenPort: "domain" is not a number from 0 to 65535`},
		{"signed", text("ListenPort = +1"), `line 3: ListenPort: "+1" is not a number from 0 to 65535`},
		{"MTU", text("MTU = 67"), `line 3: MTU: "67" is not a number from 68 to 65535`},
		{"octal", text("MTU = 01420"), `line 3: MTU: "01420" is not a number from 68 to 65535`},
		{"keepalive", text("", "PersistentKeepalive = 70000"), `line 6: PersistentKeepalive: "70000" is not a number from 0 to 65535`},
		{"fwmark", text("FwMark = 0x100000000"), `line 3: FwMark: "0x100000000" is neither off nor a number of 32 bits, decimal or like 0xca6c`},
		{"fwmark 0X", text("FwMark = 0Xca6c"), `line 3: FwMark: "0Xca6c" is neither off nor a number of 32 bits, decimal or like 0xca6c`},
		{"table", text("Table = -1"), `line 3: Table: "-1" is neither off, auto, nor the number or name of a routing table`},
		{"table 0", text("Table = 0"), `line 3: Table: "0" is not a number from 1 to 4294967295`},
		{"table Off", text("Table = Off"), "line 3: Table: write off in lower case, the only form that wg-quick knows"},
		{"save config", text("SaveConfig = yes"), `line 3: SaveConfig: "yes" is neither true nor false`},
		{"save config in Unicode", text("SaveConfig = fal\u017fe"), `line 3: SaveConfig: "fal\u017fe" is neither true nor false`},
		{"address", text("Address = 10.0.0.256/24"), `line 3: Address: "10.0.0.256/24" is not an address or network`},
		{"address with a zone", text("Address = fe80::1%eth0"), `line 3: Address: "fe80::1%eth0" is not an address or network`},
		{"DNS", text("DNS = 9.9.9"), `line 3: DNS: "9.9.9" is not an address`},
		{"search domain", text("DNS = 9.9.9.9, corp_*.example"), `line 3: DNS: "corp_*.example" is neither an address nor a search domain`},
		{"AllowedIPs", text("", "AllowedIPs = 10.0.0.0/8, 10.0.0.0/33"), `line 6: AllowedIPs: "10.0.0.0/33" is not an address or network`},
		{"comma at the end", text("", "AllowedIPs = 10.0.0.0/8,"), "line 6: AllowedIPs: there is nothing between two commas, or after the last"},
		{"no comma", text("", "AllowedIPs = 10.0.0.1 10.0.0.2"), `line 6: AllowedIPs: "10.0.0.1 10.0.0.2" is not an address or network`},
		{"no port", text("", "Endpoint = example.org"), `line 6: Endpoint: "example.org" is not an endpoint; write host:port, or [address]:port for IPv6`},
		{
			"no brackets", text("", "Endpoint = 2001:db8::1:51820"),
			`line 6: Endpoint: "2001:db8::1:51820" is not an endpoint; write host:port, or [address]:port for IPv6`,
		},
		{
			"IPv4 in brackets", text("", "Endpoint = [192.0.2.1]:1"),
			`line 6: Endpoint: "[192.0.2.1]:1" is not an endpoint; write host:port, or [address]:port for IPv6`,
		},
		{
			"endpoint like an address", text("", "Endpoint = 192.0.2.256:1"),
			`line 6: Endpoint: "192.0.2.256:1" is not an endpoint; write host:port, or [address]:port for IPv6`,
		},
		{"endpoint's port", text("", "Endpoint = example.org:0"), `line 6: Endpoint: the port "0" is not a number from 1 to 65535`},
		{"a long value", text("Table = " + strings.Repeat("x.", 100)), `line 3: Table: "` + strings.Repeat("x.", 30) +
			`"… is neither off, auto, nor the number or name of a routing table`},
		{"AmneziaWG", text("Jc = 4"), "line 3: Jc: is a key of AmneziaWG, and this tunnel protocol is WireGuard; remove the line or change the protocol"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { expectError(t, tt.text, "wg", tt.want) })
	}
}

func expectError(t *testing.T, s, family, want string) {
	t.Helper()
	c, err := wgconf.Parse(s, family)
	if _, ok := errors.AsType[*wgconf.Error](err); !ok {
		t.Fatalf("error of type %T: %v", err, err)
	}
	if got := err.Error(); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if !reflect.DeepEqual(c, wgconf.Config{}) {
		t.Errorf("an error comes with a config: %+v", c)
	}
}

func TestParseKnowsNoOtherFamily(t *testing.T) {
	for _, family := range []string{"", "wireguard", "WG"} {
		expectError(t, text(""), family, "the tunnel protocol must be WireGuard or AmneziaWG")
	}
}

// People forget a line break or an equals sign, and write a key after the wrong name.
func TestNoErrorShowsAKey(t *testing.T) {
	for _, line := range []string{
		"PrivateKey = %x", "PrivateKey %", "PrivateKey: %", "PrivateKey =\n%", "%",
		"PrivateKeyy = %", "%%", "% = 1", "[%]", "[Interface]%",
		"ListenPort = 51820 PrivateKey = %", "Address = 10.0.0.2/24 PrivateKey=%", "Address = %", "DNS = %", "DNS = 1.1.1.1, %",
		"Table = %", "FwMark = %", "FwMark = 0x%", "SaveConfig = %", "MTU = %", "HeaderProtectionKey = %x", "I1 = %", "H1 = %", "RandomTrailers = %",
		"[Peer]\nPublicKey = %x", "[Peer]\nPresharedKey = x%", "[Peer]\nEndpoint = %", "[Peer]\nEndpoint = a:%", "[Peer]\nEndpoint = [%]:1",
		"[Peer]\nAllowedIPs = %", "[Peer]\nAllowedIPs = 10.0.0.0/8 PresharedKey = %", "[Peer]\nPersistentKeepalive = 25PresharedKey=%",
	} {
		for _, family := range []string{"wg", "awg"} {
			_, err := wgconf.Parse("[Interface]\n"+strings.ReplaceAll(line, "%", presharedKey), family)
			if err == nil {
				t.Errorf("%q is accepted", line)
				continue
			}
			for i := range len(presharedKey) - 12 {
				if part := presharedKey[i : i+12]; strings.Contains(err.Error(), part) {
					t.Errorf("%q: the error shows %q of a key: %v", line, part, err)
					break
				}
			}
		}
	}
}
