package rollout

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"wfm/internal/latest"
	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
)

const (
	// queueLimit is how long a command may wait to be sent. Otherwise a push would wait for weeks
	// for a node that went away after it was found online.
	queueLimit = 90 * time.Second
	// openLimit is how long a command may be open in total. Its own time limits are far shorter,
	// but reconnects put them off, and no node may block a rollout for ever.
	openLimit = 10 * time.Minute
)

// plan is the result of a step: the actions that follow.
type plan struct {
	issue    *store.RolloutNode  // the node whose turn it is
	away     bool                // that node is, and its command waits for it
	withdraw []string            // commands to cancel
	more     bool                // another step follows at once
	at       time.Time           // when another step is due even without a change; zero for never
	underWay map[string]struct{} // undecided nodes of the wave
	finished bool
}

// step updates the stored rollout according to the states of its commands, in one transaction.
type step struct {
	plan
	w       *worker
	tx      *store.Tx
	rollout store.Rollout
	before  store.RolloutState // of the rollout
	wave    []store.RolloutNode
	changed bool
	// unfinished is set while commands that wait have to be withdrawn.
	unfinished bool
}

// step does one step. It may be repeated, and begun again after a kill: it depends only on the
// store and the worker's times.
func (w *worker) step() (plan, error) {
	s, err := store.Write(w.db, func(tx *store.Tx) (*step, error) {
		r, err := tx.Rollout(w.id)
		if err != nil {
			return nil, err
		}
		s := &step{w: w, tx: tx, rollout: r, before: r.State, plan: plan{underWay: make(map[string]struct{})}}
		return s, s.run()
	})
	if err != nil {
		return plan{}, err
	}
	if s.rollout.State != s.before {
		w.log.Info("rollout changed", "rollout_id", w.id, "state", s.rollout.State, "reason", s.rollout.Reason)
	}
	return s.plan, nil
}

func (s *step) run() (err error) {
	r := &s.rollout
	after, count := r.Turns(r.Wave)
	if s.wave, err = s.tx.RolloutNodes(r.ID, after, count); err != nil {
		return err
	}
	for i := range s.wave {
		if err := s.follow(&s.wave[i]); err != nil {
			return err
		}
	}
	if failed := r.Counts[store.RolloutNodeFailed]; r.State.Active() && failed >= r.MaxFailures {
		s.enter(store.RolloutStopped, fmt.Sprintf("%d failed, and at %d (max_failures) it stops; %s", failed, r.MaxFailures, lastFailure(s.wave)))
	}
	switch {
	case r.State == store.RolloutRunning:
		err = s.giveTurns()
	case !r.State.Active():
		err = s.giveUpTheRest()
	}
	if err != nil {
		return err
	}
	s.finish()
	if !s.changed {
		return nil
	}
	return s.tx.PutRollout(*r)
}

func (s *step) enter(state store.RolloutState, reason string) {
	s.rollout.State, s.rollout.Reason, s.changed = state, reason, true
}

// lastFailure returns the name of the node that failed last in the wave.
func lastFailure(wave []store.RolloutNode) string {
	last := store.RolloutNode{}
	for _, n := range wave {
		if n.Outcome == store.RolloutNodeFailed && !n.DecidedAt.Before(last.DecidedAt) {
			last = n
		}
	}
	return fmt.Sprintf("the last was %s (%s)", last.Name, last.Detail)
}

// decide writes the node's outcome.
func (s *step) decide(n *store.RolloutNode, o store.RolloutOutcome, detail string) error {
	n.Outcome, n.Detail = o, detail
	return s.put(n)
}

func (s *step) put(n *store.RolloutNode) error {
	s.changed = true
	return s.tx.PutRolloutNode(&s.rollout, n)
}

// lookAt requests another step at t at the latest.
func (s *step) lookAt(t time.Time) {
	if s.at.IsZero() || t.Before(s.at) {
		s.at = t
	}
}

// follow records the state of the node's command.
func (s *step) follow(n *store.RolloutNode) error {
	if n.Outcome == store.RolloutNodeWaiting && s.w.adopt {
		cmd, err := s.tx.CommandRequestedBy(n.NodeID, s.w.by)
		if err != nil && !errors.Is(err, store.ErrCommandNotFound) {
			return err
		}
		if err == nil {
			given(n, cmd)
			if err := s.put(n); err != nil {
				return err
			}
		}
	}
	if n.Outcome == store.RolloutNodeWaiting || n.Outcome.Decided() {
		return nil
	}
	cmd, err := s.tx.Command(n.RequestID)
	switch {
	case errors.Is(err, store.ErrCommandNotFound): // a command is kept as long as its node, and long enough
		return s.decide(n, store.RolloutNodeFailed, "the node was deleted while its command was under way")
	case err != nil:
		return err
	case !cmd.State.Ended():
		return s.hurry(n, cmd)
	case cmd.State == store.CommandApplied:
		return s.confirm(n, cmd)
	case n.Withdrawn && cmd.State == store.CommandCancelled && cmd.Attempts == 0:
		if s.rollout.State.Active() {
			return s.decide(n, store.RolloutNodeSkipped, n.Detail)
		}
		return s.decide(n, store.RolloutNodeCancelled, n.Detail)
	}
	detail := string(cmd.State) + ": " + cmp.Or(cmd.Detail, "no reason was given")
	if n.Withdrawn {
		detail = n.Detail + "; " + detail
	}
	return s.decide(n, store.RolloutNodeFailed, detail)
}

