package wire

import "strings"

// Bounds of a call about many nodes.
const (
	BulkRows      = 1000
	BulkBodyLimit = 4 << 20 // bytes
)

// ConfBodyLimit has room for the longest possible text, however a client escapes it.
const ConfBodyLimit = 1 << 20

// IsWindows reports whether an agent's platform is Windows.
func IsWindows(platform string) bool { return strings.HasPrefix(strings.ToLower(platform), "windows") }
