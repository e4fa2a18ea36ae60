package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wfm/protocol"
)

const (
	confirmLimit = 60 * time.Second // for reaching the server again after a change
	retryPause   = 2 * time.Second
)

// eventUnreached reports, once the server is reached again, that it stayed unreachable although a
// change had been taken back.
const eventUnreached = "server_unreached"

// errStopping is returned if the agent stops before a change is confirmed; the next agent
// continues.
var errStopping = errors.New("the agent is stopping")

// uplink is the part of the session that the confirmation of a change needs.
type uplink interface {
	// RoundTrip proves that the server is reachable now, and not only when the session was
	// established: by a new connection, and by a PUBACK for m.
	RoundTrip(ctx context.Context, m outMessage) error
	// Urgent makes the session reconnect without the long waits of normal operation.
	Urgent(on bool)
	// Reconnect replaces the connection, or the current attempt to connect, by a new one.
	Reconnect()
}

// settle ends an open change, fresh or left by a former agent: the change is either confirmed or
// taken back. The node alone decides, before its answer goes out: if it waited for the server to
// confirm the answer, neither could ever be sure of the other. A server that is away for the whole
// time cannot be distinguished from one that the change cut off. With a cause, the change is taken
// back at once. settle returns false if the agent stops first; the change then stays open.
func (x *executor) settle(ctx context.Context, c change, cause error) (protocol.Ack, bool) {
	log := x.log.With("type", c.Kind, "request_id", c.RequestID)
	x.server.Urgent(true)
	defer x.server.Urgent(false)
	ack := protocol.Ack{Action: c.Action, Status: protocol.AckApplied}
	if cause == nil {
		cause = x.confirm(ctx, c)
	}
	if errors.Is(cause, errStopping) {
		log.Info("a change is left to be confirmed by the next agent")
		return ack, false
	}
	if cause != nil {
		log.Warn("a change is taken back", "cause", cause)
		out, err := x.tunnels.TakeBack(ctx, c, cause)
		x.server.Reconnect() // the old connection may be as dead as the routes it was made for
		ack = failed(protocol.Ack{Action: c.Action, RolledBack: out.rolledBack}, err)
	}
	x.describeChange(&ack, c)
	return ack, true
}

// describeChange describes in ack the result of the change.
func (x *executor) describeChange(ack *protocol.Ack, c change) {
	if c.Kind != protocol.KindPush {
		if ack.Status == protocol.AckApplied {
			ack.Message = withNote(c.Interface+" is running", c.Note)
		}
		return
	}
	err := x.tunnels.report(ack, c.ProfileID, c.Interface)
	switch {
	case ack.Status != protocol.AckApplied:
	case err != nil:
		*ack = failed(*ack, err)
	default:
		ack.Message = withNote(fmt.Sprintf("version %d is stored and %s runs it", ack.ConfigVersion, c.Interface), c.Note)
	}
}

// confirm waits until the server is reached with the change in effect. It returns the reason why
// the change must be taken back, or errStopping.
func (x *executor) confirm(ctx context.Context, c change) error {
	ctx, cancel := context.WithTimeout(ctx, c.left(x.tunnels.confirmLimit))
	defer cancel()
	for {
		err := x.attempt(ctx, c)
		if err == nil {
			return nil
		}
		x.log.Info("a change is not confirmed yet", "type", c.Kind, "request_id", c.RequestID, "err", err)
		select {
		case <-x.stop:
			return errStopping
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return errStopping
			}
			what := "the tunnel"
			if c.Kind == protocol.KindPush {
				what = "the config"
			}
			return fmt.Errorf("%s cut this node off from its server: no answer within %s after the change (%w)", what, x.tunnels.confirmLimit, err)
		case <-time.After(x.tunnels.retryPause):
		}
	}
}

// attempt tries once to reach the server with the change in effect.
func (x *executor) attempt(ctx context.Context, c change) error {
	if x.tunnels.link(c.Interface) != linkUp {
		return fmt.Errorf("%s is not up", c.Interface) // a change that is not in effect proves nothing
	}
	m := message(c.Kind.Ack(), protocol.Ack{
		Status: protocol.AckAccepted, Action: c.Action, Message: "applied; confirming that the server is still within reach",
	})
	m.requestID = c.RequestID
	return x.reach(ctx, m)
}

// reach makes a round trip that a clean stop ends.
func (x *executor) reach(ctx context.Context, m outMessage) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-x.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return x.server.RoundTrip(ctx, m)
}

// verifyBack checks whether the server is reachable again after a change was taken back. If not,
// there is nothing left to undo, but the operator should know: hooks of the config may have changed
// more than they undo. The next command waits for the running attempt at most.
func (x *executor) verifyBack(ctx context.Context, kind protocol.Kind, requestID string) {
	limit := min(2*roundTripLimit, x.tunnels.confirmLimit)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	x.server.Urgent(true)
	defer x.server.Urgent(false)
	for {
		err := x.reach(ctx, x.heartbeat())
		if err == nil || x.stopping() || len(x.changes) > 0 {
			return
		}
		select {
		case <-x.stop:
			return
		case <-time.After(x.tunnels.retryPause):
			continue
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return // a command ended the attempt, or the agent stops
			}
		}
		x.log.Warn("the server is not reached although a change is taken back", "type", kind, "request_id", requestID, "err", err)
		x.send(protocol.Event{
			Level: "warning", Event: eventUnreached, RequestID: requestID,
			Message: fmt.Sprintf("the change by %s %s is taken back, but the server was not reached within %s after that (%v): it was away, or hooks of the "+
				"config have left something behind",
				kind, requestID, limit, err),
		})
		return
	}
}

// resume ends a change that a former agent left open. It runs before any new command changes the
// node.
func (x *executor) resume(ctx context.Context, c change) {
	x.log.Warn("a change was left open by a former agent", "type", c.Kind, "request_id", c.RequestID, "interface", c.Interface)
	var cause error
	switch {
	case c.Deadline.IsZero():
		cause = errCutShort
	case c.left(x.tunnels.confirmLimit) <= 0:
		cause = errors.New("the agent was not running when this change had to be confirmed")
	case x.tunnels.link(c.Interface) != linkUp: // usually after a reboot
		cause = fmt.Errorf("%s went down before this change was confirmed", c.Interface)
	}
	if ack, ended := x.settle(ctx, c, cause); ended {
		if c.Action.Starts() {
			x.concluded(protocol.Control{
				Action: c.Action, TunnelProtocol: c.TunnelProtocol, PreviousTunnelProtocol: c.PreviousTunnelProtocol, InterfaceName: c.Interface,
			}, c.RequestID, &ack)
		}
		x.finish(c.Kind, c.RequestID, ack)
		if ack.RolledBack {
			x.verifyBack(ctx, c.Kind, c.RequestID)
		}
	}
}
