// Package floodlog limits floods of log messages, for loggers whose messages outsiders can trigger
// at any rate.
//
// It owns counting per message text. It does not own the messages themselves. Enter at [New].
// Invariant: a message text passes a limited number of times a minute, and the next one that passes
// reports how many were dropped.
package floodlog
