package wgconf_test

import "testing"

func TestParseReadsEveryVersionOfAmneziaWG(t *testing.T) {
	const one = "Jc = 4\nJmin = 40\nJmax = 70\nS1 = 30\nS2 = 40\n"
	tests := map[string]string{
		"1.0": one + "H1 = 1148\nH2 = 2253\nH3 = 3371\nH4 = 4496",
		"1.5": one + "I1 = <b 0xc0ffee><c><t><r 16>\nI2 = <rc 8> <rd 4>\nI5=<r 1>\nJ1 = <b 0x00>\nj3 = <t>\nItime = 120",
		"2.0": one + "S3 = 20\nS4 = 10\nH1 = 100-200\nH2 = 201-4294967295\nH3 = 50\nH4 = 51-99",
		"3.1": one + "S3 = 12\nS4 = 40\nHeaderProtectionKey = " + presharedKey + "\nContentPaddingAddition = 10-100\nRekeyAfterTime = 100-120\n" +
			"RekeyTimeout = 5\nRejectAfterTime = 150-180\nKeepaliveTimeout = 5-15\nMaxHandshakeAttempts = 15-20\n" +
			"RandomTrailers = on\nDisableCookies = Off\n[Peer]\nPublicKey = " + eastPublic + "\nPersistentKeepalive = 20-30",
	}
	for version, s := range tests {
		t.Run(version, func(t *testing.T) { mustParse(t, text(s), "awg") })
	}
}

func TestParseSaysWhatIsWrongWithAmneziaWG(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"count", "Jc = 65536", `line 3: Jc: "65536" is not a number from 0 to 65535`},
		{"header", "H1 = 4294967296", `line 3: H1: "4294967296" is neither a number nor a range like 100-200, from 0 to 4294967295`},
		{"range upside down", "H1 = 200-100", `line 3: H1: "200-100" is neither a number nor a range like 100-200, from 0 to 4294967295`},
		{"range of three", "H1 = 1-2-3", `line 3: H1: "1-2-3" is neither a number nor a range like 100-200, from 0 to 4294967295`},
		{"headers overlap", "H1 = 100-200\nH2 = 5\nH3 = 200-300", "line 5: H3: overlaps H1 on line 3; each of H1 to H4 needs numbers of its own"},
		{"long range", "RekeyTimeout = 3-4294967296", `line 3: RekeyTimeout: "3-4294967296" is neither a number nor a range like 100-200, from 0 to 4294967295`},
		{"packet without an end", "I1 = <r 16><b 0x00", `line 3: I1: "<r 16><b 0x00" has a tag without its >; write tags like <b 0xc0ff><r 16>`},
		{"half a byte", "I1 = <r 16><b 0x0>", `line 3: I1: the tag <b …> needs whole bytes, two hexadecimal digits each, like <b 0xc0ff>`},
		{"no hexadecimal", "I5 = <b 0xzz>", `line 3: I5: the tag <b …> needs whole bytes, two hexadecimal digits each, like <b 0xc0ff>`},
		{"no bytes", "I1 = <b>", `line 3: I1: the tag <b …> needs whole bytes, two hexadecimal digits each, like <b 0xc0ff>`},
		{"no count", "I1 = <rc>", `line 3: I1: the tag <rc …> needs a number of bytes from 0 to 65535, like <rc 16>`},
		{"no such tag", "I1 = <x 16>", `line 3: I1: "<x>" is not a tag; there are b, r, rc, rd, t, c, d, ds and dz`},
		{"glued tag", "I1 = <b0xff>", `line 3: I1: "<b0xff>" is not a tag; there are b, r, rc, rd, t, c, d, ds and dz`},
		{"empty tag", "I1 = < >", `line 3: I1: has an empty tag <>; write tags like <b 0xc0ff><r 16>`},
		{"header of another's default", "H1 = 2", `line 3: H1: overlaps H2, which defaults to 2; each of H1 to H4 needs numbers of its own`},
		{"range over the defaults", "H4 = 1-9", `line 3: H4: overlaps H1, which defaults to 1; each of H1 to H4 needs numbers of its own; ` +
			`line 3: H4: overlaps H2, which defaults to 2; each of H1 to H4 needs numbers of its own; ` +
			`line 3: H4: overlaps H3, which defaults to 3; each of H1 to H4 needs numbers of its own`},
		{
			"protection without padding", "S1 = 12\nS2 = 11\nHeaderProtectionKey = " + presharedKey,
			"line 5: HeaderProtectionKey: needs S1 to S4 of 12 or more; raise S2, S3, S4",
		},
		{
			"advanced security", "[Peer]\nPublicKey = " + eastPublic + "\nAdvancedSecurity = off",
			"line 5: AdvancedSecurity: is refused by amneziawg-go, and the tunnel works without it; remove the line",
		},
		{"no packet", "I2 =", "line 3: I2: has no value; give one or remove the line"},
		{"switch", "RandomTrailers = yes", `line 3: RandomTrailers: "yes" is neither on nor off`},
		{"unknown", "S5 = 1", `line 3: "S5" is not a key of an AmneziaWG config`},
		{"misspelt", "RandomTrailer = on", `line 3: "RandomTrailer" is not a key of an AmneziaWG config; did you mean RandomTrailers?`},
		{"in a peer", "[Peer]\nPublicKey = " + eastPublic + "\nJc = 4", "line 5: Jc: belongs in the [Interface] section"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { expectError(t, text(tt.text), "awg", tt.want) })
	}
}
