package apply

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
)

// world is a mesh in a store, an applier over it whose rollouts carry out nothing, and an Auto.
type world struct {
	*testing.T
	dir  string
	db   *store.DB
	auto *Auto
	log  bytes.Buffer
	text int // of config texts, which all differ
}

// begun writes rollouts.
type begun struct{ db *store.DB }

func (b begun) Begin(ctx context.Context, r store.Rollout, nodeIDs []string) (store.Rollout, error) {
	r.ID = protocol.NewID("rol")
	return r, b.db.UpdateFor(ctx, func(tx *store.Tx) error { return tx.AddRollout(&r, nodeIDs) })
}

// bubble runs the test in a bubble with a mesh of the nodes a and b, whose agents are online. Their texts
// follow from the mesh. Only a has auto_sync.
func bubble(t *testing.T, test func(w *world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, dir: dir}
		w.open()
		defer w.close()
		w.change(func(e *mesh.Edit, _ *store.Tx) error {
			cfg := store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}
			return e.PutConfig(&cfg)
		})
		for i, id := range []string{"a", "b"} {
			w.change(func(e *mesh.Edit, _ *store.Tx) error {
				n, err := e.NewNode(id)
				if err != nil {
					return err
				}
				n.Name, n.AutoSync, n.ConfigSource = id, id == "a", store.SourceMesh
				n.VirtualIP, _ = mesh.ParseAddress("virtual_ip", fmt.Sprintf("10.66.0.%d/32", i+1))
				return e.PutNode(&n)
			})
			w.update(func(tx *store.Tx) error {
				token, _, err := tx.IssueBindToken(id, time.Minute)
				if err != nil {
					return err
				}
				if _, err := tx.Bind(token, store.Client{MQTTHost: "203.0.113.9"}); err != nil {
					return err
				}
				return tx.UpdateEvidence(id, func(e *store.Evidence) { e.ConnectionID, e.ConnectedAt = 1, tx.Now() })
			})
		}
		test(w)
	})
}

func (w *world) open() {
	w.Helper()
	db, err := store.Open(w.dir, store.Options{})
	if err != nil {
		w.Fatal(err)
	}
	w.db = db
	a := New(Options{Store: db, Rollouts: begun{db}})
	w.auto = NewAuto(a, slog.New(slog.NewTextHandler(&w.log, nil)))
	if err := w.auto.Start(); err != nil {
		w.Fatal(err)
	}
	synctest.Wait()
}

func (w *world) close() {
	w.Helper()
	if err := w.auto.Stop(context.WithoutCancel(w.Context())); err != nil {
		w.Error(err)
	}
	if err := w.db.Close(); err != nil {
		w.Error(err)
	}
}

func (w *world) update(fn func(tx *store.Tx) error) {
	w.Helper()
	if err := w.db.Update(fn); err != nil {
		w.Fatal(err)
	}
	synctest.Wait()
}

func (w *world) change(edit func(e *mesh.Edit, tx *store.Tx) error) {
	w.Helper()
	w.update(func(tx *store.Tx) error {
		random := bytes.NewReader(bytes.Repeat([]byte{byte(w.text + 1), 7}, 500))
		_, err := mesh.Change(tx, "cfg_a", "admin", random, func(e *mesh.Edit) error { return edit(e, tx) })
		w.text++
		return err
	})
}

// alter changes the nodes, so that each has another text.
func (w *world) alter(ids ...string) {
	w.Helper()
	w.change(func(e *mesh.Edit, tx *store.Tx) error {
		for _, id := range ids {
			n, err := tx.Node(id)
			if err != nil {
				return err
			}
			n.MTU = 1300 + w.text
			if err := e.PutNode(&n); err != nil {
				return err
			}
		}
		return nil
	})
}

// pass lets time pass, and then all work that is due be done.
func (w *world) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// rollouts are the rollouts so far, oldest first.
func (w *world) rollouts() (all []store.Rollout) {
	w.Helper()
	if err := w.db.View(func(tx *store.Tx) (err error) { all, err = tx.Rollouts("cfg_a", 0, 100); return err }); err != nil {
		w.Fatal(err)
	}
	slices.Reverse(all)
	return all
}

// want checks the number of rollouts, and ends the last one in the state.
func (w *world) want(n int, end store.RolloutState) {
	w.Helper()
	all := w.rollouts()
	if len(all) != n {
		w.Fatalf("%d rollouts, want %d", len(all), n)
	}
	if n == 0 || end == "" {
		return
	}
	last := all[n-1]
	w.update(func(tx *store.Tx) error {
		nodes, err := tx.RolloutNodes(last.ID, 0, 0)
		if err != nil {
			return err
		}
		for _, node := range nodes {
			if node.NodeID != "a" {
				w.Errorf("%s is in the rollout", node.Name)
			}
			node.Outcome = store.RolloutNodeCancelled
			if end == store.RolloutDone {
				node.Outcome = store.RolloutNodeDone
				s, err := tx.ConfState(node.NodeID)
				if err != nil {
					return err
				}
				if _, err := tx.ConfirmApplied(node.NodeID, s.Staged, "wg", s.ConfirmedSeq+1); err != nil {
					return err
				}
			}
			if err := tx.PutRolloutNode(&last, &node); err != nil {
				return err
			}
		}
		last.State = end
		return tx.PutRollout(last)
	})
}

