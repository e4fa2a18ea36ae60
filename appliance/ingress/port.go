package ingress

import (
	"errors"
	"time"

	"wfm/protocol"
)

// ErrRefused is returned (wrapped) by [Port.Receive] for a message that was examined, recorded and
// refused for good: sending it again is useless.
var ErrRefused = errors.New("message refused")

// Message is one message of a session.
type Message struct {
	Session Session
	Topic   protocol.Topic
	Payload []byte
}

// Port takes the events of sessions, from either broker. Its methods are called on each
// connection's own goroutine and may block it, but never change a right: that waits for the end of
// its session.
type Port interface {
	// Receive takes a message published by the session. Nil means that it is stored and may be
	// acknowledged, ErrRefused that it never will be. Any other error means that it could not be
	// stored now.
	Receive(s Session, topic protocol.Topic, message []byte) error
	// Will takes the session's last will.
	Will(s Session, message []byte, cause WillCause)
	// Connected is called once the session is established, before its first message.
	Connected(s Session)
	// Subscribed is called after the session's SUBACK was written.
	Subscribed(s Session)
	// Disconnected is called once an established session has ended completely. reason is for
	// people.
	Disconnected(s Session, reason string)
}

// WillCause is the reason why a last will is published.
type WillCause int

// The causes.
const (
	// WillClosed: the node's side closed the connection without a farewell. The agent has ended.
	WillClosed WillCause = iota
	// WillSilent: nothing arrived within the keep-alive time, so the broker closed the connection.
	// The node may be well, behind a broken link: it has said nothing.
	WillSilent
	// WillSuperseded: another session of the node has replaced this one, or this one was ended on
	// purpose. That says nothing about the node.
	WillSuperseded
)

// Session is one MQTT session of a node's agent.
type Session struct {
	// ID counts the sessions of this process, from 1. An external broker identifies a connection by
	// its begin, and does not say to which one a message belongs: then ID is 0.
	ID         uint64
	NodeID     string
	ConfigID   string
	Generation uint64 // of the grant used to log in
	Remote     string
	Since      time.Time // when it replaced any older one
	// Instance names the running agent, if it says so at login; see protocol.PropertyInstance.
	Instance string
	// Replaced is the live session that it replaced; nil if there was none.
	Replaced *Replaced
	// Late says that the broker kept the message until now, and that the session has ended since:
	// it is not a sign of life.
	Late bool
}

// Replaced is a live session that another one ended by logging in.
type Replaced struct {
	Remote   string
	Instance string
	Since    time.Time
}
