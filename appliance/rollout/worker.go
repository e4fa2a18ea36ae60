package rollout

import (
	"context"
	"errors"
	"time"

	"wfm/internal/refusal"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
)

const (
	// feedBuffer is the number of changes that may wait for a worker before it reads everything
	// again.
	feedBuffer = 4096
	// comeBack is how long a node may take to be online after its command, which can cut its
	// connection. At its turn, it is the time for a node whose connection broke or that a restart
	// of the appliance disconnected.
	comeBack = 60 * time.Second
	// retryRefused is the pause before a command is tried again if the node seemed to be online but
	// was not connected.
	retryRefused = 2 * time.Second
	// retryWrite is the pause before a change that could not be stored is tried again.
	retryWrite = 5 * time.Second
)

// worker runs one rollout. It wakes when a node being changed has news, and when a time is over.
type worker struct {
	*Runner
	id       string
	order    tunnel.Order // of a push
	by       string       // the author of its commands, used by no other command
	action   protocol.Action
	began    time.Time // time limits do not begin earlier
	patience time.Time // no node is skipped earlier: agents need some time after a restart of the broker

	// turn holds one token while a step is made and a command given. It guards adopt and refused.
	turn chan struct{}
	// adopt is set while commands may exist that are not noted.
	adopt bool
	// refused has the nodes that seemed to be online but were not connected.
	refused map[string]span

	underWay map[string]struct{} // undecided nodes of the wave; of the goroutine alone
}

type span struct{ first, last time.Time }

func newWorker(r *Runner, ro store.Rollout, now time.Time) *worker {
	return &worker{
		Runner: r, id: ro.ID, order: tunnel.Order{
			Staged: ro.Staged, Version: ro.Version, Force: ro.Force,
			Host: ro.BrokerHost, Starts: ro.Starts,
		}, by: author(ro.ID), action: ro.Action, began: now,
		turn: make(chan struct{}, 1), refused: make(map[string]span),
	}
}

// author returns the author of the rollout's commands.
func author(id string) string { return "rollout " + id }

func (w *worker) run() {
	changes := w.db.Subscribe(feedBuffer) // subscribe before reading
	defer func() { changes.Close() }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-w.stopping.Done():
			return
		case c, ok := <-changes.C:
			if !ok { // too slow for the feed, or the store is closed, which advance notices
				changes = w.db.Subscribe(feedBuffer)
			} else if !w.concerns(c) {
				continue
			}
		case <-timer.C:
		}
		forget(changes.C)
		wait, ok := w.advance()
		if !ok {
			return
		}
		timer.Reset(wait)
	}
}

// forget drops the waiting changes: the next step reads their nodes anyway.
func forget(changes <-chan store.Change) {
	for range feedBuffer {
		select {
		case _, ok := <-changes:
			if !ok {
				return // the next receive says so again
			}
		default:
			return
		}
	}
}

func (w *worker) concerns(c store.Change) bool {
	switch c.Kind {
	case store.ChangeRollout:
		return c.RolloutID == w.id
	case store.ChangeCommand, store.ChangeEvidence, store.ChangeNode:
		_, ok := w.underWay[c.NodeID]
		return ok
	case store.ChangeConfig, store.ChangePresence, store.ChangeJournal, store.ChangeApply, store.ChangeSettings, store.ChangeMesh:
		// A change of the config that affects a node is also a change of the node.
	}
	return false
}

// advance does everything that is due and returns how long to wait without a change. ok is false
// once the rollout is finished or deleted.
func (w *worker) advance() (wait time.Duration, ok bool) {
	for w.stopping.Err() == nil {
		p, err := w.once()
		switch {
		case errors.Is(err, store.ErrRolloutNotFound), errors.Is(err, store.ErrClosed):
			return 0, false
		case err != nil:
			w.log.Error("cannot continue a rollout; trying again", "rollout_id", w.id, "err", err)
			return retryWrite, true
		case p.finished:
			return 0, false
		case p.more:
			continue
		case p.at.IsZero():
			return time.Hour, true
		}
		return max(0, time.Until(p.at)), true
	}
	return 0, false
}

