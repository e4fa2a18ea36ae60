package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"wfm/protocol"
)

const (
	// lookEvery is the interval at which the agent checks its tunnel on its own, in case the kernel
	// reports nothing.
	lookEvery = 30 * time.Second
	// settleLink is how long a tunnel that went down is left alone: a person who restarts it on the
	// node takes it down and up again.
	settleLink = 2 * time.Second
	// reviveMost is the longest wait between two attempts to start a wanted tunnel.
	reviveMost = 10 * time.Minute
	// reviveTries is the number of failed attempts in a row after which the agent reports to the
	// server.
	reviveTries = 5
)

// guard is the agent's knowledge of a wanted tunnel while it looks after the tunnel. Only the lane
// of changes uses it. Every start and stop resets it.
type guard struct {
	looked bool // the server knows up
	up     bool
	down   bool // tunnel_down was reported to the server
	failed int  // failed attempts in a row
	next   time.Time
}

// due returns the time of the next check, unless the kernel reports a change before.
func (g *guard) due(every time.Duration) time.Time {
	at := time.Now().Add(every)
	if g.down && g.next.Before(at) {
		return g.next
	}
	return at
}

// lookAfter checks whether the tunnel runs, reports a change to the server, and starts a wanted
// tunnel that does not run. first marks the first check of an agent, before which nothing on the
// node had time to act.
func (x *executor) lookAfter(ctx context.Context, first bool) {
	g := &x.guard
	up := x.tunnels.Up(x.profile.ID(), x.iface())
	if g.looked && g.up != up {
		x.beat()
	}
	g.looked, g.up = true, up
	want := x.wanted.Get()
	if up || want.State != protocol.WantedRunning {
		g.down, g.failed, g.next = false, 0, time.Time{}
		return
	}
	if x.tunnels.changeOpen(x.profile.ID(), want.Interface) {
		g.next = time.Now().Add(x.tunnels.lookEvery)
		return
	}
	if !g.down {
		g.down = true
		if !first {
			g.next = time.Now().Add(x.tunnels.settleLink)
		}
		x.tellDown(want)
	}
	if x.profile.restores() && !time.Now().Before(g.next) {
		x.untilCalled(ctx, func(ctx context.Context) { x.revive(ctx, want) })
	} else if !x.profile.restores() {
		g.next = time.Now().Add(x.tunnels.lookEvery)
	}
}

func (x *executor) tellDown(want wish) {
	text := want.Interface + " should run and was found stopped; it is started again"
	if !x.profile.restores() {
		text = want.Interface + " should run and was found stopped; the profile says not to restore it"
	}
	x.log.Warn("a tunnel that should run was found stopped", "interface", want.Interface)
	x.send(protocol.Event{Level: "warning", Event: protocol.EventTunnelDown, Message: text})
}

// revive makes one attempt to start a wanted tunnel. An attempt that a command ends does not count.
func (x *executor) revive(ctx context.Context, want wish) {
	g := &x.guard
	note, err := x.tunnels.Revive(ctx, x.profile.ID(), want, g.failed == 0)
	if err != nil && ctx.Err() != nil {
		return
	}
	if err != nil {
		g.next = time.Now().Add(min(x.tunnels.retryPause<<min(g.failed, 20), reviveMost))
		if g.failed++; g.failed == reviveTries {
			x.send(protocol.Event{
				Level: "error", Event: protocol.EventTunnelNotRestored,
				Message: fmt.Sprintf("%s should run and could not be started %d times, it is tried again at intervals of up to %s: %s",
					want.Interface, g.failed, reviveMost, oneLine(err)),
			})
		}
		x.log.Warn("a tunnel that should run cannot be started", "interface", want.Interface, "attempts", g.failed, "next", g.next, "err", err)
		return
	}
	want.BootID = kernelBootID()
	x.keep(want)
	x.guard = guard{looked: true, up: true}
	x.log.Info("a tunnel that should run was started again", "interface", want.Interface)
	x.send(protocol.Event{
		Level: "info", Event: protocol.EventTunnelRestored, Message: withNote(want.Interface+" should run and was not running; it was started again", note),
	})
	x.beat()
}

// changeOpen reports whether a change of the profile or of the interface still has to be confirmed
// or taken back. Nothing else starts or stops the tunnel meanwhile.
func (t *tunnels) changeOpen(profileID, iface string) bool {
	ids, err := openChanges(t.configs.dir)
	if err != nil {
		return true
	}
	for _, id := range ids {
		if c, err := loadChange(t.configs.dir, id); err == nil && c != nil && (id == profileID || c.Interface == iface) {
			return true
		}
	}
	return false
}

// Revive starts a wanted tunnel from its stored config. fresh marks the first attempt since the
// tunnel went down: effects of its hooks may still have to be undone.
func (t *tunnels) Revive(ctx context.Context, profileID string, want wish, fresh bool) (note string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g, err := newTarget(profileID, want.TunnelProtocol, "", want.Interface)
	if err != nil {
		return "", err
	}
	stored, err := t.owned(g)
	if err != nil {
		return "", err
	}
	if !stored.For(profileID) {
		return "", fmt.Errorf("no config is stored for %s: push the config", g.iface)
	}
	// A push may have brought another protocol since the start.
	family := cmp.Or(stored.runsAs(), g.family)
	switch t.link(g.iface) {
	case linkUp:
		return "", nil
	case linkDown:
		if note, err = t.takeDown(ctx, t.changeLimit, g, stored); err != nil {
			return "", err
		}
	case linkAbsent:
		if fresh && want.BootID != "" && want.BootID == kernelBootID() {
			t.runPostDown(ctx, g.iface, stored.Text)
		}
	}
	if err := t.takeUp(ctx, profileID, family, g.iface); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(err, ctx.Err())
		}
		return "", err
	}
	return note, nil
}

// openStop returns the stop that a former agent began and did not finish, or nil.
func (x *executor) openStop() *wish {
	if w := x.wanted.Get(); w.State == protocol.WantedStopped && w.Open {
		return &w
	}
	return nil
}

// resumeStop finishes the stop of a former agent. A second stop does no harm.
func (x *executor) resumeStop(ctx context.Context, w wish) {
	x.log.Warn("a stop was cut short by the end of the agent, it is carried out now", "request_id", w.RequestID, "interface", w.Interface)
	ack := protocol.Ack{Action: protocol.ActionStop, Status: protocol.AckApplied}
	g, err := newTarget(x.profile.ID(), w.TunnelProtocol, "", w.Interface)
	if err == nil {
		var out outcome
		out, err = x.tunnels.Stop(ctx, w.RequestID, g)
		ack.Message = out.message
	}
	if err != nil {
		ack = failed(ack, err)
	}
	w.Open = false
	x.keep(w)
	x.finish(protocol.KindControl, w.RequestID, ack)
}

// tryAgain makes the executor retry at once to start a wanted tunnel that could not be started.
func (x *executor) tryAgain() {
	select {
	case x.again <- struct{}{}:
	default:
	}
}
