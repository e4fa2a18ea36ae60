// Package environ finds environment variables that a program does not know, for both programs'
// command lines. It reads names only; values may be secrets and stay unread.
//
// Enter at [Unknown].
package environ
