package agent

import (
	"context"
	"fmt"

	"wfm/protocol"
)

// eventLeft reports that a change was not taken back because its interface has another name now,
// and that its tunnel is down.
const eventLeft = "tunnel_left"

// untilCalled makes one attempt to bring a tunnel back. A command does not wait for it: the command
// ends the attempt, and may well supersede it.
func (x *executor) untilCalled(ctx context.Context, try func(context.Context)) {
	attempt, end := context.WithCancel(ctx)
	defer end()
	done := make(chan struct{})
	go func() {
		defer close(done)
		try(attempt)
	}()
	select {
	case <-done:
	case c := <-x.changes:
		end()
		<-done
		x.execute(ctx, c.env)
	case <-x.stop:
		end()
		<-done
	}
}

func (x *executor) restore(ctx context.Context) {
	c, state, err := x.tunnels.Restore(ctx, x.profile.ID())
	if c == nil {
		return
	}
	log := x.log.With("type", c.Kind, "request_id", c.RequestID, "interface", c.Interface)
	if err != nil {
		log.Warn("a change cannot be taken back yet", "err", err)
		return
	}
	log.Info("a change is taken back at last", "result", state)
	// First record the event, then remove the change: if the agent ends in between, the next one
	// sends the event.
	text := fmt.Sprintf("%s: %s; the change by %s %s is taken back at last", c.Interface, state, c.Kind, c.RequestID)
	if err := x.journal.Restored(c.Kind, c.RequestID, text); err != nil {
		log.Error("journal cannot be written, the event is sent nevertheless", "err", err)
	}
	if err := removeChange(x.tunnels.configs.dir, c.ProfileID); err != nil {
		log.Error("the record of a change that is taken back stays", "err", err)
	}
	x.server.Reconnect() // the old connection may be as dead as the routes it was made for
	x.tellRestored(c.Kind, c.RequestID, text)
	x.beat()
	x.verifyBack(ctx, c.Kind, c.RequestID)
}

// tellRestored queues the event that a change was finally taken back. Like an ACK, every agent
// repeats it until the broker has accepted it.
func (x *executor) tellRestored(kind protocol.Kind, requestID, text string) {
	m := message(protocol.KindEvent, protocol.Event{Level: "info", Event: protocol.EventTunnelRestored, RequestID: requestID, Message: text})
	m.taken = func() { _ = x.journal.Restored(kind, requestID, "") } // as in answer
	x.out.Put(m)
}

// leave ends an open change of another interface than the one that the command names.
func (x *executor) leave(ctx context.Context, g target) error {
	c, err := openChange(x.tunnels.configs.dir, g.profileID, x.journal)
	if err != nil || c == nil || c.Interface == g.iface {
		return nil //nolint:nilerr // what cannot be read was reported at the start, and keeps no command
	}
	note, err := x.tunnels.Leave(ctx, *c)
	if err != nil {
		return fmt.Errorf("nothing was changed: %s, the former interface of this node, must go down first: %w", c.Interface, err)
	}
	text := withNote(fmt.Sprintf("%s is stopped, and its former config is back: the change of it by %s %s could not be taken back before the interface became %s",
		c.Interface, c.Kind, c.RequestID, g.iface), note)
	x.log.Warn("a change is left for another interface", "type", c.Kind, "request_id", c.RequestID, "interface", c.Interface, "now", g.iface)
	x.send(protocol.Event{Level: "warning", Event: eventLeft, RequestID: c.RequestID, Message: text})
	return nil
}
