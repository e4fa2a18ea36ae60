package mesh

import (
	"fmt"
	"strings"
)

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"   // the mesh must not be applied so
	SeverityWarning Severity = "warning" // it works, but maybe not as meant
)

// Finding is something about a mesh that a person should know. Message names the field and the remedy.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	NodeID   string   `json:"node_id,omitempty"` // that it is about
	LinkID   string   `json:"link_group_id,omitempty"`
	Message  string   `json:"message"`
}

// mostNamed is how many things a message lists.
const mostNamed = 5

// named lists the first few of all, like "a, b and 3 more".
func named[T any](all []T, name func(T) string) string {
	words := make([]string, 0, mostNamed)
	for _, v := range all[:min(len(all), mostNamed)] {
		words = append(words, name(v))
	}
	if more := len(all) - mostNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(words, ", "), more)
	}
	return strings.Join(words, ", ")
}

func nameOf(n *member) string { return n.Name }

// The codes of findings.
const (
	CodeNoAddress         = "NO_ADDRESS"           // a node has no address in the tunnel
	CodeNoLinks           = "NO_LINKS"             // a node has none that is in use
	CodeUnreachable       = "UNREACHABLE"          // neither of two nodes can reach the other one
	CodeDuplicateLink     = "DUPLICATE_LINK"       // two enabled links of one pair
	CodeBrokenLink        = "BROKEN_LINK"          // a link that is not one of two nodes of the mesh
	CodeLinkRests         = "LINK_RESTS"           // a link of a disabled node
	CodeAddressTwice      = "ADDRESS_TWICE"        // two nodes have the same one
	CodeAddressOutside    = "ADDRESS_OUTSIDE"      // of the subnet
	CodeAddressInRoutes   = "ADDRESS_IN_ROUTES"    // the network behind a node has the address of another one
	CodeRoutesOverlap     = "ROUTES_OVERLAP"       // two nodes have the same network behind them
	CodeAllowedIPsTwice   = "ALLOWED_IPS_TWICE"    // two peers of a node have the same network
	CodeAllowedIPsOverlap = "ALLOWED_IPS_OVERLAP"  // the network of one peer is a part of another one's
	CodeNoAllowedIPs      = "NO_ALLOWED_IPS"       // nothing is sent to a peer
	CodeSubnetTaken       = "SUBNET_TAKEN"         // the subnet has an address that must be reached outside of the tunnel
	CodePublicTwice       = "PUBLIC_ADDRESS_TWICE" // two nodes have the same public address and port
	CodeCutsOff           = "CUTS_OFF"             // the tunnel would keep a node from reaching the appliance
	CodeEndpointInTunnel  = "ENDPOINT_IN_TUNNEL"   // the tunnel takes the way to a peer's public address
	CodeNoKey             = "NO_KEY"               // a node has no key, or none yet
	CodeKeyTwice          = "KEY_TWICE"            // two nodes have the same one
	CodeKeyMismatch       = "KEY_MISMATCH"         // the public key does not belong to the private one
	CodeInvalidValue      = "INVALID_VALUE"        // a field that no tunnel config can have
	CodeInvalidText       = "INVALID_TEXT"         // the tunnel config cannot be pushed
	CodeTextLacksPeer     = "TEXT_LACKS_PEER"      // the text of a node does not have its links
	CodeAWGDiffers        = "AWG_DIFFERS"          // values that have to be equal are not
	CodeBadForward        = "BAD_PORT_FORWARD"     // a port forward that cannot work
	CodeNothingToMask     = "MASQUERADE_WITHOUT_ROUTES"
	CodeOtherFamily       = "OTHER_ADDRESS_FAMILY" // a node is reached at another address than was preferred
	CodeNoWay             = "NO_WAY"               // a gateway does not know the way to a node
)