// hurry withdraws a command that is open for too long. It records that first: after a kill in
// between, the cancelled command is still known to have been withdrawn by the rollout itself.
func (s *step) hurry(n *store.RolloutNode, cmd store.Command) error {
	since := latest.Of(n.SentAt, s.w.began)
	due, why := since.Add(openLimit), fmt.Sprintf("its command did not end within %s", openLimit)
	unsent := cmd.State == store.CommandQueued && cmd.Attempts == 0
	if unsent && s.rollout.Later && s.rollout.State.Active() && (cmd.Lapses || !s.tx.Now().Before(since.Add(queueLimit))) {
		return s.leave(n, cmd)
	}
	if unsent && !s.rollout.State.Active() {
		due, why = s.tx.Now(), "the rollout ended before its command was sent"
	} else if unsent {
		due, why = since.Add(queueLimit), fmt.Sprintf("it went offline at its turn: its command could not be sent within %s", queueLimit)
	}
	if !n.Withdrawn && s.tx.Now().Before(due) {
		s.lookAt(due)
		return nil
	}
	s.withdraw = append(s.withdraw, n.RequestID)
	if n.Withdrawn {
		return nil
	}
	n.Withdrawn, n.Detail = true, why
	return s.put(n)
}

// waits is the detail of a node whose command waits for it.
const waits = "away at its turn; it gets the version once it is back"

// leave lets the command wait for the node, which is away.
func (s *step) leave(n *store.RolloutNode, cmd store.Command) error {
	if !cmd.Lapses {
		cmd.Lapses = true
		if err := s.tx.PutCommand(cmd); err != nil {
			return err
		}
	}
	return s.decide(n, store.RolloutNodeLater, waits)
}

// started follows the start after the node's push. It returns the start, or the push if none follows. ended
// is false until that is carried out; then the node is decided or another step will look.
func (s *step) started(n *store.RolloutNode, push store.Command) (cmd store.Command, ended bool, err error) {
	start, err := startAfter(s.tx, push)
	due := latest.Of(push.AckAt, s.w.began).Add(comeBack)
	switch {
	case err != nil || !push.Starts:
		return push, err == nil, err
	case start.State == store.CommandApplied:
		return start, true, nil
	case start.State.Ended() && start.RequestID != "":
		return start, false, s.decide(n, store.RolloutNodeFailed, fmt.Sprintf("it has the tunnel config, but its tunnel was not started: %s: %s", start.State,
			cmp.Or(start.Detail, "no reason was given")))
	case start.RequestID == "" && !s.tx.Now().Before(due):
		return start, false, s.decide(n, store.RolloutNodeFailed, "it has the tunnel config, but its tunnel could not be started")
	case start.RequestID == "":
		s.lookAt(due)
	}
	if n.Outcome == store.RolloutNodeConfirming {
		return start, false, nil
	}
	n.AppliedAt = push.AckAt
	return start, false, s.decide(n, store.RolloutNodeConfirming, "it has the tunnel config; its tunnel is being started")
}

// startAfter returns the newest start or stop of the node after the push. The zero value: none.
func startAfter(tx *store.Tx, push store.Command) (store.Command, error) {
	for cmd, err := range tx.EachCommand(push.NodeID) {
		if err != nil || cmd.Seq <= push.Seq {
			return store.Command{}, err
		}
		if cmd.Kind == protocol.KindControl && cmd.Action.Leaves() != protocol.WantedNone {
			return cmd, nil
		}
	}
	return store.Command{}, nil
}

// confirm checks whether a node that has carried out its command is online.
func (s *step) confirm(n *store.RolloutNode, cmd store.Command) error {
	cmd, ended, err := s.started(n, cmd)
	if err != nil || !ended {
		return err
	}
	status, err := s.status(n.NodeID)
	due := latest.Of(cmd.AckAt, s.w.began).Add(comeBack)
	n.AppliedAt = cmd.AckAt
	switch {
	case err != nil: // a command implies a node
		return err
	case status.State == presence.Online:
		return s.decide(n, store.RolloutNodeDone, cmd.Detail)
	case !s.tx.Now().Before(due):
		return s.decide(n, store.RolloutNodeFailed, fmt.Sprintf("it carried out the command, but was not online within %s: %s", comeBack, status.Reason))
	}
	s.lookAt(due)
	if n.Outcome == store.RolloutNodeConfirming {
		return nil
	}
	return s.decide(n, store.RolloutNodeConfirming, "carried out; not online at the moment: "+status.Reason)
}

