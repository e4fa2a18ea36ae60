package wgconf_test

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"wfm/tunnel/wgconf"
)

// keyRuns matches runs that could be a key or a part of one; ours matches the grammar's own words.
var (
	keyRuns = regexp.MustCompile(`[A-Za-z0-9+/]{20,}`)
	ours    = regexp.MustCompile(`(?i)^(ContentPaddingAddition|MaxHandshakeAttempts)$`)
)

func FuzzParse(f *testing.F) {
	f.Add(text("Address = 10.7.0.2/24\nDNS = 10.7.0.1, corp\nPostUp = a=b # c", "Endpoint = [::1]:5\nAllowedIPs = 0.0.0.0/0"), "wg")
	f.Add(text("Table = off\nFwMark = 0x1\r\nMTU = 1420", "PresharedKey = "+presharedKey, "AllowedIPs = ::/0,10.0.0.1"), "wg")
	f.Add(text("Jc = 1\nH1 = 1-2\nI1 = <b 0x00>\nHeaderProtectionKey = "+presharedKey), "awg")
	f.Add("[Interface]\nPrivateKey "+ourPrivate, "wg")
	f.Add("[Interface]\nAddress = fd00::1, fd00::1/64\nPreUp =\nMTU = 1279\nPostUp = a 'b # c\nDNS = corp\n[x]\n[Peer]\n[Peer]", "wg")
	f.Add(text("H1 = 2\nRandomTrailers = on\nS1 = 3\nHeaderProtectionKey = "+presharedKey+"\nI1 = x<c><d 3><b 0xc>"), "awg")
	f.Add("[Interface]\nAddress = "+ourPrivate+"\nAllowdIPs = \u212a", "awg")
	f.Fuzz(func(t *testing.T, s, family string) {
		c, err := wgconf.Parse(s, family)
		if err != nil {
			checkErrorText(t, s, err)
			return
		}
		again, err := wgconf.Parse(s, family)
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("the second time: %v\n%+v\n%+v", err, c, again)
		}
		// Line ends and spaces around lines do not matter.
		if again, err = wgconf.Parse(strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", " \r\n\t"), family); err == nil && !reflect.DeepEqual(c, again) {
			t.Fatalf("with other line ends: %+v\n%+v", c, again)
		}
		for _, w := range c.Warnings(reach("ctl.example.org", "198.51.100.7")) {
			if w.Code == "" || w.Line < 1 || w.Message == "" || !utf8.ValidString(w.Message) || strings.ContainsAny(w.Message, "\r\n") {
				t.Errorf("%+v", w)
			}
		}
	})
}

func checkErrorText(t *testing.T, s string, err error) {
	t.Helper()
	perr, ok := errors.AsType[*wgconf.Error](err)
	if !ok || len(perr.Faults) == 0 {
		t.Fatalf("%T %+v", err, err)
	}
	before := 0
	for _, f := range perr.Faults {
		if f.Line < before || f.Line > strings.Count(s, "\n")+1 || f.Problem == "" || len(f.Problem) > 1500 {
			t.Fatalf("%+v", f)
		}
		before = f.Line
	}
	for _, r := range err.Error() {
		if r < ' ' || r == utf8.RuneError {
			t.Fatalf("the error holds %U: %q", r, err)
		}
	}
	for _, run := range keyRuns.FindAllString(s, -1) {
		if !ours.MatchString(run) && strings.Contains(err.Error(), run) {
			t.Fatalf("the error shows %q: %v", run, err)
		}
	}
}

func BenchmarkParseOf1000Peers(b *testing.B) {
	s := text("Address = 10.7.0.1/16\nListenPort = 51820")
	for i := range 1000 {
		// Any 32 bytes are a key: X25519 accepts them.
		s += fmt.Sprintf("\n[Peer]\nPublicKey = %s%04dAAAAAA=\nAllowedIPs = 10.7.%d.%d/32\n", strings.Repeat("w", 33), i, i/250, i%250+1)
	}
	b.SetBytes(int64(len(s)))
	for b.Loop() {
		c, err := wgconf.Parse(s, "wg")
		if err != nil || len(c.Peers) != 1000 {
			b.Fatal(err)
		}
	}
}

func BenchmarkWarningsOf700Peers(b *testing.B) {
	s := text("Address = 10.7.0.1/16\nListenPort = 51820")
	for i := range 700 {
		s += fmt.Sprintf("\n[Peer]\nPublicKey = %s%04dAAAAAA=\nEndpoint = 192.0.2.1:%d\nAllowedIPs = 10.7.%d.%d/32,10.8.%d.%d/32\n",
			strings.Repeat("w", 33), i, i+1, i/250, i%250+1, i/250, i%250+1)
	}
	c, err := wgconf.Parse(s, "wg")
	if err != nil {
		b.Fatal(err)
	}
	r := reach("ctl.example.org", "198.51.100.7")
	for b.Loop() {
		if w := c.Warnings(r); len(w) != 0 {
			b.Fatal(w)
		}
	}
}
