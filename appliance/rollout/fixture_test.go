package rollout

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
)

// ledger gives commands like the real one, but its nodes refuse and answer as the test says.
type ledger struct {
	db *store.DB

	mu     sync.Mutex
	refuse map[string]error                            // by node: the command is not written
	lose   map[string]error                            // by node: it is written, and the caller does not learn of it
	state  map[string]store.CommandState               // by node: the state after Issue; default sent
	before func(nodeID string, action protocol.Action) // called by Issue first; may be nil
	after  func(nodeID string)                         // called by Issue once the command is written; may be nil
	issued []string                                    // node ids, in order

	uncancelled error // of Cancel; may be nil
}

func (l *ledger) Issue(_ context.Context, nodeID string, action protocol.Action, by string, _ bool) (store.Command, error) {
	return l.issue(nodeID, action, by, "{}", false)
}

func (l *ledger) issue(nodeID string, action protocol.Action, by, payload string, lapses bool) (store.Command, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.before != nil {
		l.before(nodeID, action)
	}
	if err := l.refuse[nodeID]; err != nil {
		return store.Command{}, err
	}
	cmd := store.Command{
		RequestID: protocol.NewID("req"), ConfigID: "cfg_a", NodeID: nodeID, Action: action, Kind: action.Kind(),
		Payload: []byte(payload), RequestedBy: by, State: store.CommandSent, Attempts: 1, Lapses: lapses,
	}
	if state, ok := l.state[nodeID]; ok {
		cmd.State, cmd.Attempts = state, 0
	}
	if err := l.db.Update(func(tx *store.Tx) error { return tx.AddCommand(&cmd) }); err != nil {
		return store.Command{}, err
	}
	l.issued = append(l.issued, nodeID)
	if l.after != nil {
		l.after(nodeID)
	}
	if err := l.lose[nodeID]; err != nil {
		return store.Command{}, err
	}
	return cmd, nil
}

// Push goes through the real door, and then gives the command as Issue does.
func (l *ledger) Push(ctx context.Context, nodeID string, o tunnel.Order, by string) (store.Command, tunnel.Taken, error) {
	taken, err := tunnel.Door{Store: l.db}.Push(ctx, nodeID, o, func(*store.Tx, tunnel.Taken) error { return nil })
	if err != nil {
		return store.Command{}, taken, err
	}
	cmd, err := l.issue(nodeID, protocol.ActionPush, by, fmt.Sprintf(`{"config_version":%d}`, taken.Ref.Version), o.Lapses)
	if err == nil && o.Starts {
		cmd.Starts = true
		err = l.db.Update(func(tx *store.Tx) error { return tx.PutCommand(cmd) })
	}
	return cmd, taken, err
}

func (l *ledger) Cancel(_ context.Context, requestID, by string) (cmd store.Command, err error) {
	l.mu.Lock()
	err = l.uncancelled
	l.mu.Unlock()
	if err != nil {
		return cmd, err
	}
	err = l.db.Update(func(tx *store.Tx) error {
		if cmd, err = tx.Command(requestID); err != nil {
			return err
		}
		if cmd.State.Ended() {
			return store.ErrCommandEnded
		}
		cmd.State, cmd.Detail = store.CommandCancelled, "cancelled by "+by
		return tx.PutCommand(cmd)
	})
	return cmd, err
}

func (l *ledger) tell(fn func(*ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn(l)
}

// order is the nodes that got a command, in order.
func (l *ledger) order() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.issued, " ")
}

// fixture is a runner over a real store with the connected nodes a to f.
type fixture struct {
	t      *testing.T
	dir    string
	limit  int // of the file
	db     *store.DB
	ledger *ledger
	*Runner
}

var nodes = []string{"a", "b", "c", "d", "e", "f"}

// bubble runs test with a fixture in a synctest bubble.
func bubble(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{t: t, dir: t.TempDir(), ledger: &ledger{
			refuse: make(map[string]error), lose: make(map[string]error), state: make(map[string]store.CommandState),
		}}
		f.open()
		f.update(func(tx *store.Tx) error {
			return tx.PutConfig(&store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard})
		})
		for _, id := range nodes {
			f.bind(id)
			f.connect(id, true)
		}
		t.Cleanup(func() {
			f.Stop()
			if err := f.db.Close(); err != nil {
				t.Error(err)
			}
		})
		test(t, f)
	})
}

func (f *fixture) open() {
	f.t.Helper()
	f.openStore()
	f.start()
}

func (f *fixture) openStore() {
	f.t.Helper()
	db, err := store.Open(f.dir, store.Options{MaxSize: f.limit})
	if err != nil {
		f.t.Fatal(err)
	}
	f.db, f.ledger.db = db, db
}

// Stop stops the runner, also in a clean-up.
func (f *fixture) Stop() {
	f.t.Helper()
	if err := f.Runner.Stop(context.WithoutCancel(f.t.Context())); err != nil {
		f.t.Error(err)
	}
}

func (f *fixture) start() {
	f.t.Helper()
	f.Runner = New(Options{Store: f.db, Commands: f.ledger, Presence: presence.DefaultTimes()})
	if err := f.Start(); err != nil {
		f.t.Fatal(err)
	}
	synctest.Wait()
}

