package wgconf_test

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"wfm/tunnel/wgconf"
)

// codes returns the warnings of a config by code.
func codes(c wgconf.Config) map[string]wgconf.Warning {
	found := map[string]wgconf.Warning{}
	for _, w := range c.Warnings(wgconf.Reach{}) {
		found[w.Code] = w
	}
	return found
}

// wg-quick ignores its own keys without a value. wg refuses its keys, and wg-quick's read_bool
// refuses SaveConfig.
func TestEmptyValuesAreTakenAsTheToolsTakeThem(t *testing.T) {
	for _, key := range []string{"Address", "DNS", "MTU", "Table", "PreUp", "PostUp", "PreDown", "PostDown"} {
		for _, value := range []string{"", " ", "\t", " # none", "#none"} {
			c := mustParse(t, text(key+" ="+value+"\nListenPort = 1"), "wg")
			w := codes(c)
			if w[wgconf.CodeEmptyValue].Line != 3 || !strings.Contains(w[wgconf.CodeEmptyValue].Message, key+" on line 3") || len(w) != 1 {
				t.Errorf("%s =%s: %+v", key, value, w)
			}
			if i := c.Interface; len(i.Addresses)+len(i.DNS)+i.MTU+len(i.Table)+len(i.Hooks)+i.AddressLine+i.DNSLine != 0 {
				t.Errorf("%s =%s sets something: %+v", key, value, i)
			}
		}
	}
	for _, key := range []string{"ListenPort", "FwMark", "SaveConfig"} {
		expectError(t, text(key+" ="), "wg", "line 3: "+key+": has no value; give one or remove the line")
	}
	for _, key := range []string{"PresharedKey", "Endpoint", "AllowedIPs", "PersistentKeepalive"} {
		expectError(t, text("", key+" ="), "awg", "line 6: "+key+": has no value; give one or remove the line")
	}
	for _, key := range []string{"Jc", "S1", "H1", "I2", "RandomTrailers", "RekeyTimeout"} {
		expectError(t, text(key+" ="), "awg", "line 3: "+key+": has no value; give one or remove the line")
	}
	// The tools would take the last one, so an empty repetition is a contradiction too.
	expectError(t, text("MTU = 1400\nMTU ="), "wg", "line 4: MTU: is given twice; it is already on line 3")
	if c := mustParse(t, text("MTU =\nMTU = 1400"), "wg"); c.Interface.MTU != 1400 {
		t.Errorf("%+v", c.Interface)
	}
}

// The kernel accepts an address once: IPv4 with each length of its network, IPv6 whatever the
// length.
func TestTheSameAddressTwiceIsRefused(t *testing.T) {
	twice := func(line int, addr, where string) string {
		return "line " + string(rune('0'+line)) + ": Address: " + addr + " is given twice" + where + ", and the kernel takes an address once; remove one"
	}
	for _, tt := range []struct{ iface, want string }{
		{"Address = 10.61.0.2/24\nAddress = fd61::2/64\nAddress = 10.61.0.2/24", twice(5, "10.61.0.2", "; it is already on line 3")},
		{"Address = 10.61.0.2/24, fd61::2/64, fd61:0::2/64", twice(3, "fd61::2", " on this line (line 3)")},
		{"Address = 10.61.0.2\nAddress = 10.61.0.2/32", twice(4, "10.61.0.2", "; it is already on line 3")},
		{"Address = FD61::2/64\nAddress = fd61:0:0::0002/128", twice(4, "fd61::2", "; it is already on line 3")},
		{"Address = ::ffff:10.0.0.1/96 ::ffff:a00:1/96", twice(3, "::ffff:10.0.0.1", " on this line (line 3)")},
		{"Address = 10.0.0.1/24,10.0.0.1/24 10.0.0.1/24", twice(3, "10.0.0.1", " on this line (line 3)") + ", " +
			strings.TrimPrefix(twice(3, "10.0.0.1", " on this line (line 3)"), "line 3: Address: ")},
	} {
		expectError(t, text(tt.iface), "wg", tt.want)
	}
	for _, iface := range []string{
		"Address = 10.61.0.2/24, 10.61.0.2/32", "Address = 10.61.0.2/24\nAddress = 10.61.0.3/24",
		"Address = 10.0.0.1/32, ::ffff:10.0.0.1/128", "Address = 10.61.0.0/24, 224.0.0.1/32",
	} {
		mustParse(t, text(iface), "wg")
	}
}

