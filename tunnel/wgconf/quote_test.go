package wgconf

import (
	"strings"
	"testing"
)

func TestWhatCouldBeAKeyIsNotQuotedAndTheRestIsShort(t *testing.T) {
	const hidden = "this (not shown, it looks like a key)"
	for text, want := range map[string]string{
		"":                                 "\"\"",
		"wg0":                              "\"wg0\"",
		"naïve":                            "\"na\\u00efve\"",
		strings.Repeat("k", 19):            "\"" + strings.Repeat("k", 19) + "\"",
		strings.Repeat("k", 20):            hidden,
		"a b " + strings.Repeat("Z9+/", 5): hidden,
		strings.Repeat("k", 19) + "=" + strings.Repeat("k", 19): "\"" + strings.Repeat("k", 19) + "=" + strings.Repeat("k", 19) + "\"",
		strings.Repeat("- ", 30):                                "\"" + strings.Repeat("- ", 30) + "\"",
		strings.Repeat("- ", 30) + "-":                          "\"" + strings.Repeat("- ", 30) + "\"…",
		strings.Repeat("- ", 29) + "-é":                         "\"" + strings.Repeat("- ", 29) + "-\"…",
	} {
		if got := quote(text); got != want {
			t.Errorf("%q becomes %s, want %s", text, got, want)
		}
	}
}