func TestAChangeIsAppliedFiveSecondsAfterTheLastOne(t *testing.T) {
	bubble(t, func(w *world) {
		w.pass(AutoDelay)
		w.want(1, store.RolloutDone)
		if r := w.rollouts()[0]; r.RequestedBy != ByAutoSync || !r.Staged || !r.Later {
			w.Errorf("%+v", r)
		}
		w.alter("a")
		w.pass(3 * time.Second)
		w.alter("b") // a change of another node puts it off too
		w.pass(AutoDelay - time.Nanosecond)
		w.want(1, "")
		w.pass(time.Nanosecond)
		w.want(2, store.RolloutDone)
		w.pass(time.Hour)
		w.want(2, "")
	})
}

func TestAChangeBeforeAKillIsAppliedAfterTheStart(t *testing.T) {
	bubble(t, func(w *world) {
		w.pass(2 * time.Second)
		w.close()
		w.open()
		w.want(0, "")
		w.pass(3 * time.Second)
		w.want(1, store.RolloutDone)
		w.alter("a")
		w.close()
		w.pass(time.Hour)
		w.open()
		w.want(2, store.RolloutDone)
	})
}

func TestAChangeDuringARolloutIsAppliedAfterIt(t *testing.T) {
	bubble(t, func(w *world) {
		w.pass(AutoDelay)
		w.want(1, "")
		w.alter("a")
		w.pass(time.Minute)
		w.want(1, store.RolloutDone)
		w.pass(AutoDelay)
		w.want(2, store.RolloutDone)
	})
}

func TestWhatFailedOrWasStoppedIsNotAppliedAgainByItself(t *testing.T) {
	bubble(t, func(w *world) {
		w.pass(AutoDelay)
		w.want(1, store.RolloutStopped)
		w.pass(time.Hour)
		w.want(1, "")
		w.alter("a")
		w.pass(AutoDelay)
		w.want(2, "")
		w.update(func(tx *store.Tx) error {
			s, err := tx.ConfState("a")
			if err != nil {
				return err
			}
			n, err := tx.Node("a")
			if err != nil {
				return err
			}
			cmd := store.Command{
				RequestID: "req_1", ConfigID: "cfg_a", NodeID: "a", Action: protocol.ActionPush, State: store.CommandQueued,
				Payload: fmt.Appendf(nil, `{"interface_name":%q,"tunnel_protocol":"wireguard","config_sha256":%q}`, n.InterfaceName, s.Desired.SHA256),
			}
			if err := tx.AddCommand(&cmd); err != nil {
				return err
			}
			cmd.State = store.CommandFailed
			if err := tx.PutCommand(cmd); err != nil {
				return err
			}
			r, err := tx.Rollout(w.rollouts()[1].ID)
			if err != nil {
				return err
			}
			r.State = store.RolloutDone
			return tx.PutRollout(r)
		})
		w.pass(time.Hour)
		w.want(2, "")
	})
}

// notes are the messages of the node's events about changes that are not applied.
func (w *world) notes(id string) (all []string) {
	w.Helper()
	if err := w.db.View(func(tx *store.Tx) error {
		entries, err := tx.Journal(id, 0, 100)
		for _, e := range entries {
			if e.Event == EventNotApplied {
				all = append(all, e.Message)
			}
		}
		return err
	}); err != nil {
		w.Fatal(err)
	}
	return all
}

func TestAMeshThatIsNotValidIsNotAppliedByItselfWhichIsSaidOnce(t *testing.T) {
	bubble(t, func(w *world) {
		public := func(address string) {
			w.change(func(e *mesh.Edit, tx *store.Tx) error {
				for _, id := range []string{"a", "b"} {
					n, err := tx.Node(id)
					if err != nil {
						return err
					}
					if n.IPv4Address = "192.0.2.1"; id == "b" {
						n.IPv4Address = address
					}
					if err := e.PutNode(&n); err != nil {
						return err
					}
				}
				return nil
			})
		}
		public("192.0.2.1")
		w.pass(AutoDelay)
		w.alter("b")
		w.pass(time.Minute)
		w.want(0, "")
		if all := w.notes("a"); len(all) != 1 || !strings.Contains(all[0], "are both reached at") || len(w.notes("b")) != 0 {
			w.Errorf("%q, %q", all, w.notes("b"))
		}
		if n := strings.Count(w.log.String(), "are not applied"); n != 1 {
			w.Errorf("%d times in\n%s", n, w.log.String())
		}
		public("192.0.2.2")
		w.pass(AutoDelay)
		w.want(1, store.RolloutDone)
	})
}

func TestAConfigThatMayCutItsNodeOffIsNotAppliedByItself(t *testing.T) {
	bubble(t, func(w *world) {
		w.change(func(e *mesh.Edit, tx *store.Tx) error {
			b, err := tx.Node("b")
			if err != nil {
				return err
			}
			b.IPv4Address = "192.0.2.2"
			if err := e.PutNode(&b); err != nil {
				return err
			}
			all := netip.MustParsePrefix("0.0.0.0/0")
			return e.PutLink(&store.Link{
				ID: "link_1", ConfigID: "cfg_a", Enabled: true, Manual: true,
				Forward: store.Direction{LocalNodeID: "a", PeerNodeID: "b", AllowedIPs: []netip.Prefix{all}, EndpointMode: store.EndpointAuto},
				Reverse: store.Direction{LocalNodeID: "b", PeerNodeID: "a", EndpointMode: store.EndpointNone},
			})
		})
		w.pass(time.Minute)
		w.want(0, "")
		if all := w.notes("a"); len(all) != 1 || !strings.Contains(all[0], "cut the node off") {
			w.Errorf("%q", all)
		}
	})
}
