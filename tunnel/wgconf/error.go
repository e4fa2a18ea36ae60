package wgconf

import (
	"fmt"
	"strconv"
	"strings"
)

// Error says all that is wrong with a config, in words for the person who wrote it. It never repeats
// a secret.
type Error struct {
	// Faults are in the order of the lines; there is at least one. Line 0 comes first: such a fault
	// is about the whole text.
	Faults []Fault
}

// Fault is one thing that is wrong.
type Fault struct {
	Line    int    `json:"line"` // from 1; 0 when it is about the whole text
	Problem string `json:"problem"`
}

// NewError is an error about the whole text.
func NewError(problem string) *Error { return &Error{[]Fault{{Problem: problem}}} }

// maxFaults is how many faults an error describes; of the others it gives the lines only.
const maxFaults = 20

// Error describes the first faults and gives the lines of the others.
func (e *Error) Error() string {
	var b strings.Builder
	for i, f := range e.Faults[:min(len(e.Faults), maxFaults)] {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(f.String())
	}
	if rest := e.Faults[min(len(e.Faults), maxFaults):]; len(rest) > 0 {
		fmt.Fprintf(&b, "; and %d more, on lines %s", len(rest), lineRanges(rest))
	}
	return b.String()
}

// String is the fault with its line.
func (f Fault) String() string {
	if f.Line == 0 {
		return f.Problem
	}
	return fmt.Sprintf("line %d: %s", f.Line, f.Problem)
}

// lineRanges lists the lines of faults like "3, 5-9, 12".
func lineRanges(faults []Fault) string {
	var b strings.Builder
	for i := 0; i < len(faults); {
		from, to := faults[i].Line, faults[i].Line
		for i++; i < len(faults) && faults[i].Line <= to+1; i++ {
			to = faults[i].Line
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Itoa(from))
		if to > from {
			fmt.Fprintf(&b, "-%d", to)
		}
	}
	return b.String()
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
