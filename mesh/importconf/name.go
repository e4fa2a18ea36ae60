package importconf

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"wfm/mesh"
)

// maxName is the length of a node's name, in characters.
const maxName = 64

// comment is a line that has nothing else.
type comment struct {
	name     string // that it gives; "" if none
	explicit bool   // it says that it is a name
}

// The forms in which programs write names into comments.
var (
	labelled = regexp.MustCompile(`(?i)^(friendly[_ ]?name|name|client|peer|node|host)\s*[:=]\s*(.+)$`)
	framed   = regexp.MustCompile(`(?i)^(begin|end)\s+(.+)$`)
	numbered = regexp.MustCompile(`\s*\([0-9a-fA-F-]{8,}\)$`)
)

// readComment reads the text after the # of a comment.
func readComment(text string) comment {
	text = strings.Trim(text, "# \t")
	var c comment
	if m := labelled.FindStringSubmatch(text); m != nil {
		label := strings.ToLower(m[1])
		c.explicit, text = label == "name" || strings.HasPrefix(label, "friendly"), m[2]
	} else if m := framed.FindStringSubmatch(text); m != nil {
		if strings.EqualFold(m[1], "end") {
			return c
		}
		text = m[2]
	}
	c.name = cleanName(numbered.ReplaceAllString(text, ""))
	return c
}

// cleanName returns the name, or "" for a text that is none: one that is too long, a setting that is
// commented out, or anything that may be a key.
func cleanName(s string) string {
	s = strings.Trim(strings.TrimSpace(s), `"'`)
	if s == "" || utf8.RuneCountInString(s) > maxName || strings.ContainsFunc(s, unicode.IsControl) || !utf8.ValidString(s) {
		return ""
	}
	if strings.Contains(s, "=") || strings.ContainsFunc(s, unicode.IsSpace) && strings.HasPrefix(s, "[") {
		return ""
	}
	for word := range strings.FieldsSeq(s) {
		if mesh.ValidKey(word) || len(word) >= 40 {
			return ""
		}
	}
	return s
}
