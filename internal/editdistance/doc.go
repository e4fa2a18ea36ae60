// Package editdistance counts how far two words are apart, to suggest the one that was meant.
//
// It owns the count alone: which distance is near enough, and which words are known, is the caller's.
//
// Enter at [Of].
package editdistance
