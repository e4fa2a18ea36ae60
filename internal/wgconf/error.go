package wgconf

import (
	"fmt"
	"strconv"
	"strings"
)

// Error says what is wrong with a config, in words for whoever wrote it. It never repeats a secret.
type Error struct {
	Line    int // from 1; 0 when it is about the whole text
	Problem string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Problem
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Problem)
}

const (
	maxQuote = 60 // bytes of the text that are repeated in an error
	// A key is 43 characters of base64. Runs well below that stay hidden too, for keys that were cut
	// in two; longer words do not occur in addresses and numbers.
	keyRun = 20
)

// quote is s for an error message. A value that could be a key is not shown: people forget a line
// break, or give a value to the wrong key.
func quote(s string) string {
	if looksLikeKey(s) {
		return "this (not shown, it looks like a key)"
	}
	// In ASCII, so that a letter of another script is seen for what it is.
	if len(s) > maxQuote {
		return strconv.QuoteToASCII(strings.ToValidUTF8(s[:maxQuote], "")) + "…"
	}
	return strconv.QuoteToASCII(s)
}

func looksLikeKey(s string) bool {
	run := 0
	for _, c := range []byte(s) {
		switch {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '+', c == '/':
			run++
		default:
			run = 0
		}
		if run == keyRun {
			return true
		}
	}
	return false
}
