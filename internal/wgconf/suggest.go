package wgconf

import (
	"strings"
	"unicode"
)

// lower folds ASCII only, as the tools do. The Kelvin sign is no k.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// unknownKey names the key that was probably meant.
func unknownKey(name, family string) error {
	words := "is no key of a WireGuard config"
	if family == "awg" {
		words = "is no key of an AmneziaWG config"
	}
	if meant := nearestKey(name, family); meant != "" {
		return problem("%s %s; did you mean %s?", quote(name), words, meant)
	}
	return problem("%s %s", quote(name), words)
}

// nearestKey is the key of the family that differs from name by little, or "".
func nearestKey(name, family string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune(" \t_-", r):
			return -1
		case r > unicode.MaxASCII: // a lookalike, one byte of difference
			return '?'
		}
		return r
	}, lower(name))
	best, least := "", 3
	for _, k := range keyList {
		if k.awg && family != "awg" || len(name) > len(k.name)+2 {
			continue
		}
		// Two changes make any two short keys alike.
		if d := distance(name, lower(k.name)); d < min(least, len(k.name)/2) {
			best, least = k.name, d
		}
	}
	return best
}

// distance counts the letters to change, add or drop to make a of b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