// restart ends everything, lets time pass and starts anew from the file.
func (f *fixture) restart(away time.Duration) {
	f.t.Helper()
	f.close()
	pass(away)
	f.open()
}

func (f *fixture) close() {
	f.t.Helper()
	f.Stop()
	if err := f.db.Close(); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) update(fn func(*store.Tx) error) {
	f.t.Helper()
	if err := f.db.Update(fn); err != nil {
		f.t.Fatal(err)
	}
	synctest.Wait()
}

func (f *fixture) bind(id string) {
	f.t.Helper()
	f.update(func(tx *store.Tx) error {
		if err := tx.PutNode(&store.Node{ID: id, ConfigID: "cfg_a", Name: "node " + id, Enabled: true, Type: store.NodeDynamic}); err != nil {
			return err
		}
		token, _, err := tx.IssueBindToken(id, time.Minute)
		if err != nil {
			return err
		}
		if _, err = tx.Bind(token, store.Client{}); err != nil {
			return err
		}
		return tx.NoteHandedOut(id, store.ConfRef{Version: 1})
	})
}

// connect opens or breaks the node's connection; broken ones are online for the grace of presence.
func (f *fixture) connect(id string, open bool) {
	f.t.Helper()
	f.update(func(tx *store.Tx) error {
		return tx.UpdateEvidence(id, func(e *store.Evidence) {
			if e.ConnectionID = 0; open {
				e.ConnectionID, e.ConnectedAt = 1, tx.Now()
				return
			}
			e.DisconnectedAt = tx.Now()
		})
	})
}

// leave has the node say that it goes.
func (f *fixture) leave(id string) {
	f.t.Helper()
	f.update(func(tx *store.Tx) error {
		return tx.UpdateEvidence(id, func(e *store.Evidence) {
			e.ConnectionID, e.DisconnectedAt = 0, tx.Now()
			e.OfflineAt, e.OfflineReason = tx.Now(), "it left"
		})
	})
}

// pass lets time pass, and then all work that is due be done.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// begin starts a rollout of start over the nodes, and does all that can be done at once.
func (f *fixture) begin(waveSize, maxFailures int, ids ...string) string {
	f.t.Helper()
	ro, err := f.Begin(f.t.Context(), store.Rollout{
		ConfigID: "cfg_a", Action: protocol.ActionStart, RequestedBy: "admin", WaveSize: waveSize, MaxFailures: maxFailures,
	}, ids)
	if err != nil {
		f.t.Fatal(err)
	}
	synctest.Wait()
	return ro.ID
}

// end ends the newest command of each node.
func (f *fixture) end(state store.CommandState, ids ...string) {
	f.t.Helper()
	for _, id := range ids {
		f.update(func(tx *store.Tx) error {
			newest, err := tx.Commands(id, 0, 1)
			if err != nil || len(newest) != 1 {
				return fmt.Errorf("node %s has no command (%w)", id, err)
			}
			cmd := newest[0]
			cmd.State, cmd.Detail, cmd.AckAt = state, "so it went", tx.Now()
			return tx.PutCommand(cmd)
		})
	}
}

// look is the rollout and its nodes as stored.
func (f *fixture) look(id string) (ro store.Rollout, all []store.RolloutNode) {
	f.t.Helper()
	err := f.db.View(func(tx *store.Tx) (err error) {
		if ro, err = tx.Rollout(id); err != nil {
			return err
		}
		all, err = tx.RolloutNodes(id, 0, 0)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return ro, all
}

// want checks the state, and the outcome of each node in order.
func (f *fixture) want(id string, state store.RolloutState, outcomes string) {
	f.t.Helper()
	ro, all := f.look(id)
	counts := map[store.RolloutOutcome]int{}
	got := make([]string, 0, len(all))
	for _, n := range all {
		counts[n.Outcome]++
		got = append(got, string(n.Outcome))
	}
	if ro.State != state || strings.Join(got, " ") != outcomes {
		f.t.Errorf("%s (%s): %s\nwant %s: %s", ro.State, ro.Reason, strings.Join(got, " "), state, outcomes)
	}
	for o, n := range ro.Counts {
		if counts[o] != n {
			f.t.Errorf("%d nodes are counted as %s, %d are: %v", n, o, counts[o], ro.Counts)
		}
	}
	undecided := counts[store.RolloutNodeWaiting] + counts[store.RolloutNodeSent] + counts[store.RolloutNodeConfirming]
	if (undecided == 0) == ro.FinishedAt.IsZero() {
		f.t.Errorf("%d nodes are not decided, finished at %v", undecided, ro.FinishedAt)
	}
}

// wantDetail checks the detail of the node at the position, from 1.
func (f *fixture) wantDetail(id string, position int, text string) {
	f.t.Helper()
	_, all := f.look(id)
	if got := all[position-1].Detail; !strings.Contains(got, text) {
		f.t.Errorf("node %d: %q, want %q in it", position, got, text)
	}
}

func (f *fixture) wantOrder(want string) {
	f.t.Helper()
	if got := f.ledger.order(); got != want {
		f.t.Errorf("commands went to %s, want %s", got, want)
	}
}
