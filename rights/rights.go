package rights

import (
	"strings"

	"wfm/protocol"
	"wfm/store"
)

// Login is an attempt to log in to the broker.
type Login struct {
	ClientID string
	Password []byte
	Will     *Will // nil without one, or if it is checked when it is published
}

// Will is the last will of a login.
type Will struct {
	Topic  string
	QoS    byte
	Retain bool
}

// Verdict is the decision about a login.
type Verdict int

// The verdicts.
const (
	Admitted Verdict = iota
	UnknownUser
	WrongPassword
	ForeignClientID // not the client ID of the node
	ForbiddenWill   // not on the node's own event topic, or one that the broker would keep
)

// Admit decides a login under a user name that has the grant g. If it has none, g is the zero Grant.
func Admit(g store.Grant, l Login) Verdict {
	password := g.CheckPassword(l.Password) // for an unknown user as well
	switch {
	case g.NodeID == "":
		return UnknownUser
	case !password:
		return WrongPassword
	case !isOf(g, l.ClientID):
		return ForeignClientID
	case l.Will != nil && !mayLeave(g, *l.Will):
		return ForbiddenWill
	}
	return Admitted
}

// isOf reports whether the client ID is that of the node. It allocates nothing: it is asked about every
// message.
func isOf(g store.Grant, clientID string) bool {
	id, ok := strings.CutPrefix(clientID, protocol.ClientIDPrefix)
	return ok && id == g.NodeID
}

// mayLeave reports whether the node may have the broker publish the will.
func mayLeave(g store.Grant, w Will) bool {
	own := protocol.Topic{ConfigID: g.ConfigID, NodeID: g.NodeID, Kind: protocol.KindEvent}
	return w.Topic == own.String() && !w.Retain && w.QoS <= 1
}

// Session is a client that has logged in.
type Session struct {
	ClientID string
	// Generation is that of the grant with which it logged in.
	Generation uint64
}

// Holds reports whether g, the current grant of the session's user, is the one with which the session
// logged in.
func Holds(g store.Grant, s Session) bool {
	return g.NodeID != "" && g.Generation == s.Generation && isOf(g, s.ClientID)
}

// MayPublish reports whether the session may publish to the topic name. g is the current grant of its
// user. kept says that the broker would retain the message.
func MayPublish(g store.Grant, s Session, topic string, kept bool) bool {
	return Holds(g, s) && !kept && protocol.MayPublish(g.ConfigID, g.NodeID, topic)
}

// MaySubscribe reports whether the session may subscribe with the topic filter, or receive from a
// topic. g is the current grant of its user.
func MaySubscribe(g store.Grant, s Session, filter string) bool {
	return Holds(g, s) && protocol.MaySubscribe(g.ConfigID, g.NodeID, filter)
}
