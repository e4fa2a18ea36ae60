package plaintext

import "testing"

func TestLineIsOneVisibleLineOfBoundedLength(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"plain":                     "plain",
		"  spaces around ":          "spaces around",
		"two\nlines\r\n\ta tab":     "two lines   a tab",
		"turned\u202e round":        "turned  round",
		"no\u200bwidth, \x00, \xff": "no width,  ,",
		"sep\u2028arator":           "sep arator",
		"0123456789012345678901":    "01234567890123456…",
		"01234567890123456 9é":      "01234567890123456…",
		"0123456789012345é789":      "0123456789012345…",
	} {
		if got := Line(in, 20); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