// once makes one step and takes its actions: it gives at most one command.
func (w *worker) once() (plan, error) {
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	p, err := w.step()
	if err != nil {
		return p, err
	}
	w.adopt, w.underWay = false, p.underWay
	for _, id := range p.withdraw {
		_, err := w.commands.Cancel(w.stopping, id, w.by)
		if err != nil && !errors.Is(err, store.ErrCommandEnded) && !errors.Is(err, store.ErrCommandNotFound) {
			return p, err // the next step repeats it
		}
	}
	if p.issue != nil {
		p.more = true
		err = w.issue(*p.issue, p.away)
	}
	return p, err
}

// command gives the node its command. away: the command waits for the node.
func (w *worker) command(nodeID string, away bool) (store.Command, error) {
	if w.action != protocol.ActionPush {
		return w.commands.Issue(w.stopping, nodeID, w.action, w.by, false)
	}
	order := w.order
	order.Lapses = away
	cmd, _, err := w.commands.Push(w.stopping, nodeID, order, w.by)
	return cmd, err
}

// issue gives the node its command and records that. It returns an error if that has to be tried
// again.
func (w *worker) issue(n store.RolloutNode, away bool) error {
	cmd, refused := w.command(n.NodeID, away)
	if errors.Is(refused, refusal.ErrNodeOffline) {
		now := time.Now()
		r, ok := w.refused[n.NodeID]
		if r.last = now; !ok {
			r.first = now
		}
		w.refused[n.NodeID] = r
		return nil
	}
	if retryable(refused) {
		w.adopt = true
		return refused
	}
	outcome, detail := refusedAs(refused)
	if refused != nil && outcome == store.RolloutNodeFailed {
		w.log.Warn("a rollout's command was refused", "rollout_id", w.id, "node_id", n.NodeID, "err", refused)
	}
	err := w.db.Update(func(tx *store.Tx) error {
		ro, err := tx.Rollout(w.id)
		if err != nil {
			return err
		}
		if refused != nil { // was it written nevertheless?
			switch cmd, err = tx.CommandRequestedBy(n.NodeID, w.by); {
			case errors.Is(err, store.ErrCommandNotFound):
				n.Outcome, n.Detail = outcome, detail
				if has, ok := errors.AsType[*tunnel.UpToDateError](refused); ok {
					n.ConfigVersion = has.Version
				}
			case err != nil:
				return err
			}
		}
		if cmd.RequestID != "" {
			given(&n, cmd)
		}
		if err := tx.PutRolloutNode(&ro, &n); err != nil {
			return err
		}
		return tx.PutRollout(ro)
	})
	w.adopt = err != nil
	return err
}

// given records that the node has its command.
func given(n *store.RolloutNode, cmd store.Command) {
	n.Outcome, n.RequestID, n.SentAt, n.ConfigVersion = store.RolloutNodeSent, cmd.RequestID, cmd.CreatedAt, tunnel.PushedVersion(cmd)
}

// retryable reports whether the error says nothing about the node, but that the store or the
// appliance currently cannot do anything.
func retryable(err error) bool {
	for _, e := range []error{store.ErrFull, store.ErrReadOnly, store.ErrClosed, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// refusedAs returns the outcome of a node whose command was refused.
func refusedAs(err error) (store.RolloutOutcome, string) {
	if has, ok := errors.AsType[*tunnel.UpToDateError](err); ok {
		return store.RolloutNodeSkipped, has.Error()
	}
	// It was online a moment ago, and changed before the command was given.
	for _, e := range []error{store.ErrNodeNotFound, store.ErrNodeStatic, store.ErrNodeDisabled, refusal.ErrNotInitialized} {
		if errors.Is(err, e) {
			return store.RolloutNodeSkipped, e.Error()
		}
	}
	if tunnel.Refusal(err) {
		return store.RolloutNodeFailed, "its command was refused: " + err.Error()
	}
	for _, e := range []error{tunnel.ErrNothingToStart, refusal.ErrTooManyCommands, refusal.ErrMQTTUnavailable, refusal.ErrMQTTDisabled} {
		if errors.Is(err, e) {
			return store.RolloutNodeFailed, "its command was refused: " + e.Error()
		}
	}
	return store.RolloutNodeFailed, "its command could not be given; the appliance's log says why"
}
