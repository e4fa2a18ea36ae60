package agent

import (
	"context"
	"fmt"

	"wfm/protocol"
)

// eventRestored tells the server that a change was taken back after all, long after it was answered
// as failed and not rolled back.
const eventRestored = "tunnel_restored"

// restoreUntilCalled is one attempt to bring back what ran before a change that could not be taken
// back. A command does not wait for it: it ends the attempt, and may well supersede it.
func (x *executor) restoreUntilCalled(ctx context.Context) {
	attempt, end := context.WithCancel(ctx)
	defer end()
	done := make(chan struct{})
	go func() {
		defer close(done)
		x.restore(attempt)
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
	x.server.Reconnect() // the old connection may be as dead as the routes it was made for
	x.send(protocol.KindEvent, protocol.Event{
		Level: "info", Event: eventRestored, RequestID: c.RequestID,
		Message: fmt.Sprintf("%s: %s; the change by %s %s is taken back at last", c.Interface, state, c.Kind, c.RequestID),
	})
	x.beat()
}
