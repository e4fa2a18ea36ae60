package wgconf_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"wfm/tunnel/wgconf"
)

// networks returns AllowedIPs lines with n networks, perLine on each.
func networks(n, perLine int) string {
	var b strings.Builder
	for i := range n {
		if i%perLine == 0 {
			b.WriteString("\nAllowedIPs = ")
		} else {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "10.%d.%d.0/24", 100+i/256, i%256)
	}
	return b.String()
}

func TestTimeGrowsWithTheWork(t *testing.T) {
	small := text("Address = 10.7.0.2/24", "AllowedIPs = 10.7.0.0/24")
	if extra := wgconf.ExtraTime(small); extra > time.Second {
		t.Errorf("an ordinary config gets %s more", extra)
	}
	before := wgconf.ExtraTime(small)
	for _, s := range []string{
		small + networks(300, 20), small + networks(300, 300), small + networks(1500, 1500), small + networks(5000, 5000),
	} {
		extra := wgconf.ExtraTime(s)
		if extra <= before || extra > wgconf.MostExtra {
			t.Errorf("%d bytes get %s, fewer got %s", len(s), extra, before)
		}
		before = extra
	}
	// Measured on a busy machine with two processors: 130 s for 1,500 networks on one line.
	if extra := wgconf.ExtraTime(small + networks(1500, 1500)); extra < 8*time.Minute || extra > wgconf.MostExtra {
		t.Errorf("1,500 networks get %s", extra)
	}
	for name, s := range map[string]string{
		"hooks": strings.Repeat("PostUp = sleep 1\n", 20), "addresses": strings.Repeat("Address = 10.0.0.1\n", 200),
		"endpoints": strings.Repeat("Endpoint = a:1\n", 200), "one hook": "PostUp = " + strings.Repeat("x", 10000),
	} {
		if extra := wgconf.ExtraTime(s); extra < 5*time.Second {
			t.Errorf("%s get %s", name, extra)
		}
	}
	// A comment takes no time.
	if extra := wgconf.ExtraTime(small + "\n# " + strings.Repeat("x", 100000)); extra > time.Second {
		t.Errorf("a comment gets %s", extra)
	}
}

func TestALongLineIsWarnedOf(t *testing.T) {
	w := codes(mustParse(t, text("", "")+networks(1500, 1500), "wg"))[wgconf.CodeSlow]
	for _, says := range []string{
		"needs about 4", "line 7 (AllowedIPs) has 24851 characters", "Spread its 1500 networks over lines of some 20 each",
		"they are 7 networks if joined",
	} {
		if w.Line != 7 || !strings.Contains(w.Message, says) {
			t.Errorf("%q is not in %d %s", says, w.Line, w.Message)
		}
	}
	for _, quiet := range []string{text("", "") + networks(1500, 20), text("", "") + networks(500, 500)} {
		if w, ok := codes(mustParse(t, quiet, "wg"))[wgconf.CodeSlow]; ok {
			t.Error(w.Message)
		}
	}
	if w := codes(mustParse(t, text("", "")+networks(3000, 20), "wg"))[wgconf.CodeSlow]; !strings.Contains(w.Message, "for each network and address") {
		t.Errorf("%+v", w)
	}
	if w := codes(mustParse(t, text("PostUp = : "+strings.Repeat("x", 20000)), "wg"))[wgconf.CodeSlow]; w.Line != 3 ||
		!strings.HasSuffix(w.Message, "Shorten it.") {
		t.Errorf("%+v", w)
	}
}

func TestNeighboursAreJoined(t *testing.T) {
	for from, want := range map[string]string{
		"10.0.0.0/24 10.0.1.0/24":                                     "[10.0.0.0/23]",
		"10.0.1.0/24 10.0.2.0/24":                                     "[10.0.1.0/24 10.0.2.0/24]",
		"10.0.0.0/8 10.0.1.0/24 10.9.0.0/16":                          "[10.0.0.0/8]",
		"10.0.0.0/24 10.0.1.0/25 10.0.1.128/25 10.0.1.128/32":         "[10.0.0.0/23]",
		"0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1":                         "[0.0.0.0/0 ::/0]",
		"10.0.0.0/24 10.0.0.0/24":                                     "[10.0.0.0/24]",
		"10.0.3.0/24 10.0.2.0/24 10.0.0.0/24 10.0.1.0/24 10.0.4.0/32": "[10.0.0.0/22 10.0.4.0/32]",
	} {
		var all []netip.Prefix
		for s := range strings.FieldsSeq(from) {
			all = append(all, netip.MustParsePrefix(s))
		}
		if got := fmt.Sprint(wgconf.Join(all)); got != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
}
