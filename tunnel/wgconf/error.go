package wgconf

import (
	"fmt"
	"strconv"
	"strings"
)

// Error lists all faults of a config, for the person who wrote it. It never repeats a secret.
type Error struct {
	// Faults are in the order of the lines; there is at least one. Faults of the whole text, with
	// line 0, come first.
	Faults []Fault
}

// Fault is one fault of a config.
type Fault struct {
	Line    int    `json:"line"` // from 1; 0 for the whole text
	Problem string `json:"problem"`
}

// NewError returns an error about the whole text.
func NewError(problem string) *Error { return &Error{[]Fault{{Problem: problem}}} }

// maxFaults is the number of faults that an error describes; of the others it gives only the lines.
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

// String returns the fault with its line.
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
	maxQuote = 60 // bytes of a value that an error repeats
	// A key has 43 characters of base64. Much shorter runs are hidden, too, for keys that were cut
	// in two; addresses and numbers have no longer words.
	keyRun = 20
)

// quote quotes s for an error message. It hides a value that could be a key: people forget line
// breaks, or give a value to the wrong key.
func quote(s string) string {
	if looksLikeKey(s) {
		return "this (not shown, it looks like a key)"
	}
	// In ASCII, so that letters of other scripts can be recognized.
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
