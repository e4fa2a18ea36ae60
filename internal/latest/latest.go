// Package latest returns the latest of several moments.
package latest

import "time"

// Of returns the later of a and b.
func Of(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