func (s *step) status(nodeID string) (presence.Status, error) {
	n, err := s.tx.Node(nodeID)
	if err != nil {
		return presence.Status{}, err
	}
	cfg, err := s.tx.Config(n.ConfigID)
	if err != nil {
		return presence.Status{}, err
	}
	e, err := s.tx.Evidence(nodeID)
	return presence.Project(n, cfg.Enabled, e, s.tx.Now(), s.w.times), err
}

// giveTurns picks the next node of the wave to get its command, and skips those that are away. Once
// all are decided, the next wave begins.
func (s *step) giveTurns() error {
	decided := 0
	for i := range s.wave {
		n := &s.wave[i]
		if n.Outcome == store.RolloutNodeWaiting && s.issue == nil {
			if err := s.turnOf(n); err != nil {
				return err
			}
		}
		if n.Outcome.Decided() {
			decided++
		}
	}
	if decided == len(s.wave) && s.rollout.Wave < s.rollout.Waves {
		s.rollout.Wave++
		s.changed, s.more = true, true
	}
	return nil
}

func (s *step) turnOf(n *store.RolloutNode) error {
	status, err := s.status(n.NodeID)
	refused, wasRefused := s.w.refused[n.NodeID]
	now := s.tx.Now()
	switch {
	case errors.Is(err, store.ErrNodeNotFound):
		return s.decide(n, store.RolloutNodeSkipped, "deleted before its turn")
	case err != nil:
		return err
	case !s.w.reachable():
		// When the broker is back, nodes need some time to reconnect.
		s.w.patience = latest.Of(s.w.patience, now.Add(comeBack))
		delete(s.w.refused, n.NodeID)
		s.lookAt(now.Add(retryRefused))
	case status.State != presence.Online && now.Before(s.w.patience):
		s.lookAt(s.w.patience)
	case status.State != presence.Online && s.rollout.Later:
		s.issue, s.away = n, true
	case status.State != presence.Online:
		return s.decide(n, store.RolloutNodeSkipped, "not online at its turn: "+status.Reason)
	case wasRefused && !now.Before(refused.first.Add(comeBack)):
		return s.decide(n, store.RolloutNodeSkipped, "not connected at its turn, and not back within "+comeBack.String())
	case wasRefused && now.Before(refused.last.Add(retryRefused)):
		s.lookAt(refused.last.Add(retryRefused))
	default:
		s.issue = n
	}
	return nil
}

// giveUpTheRest decides all nodes that had no turn, in a rollout that has ended, and withdraws the
// commands that wait for nodes that are away.
func (s *step) giveUpTheRest() error {
	if s.rollout.Counts[store.RolloutNodeLater] > 0 {
		if err := s.withdrawWaiting(); err != nil {
			return err
		}
	}
	if s.rollout.Counts[store.RolloutNodeWaiting] == 0 {
		return nil
	}
	first, _ := s.rollout.Turns(s.rollout.Wave)
	rest, err := s.tx.RolloutNodes(s.rollout.ID, first, 0)
	for i := range rest {
		if rest[i].Outcome != store.RolloutNodeWaiting {
			continue
		}
		if err := s.decide(&rest[i], store.RolloutNodeCancelled, "the rollout ended before its turn"); err != nil {
			return err
		}
	}
	return err
}

func (s *step) withdrawWaiting() error {
	all, err := s.tx.RolloutNodes(s.rollout.ID, 0, 0)
	for _, n := range all {
		if n.Outcome != store.RolloutNodeLater {
			continue
		}
		cmd, err := s.tx.Command(n.RequestID)
		if errors.Is(err, store.ErrCommandNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if cmd.State == store.CommandQueued && cmd.Attempts == 0 {
			s.withdraw = append(s.withdraw, n.RequestID)
			s.more, s.unfinished = true, true // else nothing withdraws them after a kill
		}
	}
	return err
}

// finish ends the rollout if no node is left, and otherwise records which changes matter.
func (s *step) finish() {
	r := &s.rollout
	if r.Counts[store.RolloutNodeWaiting]+r.Counts[store.RolloutNodeSent]+r.Counts[store.RolloutNodeConfirming] == 0 && !s.unfinished {
		if r.State.Active() {
			s.enter(store.RolloutDone, "every node had its turn")
		}
		r.FinishedAt, s.changed, s.finished = s.tx.Now().UTC(), true, true
		return
	}
	for _, n := range s.wave {
		if !n.Outcome.Decided() {
			s.underWay[n.NodeID] = struct{}{}
		}
	}
}
