package wgconf_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"wfm/tunnel/wgconf"
)

// difference is one place where Parse deliberately differs from the tools.
// TestParseAgreesWithTheRealTools allows no others, and TestTheDifferencesAreInTheDocs keeps the
// table in docs/configs.md equal to this list.
type difference struct {
	what     string
	examples []string       // whole configs
	family   string         // wg, which is run through the real tools, or awg
	says     *regexp.Regexp // the fault, if Parse refuses a text that the tools accept
	warns    string         // the warning's code, if Parse accepts a text that the tools refuse; or NONE
	up       bool           // only wg-quick up shows it, not wg-quick strip and wg setconf
	why      string
}

const none = "NONE"

var zeros = strings.Repeat("A", 43) + "="

var differences = []difference{
	{
		what: "A key given twice", family: "wg", says: regexp.MustCompile(`: is given twice; it is already on line \d+$`),
		examples: []string{text("ListenPort = 1\nListenPort = 2"), text("MTU = 1400\nMTU = 1380"), text("", "Endpoint = 127.0.0.1:1\nEndpoint = 127.0.0.1:2")},
		why:      "The tools take the last one, which contradicts the first.",
	},
	{
		what: "A second [Interface] section", family: "wg", says: regexp.MustCompile(`second \[Interface\] section`),
		examples: []string{text("[Interface]\nListenPort = 5")},
		why:      "It usually means two files pasted into one.",
	},
	{
		what: "No [Interface] section, or an empty text", family: "wg", says: regexp.MustCompile(`^there is no \[Interface\] section`),
		examples: []string{"", "[Peer]\nPublicKey = " + eastPublic},
		why:      "The tunnel would have neither address nor key.",
	},
	{
		what: "The same peer twice", family: "wg", says: regexp.MustCompile(`the peer with this key is already on line`),
		examples: []string{text("", "") + "\n[Peer]\nPublicKey = " + eastPublic},
		why:      "The tools drop the networks of the first.",
	},
	{
		what: "A PrivateKey or PublicKey of zeros", family: "wg", says: regexp.MustCompile(`^(PrivateKey|PublicKey): is all zeros`),
		examples: []string{"[Interface]\nPrivateKey = " + zeros, text("") + "\n[Peer]\nPublicKey = " + zeros},
		why:      "The tools take it for no key.",
	},
	{
		what: "Numbers with leading zeros or in hex; ports by name, 0 (but for ListenPort) or above 65535", family: "wg",
		says: regexp.MustCompile(`is not a number from |neither off nor a number of 32 bits|^AllowedIPs: "[^"/]+/0\d+" is not an address`),
		examples: []string{
			text("ListenPort = 051"), text("ListenPort = domain"), text("FwMark = 007"), text("", "PersistentKeepalive = 025"),
			text("", "Endpoint = 127.0.0.1:0"), text("", "Endpoint = 127.0.0.1:65536"), text("", "Endpoint = 127.0.0.1:domain"), text("", "AllowedIPs = 10.0.0.0/08"),
		},
		why: "ip(8) reads octal; ports wrap around.",
	},
	{
		what: "An Endpoint with IPv6 without brackets, anything else in them, or short IPv4", family: "wg",
		says:     regexp.MustCompile(`^Endpoint: .* is not an endpoint`),
		examples: []string{text("", "Endpoint = ::1:51820"), text("", "Endpoint = [127.0.0.1]:51820"), text("", "Endpoint = 127.1:51820")},
		why:      "The border between address and port is a guess.",
	},
	{
		what: "Spaces within a key, a section's name or a word", family: "wg",
		says: regexp.MustCompile(`^"[^"]*[ \\][^"]*" is not a (key|section)|"[^"]* [^"]*" is (not|neither)|Key: is not a key`),
		examples: []string{
			text("Listen Port = 1"), text("[ Peer ]\nPublicKey = " + eastPublic), text("", "AllowedIPs = 10.0.0 .1 1/32"),
			text("ListenPort = 51 820"),
		},
		why: "wg(8) drops them and reads two words as one; wg-quick does not.",
	},
	{
		what: "Control characters", family: "wg", says: regexp.MustCompile(`control character`),
		examples: []string{text("# \x1b[2J"), text("PostUp = true\x7f")},
		why:      "They are invisible, and take effect on a terminal.",
	},
	{
		what: "Text that is not UTF-8", family: "wg", says: regexp.MustCompile(`is not UTF-8`),
		examples: []string{text("# \xff")},
		why:      "A message to the node cannot carry it.",
	},
	{
		what: "A line of wg-quick's own keys without =", family: "wg", says: regexp.MustCompile(`is neither a section like \[Peer\] nor a "Key = value"`),
		examples: []string{text("PostDown"), text("Table")},
		why:      "wg-quick takes the key for its value.",
	},
	{
		what: "A Table other than off, auto, a number from 1 or a name of [A-Za-z0-9._-]", family: "wg",
		says:     regexp.MustCompile(`^Table: `),
		examples: []string{text("Table = Off"), text("Table = 0"), text("Table = a/b")},
		why:      "wg-quick fails only once it adds a route.",
	},
	{
		what: "DNS values that are neither addresses nor domains", family: "wg", up: true, says: regexp.MustCompile(`^DNS: `),
		examples: []string{text("DNS = 9.9.9"), text("DNS = 1.1.1.1:53")},
		why:      "wg-quick passes anything to resolvconf.",
	},
	{
		what: "An Address in a short form, or with a netmask in dots", family: "wg", up: true, says: regexp.MustCompile(`^Address: .* is not an address or network`),
		examples: []string{text("Address = 10.9/16"), text("Address = 10.9.0.1/255.255.0.0")},
		why:      "Of the programs that read these files, only ip(8) takes it.",
	},
	{
		what: "A hook that ends within a quote, usually because a # cuts it", family: "wg", up: true, warns: wgconf.CodeOpenQuote,
		examples: []string{text("PostUp = echo 'a")},
		why:      "Only bash can tell what a hook does.",
	},
	{
		what: "Any other hook that fails", family: "wg", up: true, warns: wgconf.CodeHooks,
		examples: []string{text("PreUp = false"), text("PostUp = exit 3")},
		why:      "Only the node can tell.",
	},
	{
		what: "A routing table, a name of an Endpoint or a zone that the node does not know", family: "wg", up: true, warns: none,
		examples: []string{text("Table = nosuch", "AllowedIPs = 10.0.0.0/8"), text("", "Endpoint = [fe80::1%nosuch0]:5")},
		why:      "Only the node can tell.",
	},
	{
		what: "PrivateKey = (kept on the node)", family: "wg", warns: none,
		examples: []string{"[Interface]\nPrivateKey = (kept on the node)\n"},
		why:      "The node's agent writes its own key there; an agent that cannot is not given such a config.",
	},
	{
		what: "AdvancedSecurity", family: "awg", says: regexp.MustCompile(`^AdvancedSecurity: `),
		examples: []string{text("", "AdvancedSecurity = on")},
		why:      "The kernel module of AmneziaWG takes it, amneziawg-go refuses it, and neither needs it.",
	},
	{
		what: "RandomTrailers and DisableCookies as a number other than 0 and 1", family: "awg", says: regexp.MustCompile(`is neither on nor off`),
		examples: []string{text("RandomTrailers = 2")},
		why:      "The tools take every number but 0 for on.",
	},
	{
		what: "A key (32 bytes in base64) in I1 to I5", family: "awg", says: regexp.MustCompile(`belongs to another line`),
		examples: []string{text("I1 = " + presharedKey)},
		why:      "The tools skip what is not a tag; a secret does not belong there.",
	},
	{
		what: "J1 to J3 and Itime; the tags <c>, <d>, <ds> and <dz>", family: "awg", warns: wgconf.CodeAWGValues,
		examples: []string{text("J1 = <t>"), text("Itime = 5"), text("I1 = <c>"), text("I1 = <d>")},
		why:      "Only some versions or implementations of AmneziaWG take them.",
	},
}

