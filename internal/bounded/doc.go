// Package bounded waits for the end of something no longer than a context allows.
//
// It owns the wait. It does not own the goroutines: they end by themselves, or go on without anyone
// who waits. Enter at [Wait].
package bounded
