// Package floodlog cuts floods of log messages, for loggers of which strangers decide how often
// they speak.
//
// It owns counting per message text. It does not own what is logged. Enter at [New]. Invariant: a
// message text is let through a bounded number of times a minute, and how many were left out is
// told with the next one.
package floodlog
