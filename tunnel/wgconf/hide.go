package wgconf

import "regexp"

// Hidden stands in a text for a key that is not shown.
const Hidden = "(hidden)"

// secretLine matches the lines of a text, or of a difference between texts, that hold a secret key,
// comments among them. privateLine matches the PrivateKey only.
//
// secretWithin matches such a key in any other text.
var (
	secretLine   = regexp.MustCompile(`(?im)^([-+ \t#]*(?:PrivateKey|PresharedKey|HeaderProtectionKey)[ \t]*=[ \t]*)([^#\r\n]*?)([ \t]*(?:#.*)?\r?)$`)
	secretWithin = regexp.MustCompile(`(?i)((?:PrivateKey|PresharedKey|HeaderProtectionKey)\s*=\s*)[A-Za-z0-9+/]{20,}=*`)
	privateLine  = regexp.MustCompile(`(?im)^([ \t]*PrivateKey[ \t]*=[ \t]*)([^#\r\n]*?)([ \t]*(?:#.*)?\r?)$`)
)

// HideKeys returns the text, or the difference between two texts, with [Hidden] for each secret key. It
// does not look into hooks.
func HideKeys(text string) string { return replaceValues(secretLine, text, Hidden) }

// HideKeysWithin returns a message in which somebody may quote lines of a text, with [Hidden] for each
// secret key.
func HideKeysWithin(message string) string {
	return secretWithin.ReplaceAllString(message, "${1}"+Hidden)
}

// HidePrivateKey returns the text with [Hidden] for the private key. [PutBackPrivateKey] undoes it.
func HidePrivateKey(text string) string { return replaceValues(privateLine, text, Hidden) }

// HidesPrivateKey reports whether the text has [Hidden] for its private key.
func HidesPrivateKey(text string) bool {
	for _, m := range privateLine.FindAllStringSubmatch(text, -1) {
		if m[2] == Hidden {
			return true
		}
	}
	return false
}

// PutBackPrivateKey returns the text with the private key of former where it has [Hidden]. A text stays
// as it is if former has no key.
func PutBackPrivateKey(text, former string) string {
	for _, m := range privateLine.FindAllStringSubmatch(former, -1) {
		if m[2] == "" || m[2] == Hidden {
			continue
		}
		return privateLine.ReplaceAllStringFunc(text, func(line string) string {
			if parts := privateLine.FindStringSubmatch(line); parts[2] == Hidden {
				return parts[1] + m[2] + parts[3]
			}
			return line
		})
	}
	return text
}

// replaceValues puts value into the lines that match, unless they have none or say that the node
// keeps the key.
func replaceValues(lines *regexp.Regexp, text, value string) string {
	return lines.ReplaceAllStringFunc(text, func(line string) string {
		parts := lines.FindStringSubmatch(line)
		if parts[2] == "" || parts[2] == KeptOnNode {
			return line
		}
		return parts[1] + value + parts[3]
	})
}