func TestParseRefusesWhatTheKernelRefuses(t *testing.T) {
	for iface, want := range map[string]string{
		"Address = ff02::1/64": "line 3: Address: ff02::1 cannot be the address of a tunnel",
		"Address = ::1/128":    "line 3: Address: ::1 cannot be the address of a tunnel",
		"Address = ::/0":       "line 3: Address: :: cannot be the address of a tunnel",
	} {
		expectError(t, text(iface), "wg", want)
	}
	const small = "MTU = 1279\nAddress = 10.0.0.2/24, fd00::2/64"
	expectError(t, text(small, "AllowedIPs = fd00::/64"), "wg",
		"line 3: MTU: 1279 is too small for IPv6, which AllowedIPs on line 7 have; give 1280 or more, or leave out the IPv6 networks")
	if w := codes(mustParse(t, text(small, "AllowedIPs = 10.0.0.0/24"), "wg")); w[wgconf.CodeMTUWithoutIPv6].Line != 4 {
		t.Errorf("%+v", w)
	}
	mustParse(t, text(small+"\nTable = off", "AllowedIPs = fd00::/64"), "wg")

	expectError(t, text("Address = 10.0.0.2/24\nTable = main", "AllowedIPs = 10.0.0.0/24"), "wg",
		"line 7: AllowedIPs: with Table = main, the route to 10.0.0.0/24 is added twice, since Address 10.0.0.2/24 has the same network; "+
			"leave out Table, or give the Address as a /32")
	mustParse(t, text("Address = 10.0.0.2/32\nTable = main", "AllowedIPs = 10.0.0.2/32, fd00::/64"), "wg")
	mustParse(t, text("Address = 10.0.0.2/24", "AllowedIPs = 10.0.0.0/24"), "wg")
}

func TestWarningsTellWhatTheToolsDoNotRead(t *testing.T) {
	for _, tt := range []struct{ name, text, code, says string }{
		{
			"a quote", text("PostUp = iptables -A F -m comment --comment 'rule #1' -j ACCEPT"), wgconf.CodeCutAtHash,
			"line 3: the tools read only up to the #: PostUp ends within a quote",
		},
		{
			"an address", text("PostDown = echo http://status.example.test/up#%i > /tmp/x"), wgconf.CodeCutAtHash,
			"line 3: the tools read only up to the #: the rest of PostDown",
		},
		{"DNS", text("DNS = 1.1.1.1#name"), wgconf.CodeCutAtHash, "line 3: the tools read only up to the #: the rest of DNS"},
		{"endpoint", text("", "Endpoint = 192.0.2.1:5#x"), wgconf.CodeCutAtHash, "line 6: the tools read only up to the #"},
		{"an open quote", text(`PreUp = echo "it's`), wgconf.CodeOpenQuote, "PreUp on line 3"},
		{"no key", "[Interface]\nListenPort = 1\nPreUp = wg set %i private-key f", wgconf.CodeNoPrivateKey, "line 1 has no PrivateKey"},
		{"own key", text("") + "\n[Peer]\nPublicKey = " + ourPublic + "\nAllowedIPs = 0.0.0.0/0", wgconf.CodeOwnKey, "peer on line 4"},
		{"zero preshared key", text("", "PresharedKey = "+strings.Repeat("A", 43)+"="), wgconf.CodeNoPresharedKey, "line 6"},
		{"search domains alone", text("DNS = corp.example"), wgconf.CodeSearchWithoutDNS, "line 3"},
		{"sizes", text("Jmin = 80\nJmax = 70"), wgconf.CodeAWGValues, "Jmin is more than Jmax (line 4)"},
		{"trailers", text("RandomTrailers = on\nS1 = 1"), wgconf.CodeAWGValues, "RandomTrailers (line 3)"},
		{"beside the tags", text("I1 = 0xc0ff"), wgconf.CodeAWGValues, "I1 (line 3) has text beside its tags"},
		{"in a tag", text("I2 = <t 3>"), wgconf.CodeAWGValues, "I2 (line 3) has text beside its tags"},
		{"kernel's tag", text("I1 = <c>"), wgconf.CodeAWGValues, "tag <c>"},
		{"daemon's tag", text("I1 = <dz 2>"), wgconf.CodeAWGValues, "tag <dz>"},
		{
			"former key", text("J1 = <t>\nItime = 5"), wgconf.CodeAWGValues,
			"J1 (line 3) is known only to the tools of AmneziaWG 1.5; others refuse it, Itime (line 4)",
		},
		{"long packet", text("I1 = <b 0x" + strings.Repeat("0", 5120) + ">"), wgconf.CodeAWGValues, "5126 characters"},
	} {
		w, ok := codes(mustParse(t, tt.text, "awg"))[tt.code]
		if !ok || !strings.Contains(w.Message, tt.says) {
			t.Errorf("%s: %q does not say %q", tt.name, w.Message, tt.says)
		}
	}
	for _, quiet := range []string{
		text("PostUp = echo 'a' \"b\" it\\'s # fine"), text("ListenPort = 1 # fine\n#fine"), text("DNS = corp.example, 9.9.9.9"),
		"[Interface]\nPrivateKey = (kept on the node)", "[Interface]\nPostUp = wg set %i private-key /etc/wireguard/%i.key # the " +
			"node's", "[Interface]\nPostUp=awg  set %i private-key <(cat f)",
	} {
		for code, w := range codes(mustParse(t, quiet, "awg")) {
			if code != wgconf.CodeHooks {
				t.Errorf("%s\n%+v", quiet, w)
			}
		}
	}
}

