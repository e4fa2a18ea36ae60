package plaintext

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Unseen reports whether the character is invisible, so that a text looks the same with and without
// it: controls (including line breaks), format characters such as those that turn the writing
// direction, and the replacement for invalid bytes.
func Unseen(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError || r == '\u2028' || r == '\u2029'
}

// Line returns s as one line of at most limit bytes. It marks a cut with an ellipsis and replaces
// invisible characters by spaces.
func Line(s string, limit int) string {
	end := ""
	if len(s) > limit {
		limit -= len("…")
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s, end = s[:limit], "…"
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if Unseen(r) {
			return ' '
		}
		return r
	}, s)) + end
}
