package wgconf_test

import (
	"strings"
	"testing"
)

func TestParseReadsEveryVersionOfAmneziaWG(t *testing.T) {
	const one = "Jc = 4\nJmin = 40\nJmax = 70\nS1 = 30\nS2 = 40\n"
	tests := map[string]string{
		"1.0": one + "H1 = 1148\nH2 = 2253\nH3 = 3371\nH4 = 4496",
		"1.5": one + "I1 = <b 0xc0ffee><c><t><r 16>\nI2 = <rc 8> <rd 4>\nI5=<r 1>\nJ1 = <b 0x00>\nj3 = <t>\nItime = 120",
		"2.0": one + "S3 = 20\nS4 = 10\nH1 = 100-200\nH2 = 201-4294967295\nH3 = 50\nH4 = 51-99",
		"3.1": one + "HeaderProtectionKey = " + presharedKey + "\nContentPaddingAddition = 10-100\nRekeyAfterTime = 100-120\n" +
			"RekeyTimeout = 5\nRejectAfterTime = 150-180\nKeepaliveTimeout = 5-15\nMaxHandshakeAttempts = 15-20\n" +
			"RandomTrailers = on\nDisableCookies = Off\n[Peer]\nPublicKey = " + eastPublic + "\nAdvancedSecurity = on",
	}
	for version, s := range tests {
		t.Run(version, func(t *testing.T) { mustParse(t, text(s), "awg") })
	}
}

func TestParseSaysWhatIsWrongWithAmneziaWG(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"count", "Jc = 65536", `line 3: Jc: "65536" is no number from 0 to 65535`},
		{"sizes", "Jmin = 80\nJmax = 70", "line 4: Jmin and Jmax: 80 is more than 70; Jmin is the smallest size, Jmax the largest"},
		{"sizes the other way round", "Jmax = 70\nJmin = 80", "line 4: Jmin and Jmax: 80 is more than 70; Jmin is the smallest size, Jmax the largest"},
		{"header", "H1 = 4294967296", `line 3: H1: "4294967296" is neither a number nor a range like 100-200, from 0 to 4294967295`},
		{"range upside down", "H1 = 200-100", `line 3: H1: "200-100" is neither a number nor a range like 100-200, from 0 to 4294967295`},
		{"range of three", "H1 = 1-2-3", `line 3: H1: "1-2-3" is neither a number nor a range like 100-200, from 0 to 4294967295`},
		{"headers overlap", "H1 = 100-200\nH2 = 5\nH3 = 200-300", "line 5: H3: overlaps H1 on line 3; each of H1 to H4 needs numbers of its own"},
		{"short range", "RekeyTimeout = 3-70000", `line 3: RekeyTimeout: "3-70000" is neither a number nor a range like 100-200, from 0 to 65535`},
		{"packet", "I1 = c0ffee", `line 3: I1: "c0ffee" is no packet; write tags like <b 0xc0ff><r 16>`},
		{"packet without an end", "I1 = <r 16><b 0x00", `line 3: I1: "<r 16><b 0x00" is no packet; write tags like <b 0xc0ff><r 16>`},
		{"no packet", "I2 =", "line 3: I2: has no value; give one or remove the line"},
		{"long packet", "I1 = <b 0x" + strings.Repeat("0", 5120) + ">", "line 3: I1: has 5126 bytes; 5119 are the most awg takes"},
		{"switch", "RandomTrailers = yes", `line 3: RandomTrailers: "yes" is neither on nor off`},
		{"unknown", "S5 = 1", `line 3: "S5" is no key of an AmneziaWG config`},
		{"misspelt", "RandomTrailer = on", `line 3: "RandomTrailer" is no key of an AmneziaWG config; did you mean RandomTrailers?`},
		{"in a peer", "[Peer]\nJc = 4", "line 4: Jc: belongs in the [Interface] section"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { expectError(t, text(tt.text), "awg", tt.want) })
	}
}
