// Package latest returns the latest of several moments.
package latest
