package command

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"wfm/internal/latest"
	"wfm/protocol"
	"wfm/store"
)

// send sends the node's queued commands, in order. A command is on disk as sent before it is
// published, so that no answer can arrive for a queued one.
func (c *Ledger) send(nodeID string) {
	unlock, ok := c.lockSender(nodeID)
	if !ok {
		return
	}
	defer unlock()
	c.sendLocked(nodeID)
}

func (c *Ledger) sendLocked(nodeID string) {
	open, err := c.open(nodeID)
	if err != nil {
		c.log.Error("cannot read the commands of a node", "node_id", nodeID, "err", err)
		return
	}
	held := make(map[protocol.Kind]bool)
	for _, cmd := range pushBeforeStart(open) {
		// Order matters within a topic. A topic that the node has not subscribed to blocks no
		// other.
		if cmd.State == store.CommandQueued && !held[cmd.Kind] && !c.sendOne(cmd) {
			held[cmd.Kind] = true
		}
	}
}

// pushBeforeStart moves a waiting push before the waiting starts: it may have superseded a push
// that was queued before them, without which the node has nothing to start.
func pushBeforeStart(open []store.Command) []store.Command {
	waits := func(c store.Command) bool { return c.State == store.CommandQueued && c.Attempts == 0 }
	start := slices.IndexFunc(open, func(c store.Command) bool { return waits(c) && c.Action.Starts() })
	push := slices.IndexFunc(open, func(c store.Command) bool { return waits(c) && c.Action == protocol.ActionPush })
	if start < 0 || push < start {
		return open
	}
	cmd := open[push]
	return slices.Insert(slices.Delete(open, push, push+1), start, cmd)
}

// lockSender serializes the sending of a node's commands. ok is false once the ledger stops.
func (c *Ledger) lockSender(nodeID string) (unlock func(), ok bool) {
	c.mu.Lock()
	if c.stopped {
		c.mu.Unlock()
		return nil, false
	}
	m := c.senders[nodeID]
	if m == nil {
		m = &sync.Mutex{}
		c.senders[nodeID] = m
	}
	c.running.Add(1)
	c.mu.Unlock()
	m.Lock()
	return func() { m.Unlock(); c.running.Done() }, true
}

var errNothingToDo = errors.New("nothing to do")

// change runs fn on the present state of the command and sets its timer again. If fn returns
// errNothingToDo, the command stays as it is.
func (c *Ledger) change(requestID string, fn func(*store.Tx, *store.Command) error) error {
	return c.db.Update(func(tx *store.Tx) error {
		cmd, err := tx.Command(requestID)
		if err != nil {
			return err
		}
		if err := fn(tx, &cmd); err != nil {
			return err
		}
		tx.OnCommit(func() { c.arm(cmd, tx.Now()) })
		return nil
	})
}

// NodeReady is called when the node's session, established at since, has subscribed. It sends
// queued commands, and processes those that were sent in an earlier session and not answered: an
// agent that knows request ids gets them again, and any agent those that are repeatable; for the
// others a detect has to find out the outcome.
func (c *Ledger) NodeReady(nodeID string, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return
	}
	// However often a node subscribes, it has one goroutine and one pending turn.
	if turn := c.ready[nodeID]; turn != nil {
		turn.again, turn.since = true, latest.Of(turn.since, since)
		return
	}
	turn := &readyTurn{since: since}
	c.ready[nodeID] = turn
	c.running.Go(func() { // the caller is the session's own goroutine, which should go on reading
		for c.nextTurn(nodeID, turn, &since) {
			c.nodeReady(nodeID, since)
		}
	})
}

// readyTurn marks a node that is being processed; under Ledger.mu.
type readyTurn struct {
	since time.Time
	again bool
	began bool
}

// nextTurn reports whether the node needs another turn, and otherwise forgets it.
func (c *Ledger) nextTurn(nodeID string, turn *readyTurn, since *time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if (turn.began && !turn.again) || c.stopped {
		delete(c.ready, nodeID)
		return false
	}
	turn.began, turn.again, *since = true, false, turn.since
	return true
}

// open returns the node's open commands.
func (c *Ledger) open(nodeID string) ([]store.Command, error) {
	return store.Read(c.db, func(tx *store.Tx) ([]store.Command, error) { return tx.OpenCommands(nodeID) })
}

func (c *Ledger) nodeReady(nodeID string, since time.Time) {
	// No detect may be sent before its purpose is recorded.
	unlock, ok := c.lockSender(nodeID)
	if !ok {
		return
	}
	defer unlock()
	open, err := c.open(nodeID)
	probe := false
	if slices.ContainsFunc(open, func(cmd store.Command) bool { return leftOver(cmd, since) }) {
		probe, err = store.Write(c.db, func(tx *store.Tx) (bool, error) { return c.takeUp(tx, nodeID, since) })
	}
	if err != nil {
		c.log.Error("cannot continue the node's commands", "node_id", nodeID, "err", err)
	}
	if probe {
		c.probe(nodeID, since)
	}
	c.sendLocked(nodeID)
}

