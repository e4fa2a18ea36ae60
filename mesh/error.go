package mesh

import (
	"fmt"
	"strings"
)

// Error is a refusal, in words for the person who asked. Message names the field and the remedy; it begins
// with the field, if it is about one alone.
type Error struct {
	Code    string
	Message string
}

// The codes of an [Error].
const (
	CodeInvalidSubnet    = "INVALID_SUBNET"
	CodeInvalidVirtualIP = "INVALID_VIRTUAL_IP"
	CodeIPPoolExhausted  = "IP_POOL_EXHAUSTED"
	CodeInvalidKey       = "INVALID_KEY"
	CodeNoNewKey         = "NO_NEW_KEY"
	CodeKeyElsewhere     = "KEY_ELSEWHERE"
	CodeInvalidPeerLink  = "INVALID_PEER_LINK"
	CodeInvalidQuickMesh = "INVALID_QUICK_MESH"
	CodeInvalidAWG       = "INVALID_AWG_VALUE"
	CodeInvalidImport    = "INVALID_IMPORT"

	CodeInvalidPortForward = "INVALID_PORT_FORWARD"
	CodeTopologyInvalid    = "TOPOLOGY_INVALID"
)

func (e *Error) Error() string { return e.Message }

// Field returns the name of the field that the refusal is about, or "".
func (e *Error) Field() string {
	word, _, _ := strings.Cut(e.Message, " ")
	word = strings.TrimSuffix(word, ":")
	if word == "" || strings.ContainsFunc(word, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '.' }) {
		return ""
	}
	return word
}

func refuse(code, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...)}
}
