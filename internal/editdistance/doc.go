// Package editdistance computes the distance between two words, to suggest the intended word.
//
// It owns only the computation: the caller knows the words and decides which distance is near
// enough.
//
// Enter at [Of].
package editdistance