// explained reports whether every fault of err is one of the differences.
func explained(err error, family string) bool {
	invalid, ok := err.(*wgconf.Error) //nolint:errorlint // Parse returns nothing else
	if !ok {
		return false
	}
	for _, f := range invalid.Faults {
		known := false
		for _, d := range differences {
			known = known || d.says != nil && d.family == family && d.says.MatchString(f.Problem)
		}
		if !known {
			return false
		}
	}
	return true
}

// Parse, and for WireGuard the tools, must judge each example as the list says.
func TestEveryDifferenceIsOne(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	fakeResolvconf(t)
	startInterface(t)
	for _, d := range differences {
		for _, s := range d.examples {
			c, err := wgconf.Parse(s, d.family)
			_, warned := warning(c.Warnings(wgconf.Reach{}), d.warns)
			if (err == nil) != (d.says == nil) || (d.warns != "" && d.warns != none && !warned) || (err != nil && !explained(err, d.family)) {
				t.Errorf("%s: we say %v\n%s", d.what, err, s)
			}
			if d.family != "wg" {
				continue
			}
			if out, toolErr := askTools(t, s, d.up); (toolErr == nil) == (d.says == nil) {
				t.Errorf("%s: the tools say %v %s\n%s", d.what, toolErr, out, s)
			}
		}
	}
}

func TestTheDifferencesAreInTheDocs(t *testing.T) {
	var want strings.Builder
	want.WriteString("| In the text | Here | The tools | Why |\n| --- | --- | --- | --- |\n")
	for _, d := range differences {
		here, tools := "refused", "accepted"
		switch {
		case d.warns == none:
			here, tools = "accepted", "refused"
		case d.warns != "":
			here, tools = "warned of", "refused"
		}
		if d.family == "awg" && d.warns != "" || strings.HasPrefix(d.what, "AdvancedSecurity") {
			tools = "some refuse"
		}
		fmt.Fprintf(&want, "| %s | %s | %s | %s |\n", strings.NewReplacer("<", "`<", ">", ">`").Replace(d.what), here, tools, d.why)
	}
	docs, err := os.ReadFile("../../docs/configs.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(docs), want.String()) {
		t.Errorf("docs/configs.md must have this table:\n%s", want.String())
	}
}
