// Package roomtest holds every package to the size of a room that a reader can take in. It has tests only.
package roomtest
