package wgconf

import (
	"regexp"
	"strings"
)

// secretKeys are the keys of a config whose values are secrets.
var secretKeys = []string{"PrivateKey", "PresharedKey", "HeaderProtectionKey"}

// keyText finds what looks like a key of WireGuard.
var keyText = regexp.MustCompile(`[A-Za-z0-9+/]{43}=`)

// Comparable returns two texts without their secrets, so that they can be compared where no secret may be
// shown. A secret that only one of them has is named as that. Of a line that has no public key, all that
// looks like a key is hidden, whatever the line is: hooks and comments may have keys too. The texts need
// not be valid.
func Comparable(before, after string) (string, string) {
	return withoutKeys(before, after, "(hidden, former)"), withoutKeys(after, before, "(hidden, new)")
}

func withoutKeys(text, other, onlyHere string) string {
	word := func(secret string) string {
		if strings.Contains(other, secret) {
			return Hidden
		}
		return onlyHere
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		key, rest, assigned := strings.Cut(line, "=")
		name := strings.TrimSpace(key)
		switch value, _, _ := strings.Cut(rest, "#"); {
		case assigned && strings.EqualFold(name, "PublicKey"):
		case assigned && isSecret(name) && !strings.EqualFold(strings.TrimSpace(value), KeptOnNode):
			if secret := strings.TrimSpace(value); secret != "" {
				line = key + "= " + word(secret) + ending(line)
			}
		default:
			line = keyText.ReplaceAllStringFunc(line, word)
		}
		b.WriteString(line)
	}
	return b.String()
}

func isSecret(name string) bool {
	for _, k := range secretKeys {
		if strings.EqualFold(name, k) {
			return true
		}
	}
	return false
}

func ending(line string) string {
	return line[len(strings.TrimRight(line, "\r\n")):]
}
