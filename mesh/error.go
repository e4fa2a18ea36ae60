package mesh

import "fmt"

// Error is a refusal, in words for the person who asked. Message names the field and the remedy.
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
	CodeKeyElsewhere     = "KEY_ELSEWHERE"
	CodeInvalidPeerLink  = "INVALID_PEER_LINK"
	CodeInvalidQuickMesh = "INVALID_QUICK_MESH"
	CodeInvalidAWG       = "INVALID_AWG_VALUE"

	CodeInvalidPortForward = "INVALID_PORT_FORWARD"
)

func (e *Error) Error() string { return e.Message }

func refuse(code, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...)}
}
