package wgconf

import (
	"strings"
	"unicode"

	"wfm/internal/editdistance"
)

// lower folds ASCII only, as the tools do. The Kelvin sign does not become a k.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// unknownKey returns an error that names the most similar key.
func unknownKey(name, family string) error {
	words := "is not a key of a WireGuard config"
	if family == "awg" {
		words = "is not a key of an AmneziaWG config"
	}
	if meant := nearestKey(name, family); meant != "" {
		return problem("%s %s; did you mean %s?", quote(name), words, meant)
	}
	return problem("%s %s", quote(name), words)
}

// nearestKey returns the key of the family that is most similar to name, or "".
func nearestKey(name, family string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune(" \t_-", r):
			return -1
		case r > unicode.MaxASCII: // a lookalike; counts as one change
			return '?'
		}
		return r
	}, lower(name))
	best, least := "", 3
	for _, k := range keyList {
		if k.awg && family != "awg" || len(name) > len(k.name)+2 {
			continue
		}
		// Two changes make any two short keys equal.
		if d := editdistance.Of(name, lower(k.name)); d < min(least, len(k.name)/2) {
			best, least = k.name, d
		}
	}
	return best
}
