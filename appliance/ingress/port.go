package ingress

import (
	"errors"
	"time"

	"wfm/protocol"
)

// ErrRefused is returned (wrapped) by [Port.Receive] for a message that was looked at, recorded
// and not taken: it will never be taken, so sending it again is of no use.
var ErrRefused = errors.New("message refused")

// Message is one message of a session.
type Message struct {
	Session Session
	Topic   protocol.Topic
	Payload []byte
}

// Port takes what sessions do, from either broker. Its methods are called from each connection's own
// goroutine and may block it, but never change a right: that waits for the end of its session.
type Port interface {
	// Receive takes a message published by the session. Nil means it is stored and may be
	// acknowledged. ErrRefused: it never will be. Any other error: it could not be stored now.
	Receive(s Session, topic protocol.Topic, message []byte) error
	// Will takes the session's last will.
	Will(s Session, message []byte, cause WillCause)
	// Connected is called once the session is established, before its first message.
	Connected(s Session)
	// Subscribed is called after the session's SUBACK was written.
	Subscribed(s Session)
	// Disconnected is called when an established session has ended and nothing of it is left.
	// reason is in words.
	Disconnected(s Session, reason string)
}

// WillCause is why a last will is released.
type WillCause int

// The causes.
const (
	// WillClosed: the node's side closed the connection without a farewell. The agent has ended.
	WillClosed WillCause = iota
	// WillSilent: nothing was heard within the keep-alive time, so the broker closed the connection.
	// The node may be as well as before, behind a broken link: it has said nothing.
	WillSilent
	// WillSuperseded: another session of the node has taken over, or this one was ended on purpose.
	// It says nothing about the node.
	WillSuperseded
)

// Session is one MQTT session of a node's agent.
type Session struct {
	// ID counts the sessions of this process, from 1. An external broker names a connection by when
	// it began, and does not say which one a message is of: 0 then.
	ID         uint64
	NodeID     string
	ConfigID   string
	Generation uint64 // of the grant it logged in with
	Remote     string
	Since      time.Time // when it took the place of any older one
	// Instance names the running agent, if it says so at login; see protocol.PropertyInstance.
	Instance string
	// Replaced is the live session whose place it took; nil when there was none.
	Replaced *Replaced
	// Late says that the broker has kept the message until now, and the session has ended since: it
	// is no sign of life.
	Late bool
}

// Replaced is a live session that another one has ended by logging in.
type Replaced struct {
	Remote   string
	Instance string
	Since    time.Time
}