func TestNoWarningShowsWhatFollowsAHash(t *testing.T) {
	s := text("PostUp = login --password 'topsecret#" + presharedKey + "'\nPostUp = echo topsecret#topsecret")
	for _, w := range mustParse(t, s, "wg").Warnings(wgconf.Reach{}) {
		if strings.Contains(w.Message, "topsecret") || strings.Contains(w.Message, presharedKey[:12]) {
			t.Error(w.Message)
		}
	}
}

func TestAnErrorNamesEveryFault(t *testing.T) {
	expectError(t, text("Color = red\nListenPort =\nMTU = 1\nTable = -1\n[Peers]\nX = 1\n[Peer]\nAllowedIPs = a, 10.0.0.0/8, b"), "wg",
		`line 3: "Color" is not a key of a WireGuard config; line 4: ListenPort: has no value; give one or remove the line; `+
			`line 5: MTU: "1" is not a number from 68 to 65535; line 6: Table: "-1" is neither off, auto, nor the number or name of a routing table; `+
			`line 7: "[Peers]" is not a section; there are [Interface] and [Peer]; `+
			`line 9: this [Peer] has no PublicKey; add the other side's, as wg pubkey prints it; `+
			`line 10: AllowedIPs: "a" is not an address or network, "b" is not an address or network`)
	// Of the faults beyond the first 20, the error gives only the lines.
	_, err := wgconf.Parse(text(strings.Repeat("Color = red\n", 30)+"\nColor = red"), "wg")
	if err == nil || !strings.HasSuffix(err.Error(), `config; and 11 more, on lines 23-32, 34`) {
		t.Errorf("%v", err)
	}
}

// The file has the answers of amneziawg-tools 3.1 with amneziawg-go.
func TestParseAgreesWithTheAmneziaWGTools(t *testing.T) {
	f, err := os.Open("testdata/awg-tool-answers.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	n := 0
	for ; lines.Scan(); n++ {
		var answer struct {
			Name, Text, Says string
			Accepted         bool
		}
		if err := json.Unmarshal(lines.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		// Two texts are shortened in the file; their names give the length of the packet.
		if shown, cut := strings.CutSuffix(answer.Text, "…"); cut {
			before, _, _ := strings.Cut(shown, "0xc0")
			count := 2500
			if strings.Contains(answer.Name, "3000") {
				count = 3000
			}
			answer.Text = before + "0x" + strings.Repeat("c0", count) + ">\n[Peer]\nPublicKey = " + eastPublic + "\n"
		}
		if _, err := wgconf.Parse(answer.Text, "awg"); (err == nil) != answer.Accepted {
			t.Errorf("%s: the tools accept it: %v %s; we say %v", answer.Name, answer.Accepted, answer.Says, err)
		}
	}
	if n < 50 || lines.Err() != nil {
		t.Errorf("%d answers, %v", n, lines.Err())
	}
}
