package plaintext

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Unseen reports whether people cannot see the character, so that two texts with and without it
// look the same: controls, line breaks among them, format characters such as those that turn the
// writing direction, and what stands for bytes that were no character.
func Unseen(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError || r == '\u2028' || r == '\u2029'
}

// Line is s as one line of at most limit bytes, with an ellipsis where it was cut: what cannot be seen
// becomes a space.
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
