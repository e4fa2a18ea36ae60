package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"wfm/internal/retry"
	"wfm/protocol"
)

const (
	outboxEntries = 512
	outboxBytes   = 4 << 20
	// How often a message is offered. A reason code is a clear refusal. If a connection breaks at a
	// message, the message is usually not the cause, but one that breaks the connection every time
	// must not block all others for ever. A dropped ACK is still in the journal, for the server to
	// ask for and for the next agent.
	ackRefusedTries = 5
	ackBrokenTries  = 20
	eventTries      = 3
	// outboxPause is the first pause after a message that was not accepted; it doubles.
	outboxPause = time.Second
)

// outMessage is a message to the server without its envelope. The envelope carries the ids of the
// connection, so it is made when the message is sent.
type outMessage struct {
	kind      protocol.Kind
	requestID string // ACKs only
	payload   json.RawMessage
	taken     func() // called once the broker has accepted the message; may be nil
}

// sendResult is the result of one attempt to send a message.
type sendResult int

const (
	sendTaken   sendResult = iota // the broker accepted it
	sendRefused                   // the broker refused it, reason code 0x80 or above
	sendAgain                     // no answer or no connection
	sendNever                     // it cannot be encoded, or this broker cannot accept it
)

// outbox delivers ACKs and command output in order, across reconnects, until the broker accepts
// them. It lives in memory: after a crash the next agent queues the important answers again from
// its journal.
type outbox struct {
	log   *slog.Logger
	pause time.Duration // before a message is offered again; doubles

	mu      sync.Mutex
	queue   []outMessage
	bytes   int
	changed chan struct{} // closed and replaced whenever the queue changes
}

func newOutbox(log *slog.Logger, pause time.Duration) *outbox {
	return &outbox{log: log, pause: pause, changed: make(chan struct{})}
}

// Put queues a message. It never blocks. When the outbox is full, the oldest output is dropped
// first, then the oldest ACK.
func (o *outbox) Put(m outMessage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append(o.queue, m)
	o.bytes += len(m.payload)
	for len(o.queue) > 1 && (len(o.queue) > outboxEntries || o.bytes > outboxBytes) {
		victim := 0
		for i, q := range o.queue[:len(o.queue)-1] {
			if !q.kind.IsAck() {
				victim = i
				break
			}
		}
		o.log.Warn("outbox is full, a message is dropped", "type", o.queue[victim].kind, "request_id", o.queue[victim].requestID)
		o.bytes -= len(o.queue[victim].payload)
		o.queue = append(o.queue[:victim:victim], o.queue[victim+1:]...)
	}
	o.wakeLocked()
}

func (o *outbox) wakeLocked() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// head returns the oldest message, or a channel that closes when there may be one.
func (o *outbox) head() (outMessage, bool, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return outMessage{}, false, o.changed
	}
	return o.queue[0], true, o.changed
}

// remove removes the message that was at the head. Put may have dropped it meanwhile.
func (o *outbox) remove(m outMessage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 || !same(o.queue[0], m) {
		return
	}
	o.bytes -= len(m.payload)
	o.queue[0] = outMessage{} // release the payload
	o.queue = o.queue[1:]
	o.wakeLocked()
}

// same reports whether a and b are the same queued message. It compares the payload's address,
// because two ACKs may well have equal text.
func same(a, b outMessage) bool {
	return len(a.payload) > 0 && len(b.payload) > 0 && &a.payload[0] == &b.payload[0]
}

// Run sends until ctx ends. send is called for one message at a time.
func (o *outbox) Run(ctx context.Context, send func(context.Context, outMessage) sendResult) {
	tries := 0
	for {
		m, ok, changed := o.head()
		if !ok {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return
			}
		}
		result := send(ctx, m)
		if ctx.Err() != nil && result != sendTaken {
			return
		}
		tries++
		giveUp := result != sendTaken && tries >= triesFor(m.kind, result)
		if giveUp {
			o.log.Error("a message cannot be delivered, it is dropped", "type", m.kind, "request_id", m.requestID, "tries", tries)
		}
		if result == sendTaken && m.taken != nil {
			m.taken()
		}
		if result == sendTaken || giveUp {
			o.remove(m)
			tries = 0
			continue
		}
		select {
		case <-time.After(retry.Pause(o.pause, 16*o.pause, tries-1)):
		case <-ctx.Done():
			return
		}
	}
}

func triesFor(kind protocol.Kind, result sendResult) int {
	switch {
	case result == sendNever:
		return 1
	case !kind.IsAck():
		return eventTries
	case result == sendRefused:
		return ackRefusedTries
	}
	return ackBrokenTries
}

// Flush waits until everything is delivered or ctx ends.
func (o *outbox) Flush(ctx context.Context) {
	for {
		_, waiting, changed := o.head()
		if !waiting {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// message encodes one of our own payloads. This cannot fail: they are plain structs.
func message(kind protocol.Kind, payload any) outMessage {
	raw, err := json.Marshal(payload)
	if err != nil {
		raw = json.RawMessage("{}")
	}
	return outMessage{kind: kind, payload: raw}
}