// takeUp queues the unanswered commands of earlier sessions again if that is safe, and reports
// whether the others need a detect.
func (c *Ledger) takeUp(tx *store.Tx, nodeID string, since time.Time) (probe bool, err error) {
	node, err := tx.Node(nodeID)
	if errors.Is(err, store.ErrNodeNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	open, err := tx.OpenCommands(nodeID)
	if err != nil {
		return false, err
	}
	for _, cmd := range open {
		switch {
		case !leftOver(cmd, since):
			continue
		case !node.Can(protocol.CapabilityDedupe) && !cmd.Action.Spec().Repeatable:
			probe = probe || cmd.ResolveBy == ""
			continue
		}
		cmd.Notes = append(cmd.Notes, store.CommandNote{At: tx.Now().UTC(), Text: "the node reconnected without an answer; sent again"})
		if err := c.requeue(tx, cmd); err != nil {
			return false, err
		}
	}
	return probe, nil
}

// leftOver reports whether the command was sent in a session before the one established at since.
func leftOver(cmd store.Command, since time.Time) bool {
	return cmd.State != store.CommandQueued && cmd.SentAt.Before(since)
}

// requeue queues a sent command again, with a new time limit.
func (c *Ledger) requeue(tx *store.Tx, cmd store.Command) error {
	limit, err := c.limitOf(tx, cmd)
	if err != nil {
		return err
	}
	cmd.State, cmd.ResolveBy = store.CommandQueued, ""
	cmd.ExpiresAt = tx.Now().Add(limit).UTC()
	tx.OnCommit(func() { c.arm(cmd, tx.Now()) })
	return tx.PutCommand(cmd)
}

// probe issues the detect that is to find out the outcome of the node's unanswered commands.
func (c *Ledger) probe(nodeID string, since time.Time) {
	detect, err := store.Write(c.db, func(tx *store.Tx) (store.Command, error) {
		return c.writeIn(tx, nodeID, protocol.ActionDetect, "system", false)
	})
	if err != nil {
		c.log.Info("cannot ask the node for the outcome of its commands", "node_id", nodeID, "err", err)
		return // their time limit ends them as unknown
	}
	err = c.db.Update(func(tx *store.Tx) error {
		open, err := tx.OpenCommands(nodeID)
		if err != nil {
			return err
		}
		for _, cmd := range open {
			if !leftOver(cmd, since) || cmd.Action.Spec().Repeatable || cmd.ResolveBy != "" {
				continue
			}
			limit, err := c.limitOf(tx, cmd)
			if err != nil {
				return err
			}
			cmd.ResolveBy = detect.RequestID
			cmd.DeadlineAt = tx.Now().Add(c.timeLimit(protocol.ActionDetect, false) + limit).UTC()
			tx.OnCommit(func() { c.arm(cmd, tx.Now()) })
			if err := tx.PutCommand(cmd); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		c.log.Error("cannot record which detect resolves the commands", "node_id", nodeID, "err", err)
	}
}

// arm sets the command's timer to the next time at which something is due, or ends it.
func (c *Ledger) arm(cmd store.Command, now time.Time) {
	if cmd.State.Ended() {
		c.disarm(cmd.RequestID)
		return
	}
	due := cmd.ExpiresAt
	if cmd.State != store.CommandQueued {
		due = cmd.DeadlineAt
	}
	c.armIn(cmd.RequestID, max(0, due.Sub(now)))
}

func (c *Ledger) armIn(requestID string, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return
	}
	if t := c.timers[requestID]; t != nil && t.Stop() {
		c.running.Done()
	}
	c.running.Add(1)
	c.timers[requestID] = time.AfterFunc(wait, func() {
		defer c.running.Done()
		c.due(requestID)
	})
}

// due ends a command whose time is over, and tries to send a queued one.
func (c *Ledger) due(requestID string) {
	nodeID := ""
	err := c.change(requestID, func(tx *store.Tx, cmd *store.Command) error {
		now := tx.Now()
		switch {
		case cmd.State.Ended():
			return nil
		case cmd.State == store.CommandQueued && !now.Before(cmd.ExpiresAt):
			if cmd.Attempts > 0 {
				return c.end(tx, cmd, store.CommandUnknown, "the connection was lost when or after it was sent, and no answer came; the outcome is unknown")
			}
			why := "the node did not connect in time"
			if c.publisher.Connected(cmd.NodeID) {
				why = fmt.Sprintf("the node is connected but has not subscribed to %s", cmd.Kind)
			}
			return c.end(tx, cmd, store.CommandExpired, why+"; it was never sent")
		case cmd.State != store.CommandQueued && !now.Before(cmd.DeadlineAt):
			return c.end(tx, cmd, store.CommandUnknown,
				fmt.Sprintf("no answer within %s; the outcome is unknown", now.Sub(cmd.SentAt).Round(time.Second)))
		}
		if cmd.State == store.CommandQueued {
			nodeID = cmd.NodeID
		}
		return nil // not due: change sets the timer again
	})
	switch {
	case err == nil && nodeID != "":
		c.send(nodeID)
	case errors.Is(err, store.ErrCommandNotFound), errors.Is(err, store.ErrClosed):
		c.disarm(requestID)
	case err != nil:
		c.log.Error("cannot end a command after its deadline; trying again", "request_id", requestID, "err", err)
		c.armIn(requestID, retryWrite)
	}
}
