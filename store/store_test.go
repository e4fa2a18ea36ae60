package store

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"wfm/protocol"
)

// open returns a store in a fresh directory whose file is checked for consistency at the end.
func open(tb testing.TB) *DB {
	tb.Helper()
	db, err := Open(tb.TempDir(), Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = db.bolt.View(func(tx *bbolt.Tx) error {
			for err := range tx.Check() {
				tb.Errorf("inconsistent file: %v", err)
			}
			return nil
		})
		if err := db.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return db
}

func update(tb testing.TB, db *DB, fn func(*Tx) error) {
	tb.Helper()
	if err := db.Update(fn); err != nil {
		tb.Fatal(err)
	}
}

// addNode makes an enabled config "cfg_a" (if missing) and a dynamic node in it.
func addNode(tb testing.TB, db *DB, id string) {
	tb.Helper()
	update(tb, db, func(tx *Tx) error {
		if _, err := tx.Config("cfg_a"); errors.Is(err, ErrConfigNotFound) {
			c := Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}
			if err := tx.PutConfig(&c); err != nil {
				return err
			}
		}
		return tx.PutNode(&Node{ID: id, ConfigID: "cfg_a", Name: id, Enabled: true, Type: NodeDynamic, InterfaceName: "wg0"})
	})
}

func bind(tb testing.TB, db *DB) Bound {
	tb.Helper()
	var b Bound
	update(tb, db, func(tx *Tx) error {
		token, _, err := tx.IssueBindToken("node_1", 5*time.Minute)
		if err != nil {
			return err
		}
		b, err = tx.Bind(token, Client{Hostname: "h"})
		return err
	})
	return b
}

func TestOpenRefusesAFileAnotherProcessHolds(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrInUse) {
		t.Fatalf("second Open: %v, want ErrInUse", err)
	}
}

func TestOpenRefusesFilesThatAreNotOurs(t *testing.T) {
	foreign := func(fill func(*bbolt.Tx) error) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			b, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Update(fill); err != nil {
				t.Fatal(err)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		prepare func(*testing.T, string)
		want    error
	}{
		"garbage": {func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, make([]byte, 64<<10), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
		"cut off": {func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
		"overwritten in the middle": {func(t *testing.T, path string) {
			t.Helper()
			db, err := Open(filepath.Dir(path), Options{})
			if err != nil {
				t.Fatal(err)
			}
			addNode(t, db, "node_1")
			bind(t, db)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := 2 * os.Getpagesize(); i < len(raw); i++ {
				raw[i] = 0xff
			}
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}, ErrDamaged},
		"somebody else's bbolt file": {foreign(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket([]byte("theirs"))
			return err
		}), ErrDamaged},
		"a newer schema": {foreign(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket(bucketMeta)
			if err != nil {
				return err
			}
			return b.Put(keySchema, []byte{0, 0, 0, 0, 0, 0, 0, 99})
		}), ErrNewer},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tc.prepare(t, filepath.Join(dir, FileName))
			if _, err := Open(dir, Options{}); !errors.Is(err, tc.want) {
				t.Fatalf("Open: %v, want %v", err, tc.want)
			}
		})
	}
}

func TestMigrationIsAllOrNothing(t *testing.T) {
	b, err := bbolt.Open(filepath.Join(t.TempDir(), "x"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := migrate(b, migrations); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	steps := append(append([]func(*bbolt.Tx) error{}, migrations...),
		func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("half")); return err },
		func(*bbolt.Tx) error { return boom })
	if err := migrate(b, steps); !errors.Is(err, boom) {
		t.Fatalf("migrate: %v, want boom", err)
	}
	if err := migrate(b, migrations); err != nil {
		t.Errorf("the file must still be of the old version: %v", err)
	}
	_ = b.View(func(tx *bbolt.Tx) error {
		if tx.Bucket([]byte("half")) != nil {
			t.Error("a step of a migration that failed is in the file")
		}
		return nil
	})
}

func TestNamesAreUniqueAndFollowRenames(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	cfg := Config{ID: "cfg_b", Name: "a"}
	if err := db.Update(func(tx *Tx) error { return tx.PutConfig(&cfg) }); !errors.Is(err, ErrConfigNameExists) {
		t.Errorf("second config of the name: %v", err)
	}
	n := Node{ID: "node_2", ConfigID: "cfg_a", Name: "node_1", Type: NodeDynamic}
	if err := db.Update(func(tx *Tx) error { return tx.PutNode(&n) }); !errors.Is(err, ErrNodeNameExists) {
		t.Errorf("second node of the name: %v", err)
	}
	update(t, db, func(tx *Tx) error {
		c, _ := tx.Config("cfg_a")
		c.Name = "renamed"
		return tx.PutConfig(&c)
	})
	update(t, db, func(tx *Tx) error { return tx.PutConfig(&cfg) })
	update(t, db, func(tx *Tx) error { return tx.DeleteConfig("cfg_a") })
	_ = db.View(func(tx *Tx) error {
		if _, err := tx.Node("node_1"); !errors.Is(err, ErrNodeNotFound) {
			t.Errorf("node of a deleted config: %v", err)
		}
		return nil
	})
}

func TestBindTokenIsSpentOnceAndInvalidatedByWhatOutdatesIt(t *testing.T) {
	issue := func(t *testing.T, db *DB, ttl time.Duration) (token string) {
		t.Helper()
		update(t, db, func(tx *Tx) (err error) {
			token, _, err = tx.IssueBindToken("node_1", ttl)
			return err
		})
		return token
	}
	change := func(fn func(*Node)) func(*Tx) error {
		return func(tx *Tx) error {
			n, err := tx.Node("node_1")
			if err != nil {
				return err
			}
			fn(&n)
			return tx.PutNode(&n)
		}
	}
	for name, tc := range map[string]struct {
		ttl  time.Duration
		then func(*Tx) error
		want error
	}{
		"fresh":     {time.Minute, nil, nil},
		"expired":   {-time.Second, nil, ErrTokenExpired},
		"new token": {time.Minute, func(tx *Tx) error { _, _, err := tx.IssueBindToken("node_1", time.Minute); return err }, ErrTokenInvalid},
		"reset":     {time.Minute, func(tx *Tx) error { return tx.ResetClient("node_1") }, ErrTokenInvalid},
		"disabled":  {time.Minute, change(func(n *Node) { n.Enabled = false }), ErrTokenInvalid},
		"static":    {time.Minute, change(func(n *Node) { n.Type = NodeStatic }), ErrTokenInvalid},
		"deleted":   {time.Minute, func(tx *Tx) error { return tx.DeleteNode("node_1") }, ErrTokenInvalid},
		"config disabled": {time.Minute, func(tx *Tx) error {
			c, _ := tx.Config("cfg_a")
			c.Enabled = false
			return tx.PutConfig(&c)
		}, ErrTokenInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t)
			addNode(t, db, "node_1")
			token := issue(t, db, tc.ttl)
			if tc.then != nil {
				update(t, db, tc.then)
			}
			use := func() error {
				return db.Update(func(tx *Tx) error { _, err := tx.Bind(token, Client{}); return err })
			}
			if err := use(); !errors.Is(err, tc.want) {
				t.Fatalf("bind: %v, want %v", err, tc.want)
			}
			if tc.want == nil {
				if err := use(); !errors.Is(err, ErrTokenUsed) {
					t.Errorf("second bind: %v, want ErrTokenUsed", err)
				}
			}
		})
	}
}

func TestTheOpenBindTokenIsTheNewestThatCanBeSpent(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	step := func(fn func(*Tx) (want time.Time, err error)) {
		t.Helper()
		update(t, db, func(tx *Tx) error {
			want, err := fn(tx)
			if err != nil {
				return err
			}
			got, err := tx.OpenBindToken("node_1")
			if !got.Equal(want) {
				t.Errorf("the open token ends %s, want %s", got, want)
			}
			return err
		})
	}
	var token string
	step(func(*Tx) (time.Time, error) { return time.Time{}, nil })
	for range 2 {
		step(func(tx *Tx) (until time.Time, err error) {
			token, until, err = tx.IssueBindToken("node_1", time.Minute)
			return until, err
		})
	}
	step(func(tx *Tx) (time.Time, error) { _, err := tx.Bind(token, Client{}); return time.Time{}, err })
	step(func(tx *Tx) (until time.Time, err error) {
		_, until, err = tx.IssueBindToken("node_1", time.Minute)
		return until, err
	})
	step(func(tx *Tx) (time.Time, error) { return time.Time{}, tx.ResetClient("node_1") })
}

func TestGrantEndsWithTheCommitThatEndsIt(t *testing.T) {
	putNode := func(fn func(*Node)) func(*Tx) error {
		return func(tx *Tx) error {
			n, _ := tx.Node("node_1")
			fn(&n)
			return tx.PutNode(&n)
		}
	}
	for name, revoke := range map[string]func(*Tx) error{
		"reset":    func(tx *Tx) error { return tx.ResetClient("node_1") },
		"delete":   func(tx *Tx) error { return tx.DeleteNode("node_1") },
		"disabled": putNode(func(n *Node) { n.Enabled = false }),
		"static":   putNode(func(n *Node) { n.Type = NodeStatic }),
		"config disabled": func(tx *Tx) error {
			c, _ := tx.Config("cfg_a")
			c.Enabled = false
			return tx.PutConfig(&c)
		},
		"config deleted": func(tx *Tx) error { return tx.DeleteConfig("cfg_a") },
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t)
			addNode(t, db, "node_1")
			if _, ok := db.Grant("node_1"); ok {
				t.Error("a node that was never bound has a grant")
			}
			b := bind(t, db)
			g, ok := db.Grant("node_1")
			if !ok || !g.CheckPassword([]byte(b.Password)) || g.CheckPassword([]byte("x")) {
				t.Fatal("the bound node's password does not work, or any does")
			}
			if err := db.Update(func(tx *Tx) error { return errors.Join(revoke(tx), errors.New("no")) }); err == nil {
				t.Fatal("no error")
			}
			if _, ok := db.Grant("node_1"); !ok {
				t.Error("a transaction that failed took the grant")
			}
			sub := db.Subscribe(100)
			update(t, db, revoke)
			<-sub.C
			if _, ok := db.Grant("node_1"); ok {
				t.Error("the grant is older than the commit")
			}
		})
	}
}

func TestRebindRotatesThePasswordAndGeneration(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	first := bind(t, db)
	g1, _ := db.Grant("node_1")
	bind(t, db)
	g2, _ := db.Grant("node_1")
	if g2.CheckPassword([]byte(first.Password)) || g1.Generation == g2.Generation {
		t.Error("the old password or generation still holds")
	}
}

func TestGrantsSurviveReopen(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	addNode(t, db, "node_1")
	b := bind(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if g, ok := db.Grant("node_1"); !ok || !g.CheckPassword([]byte(b.Password)) {
		t.Error("the grant is gone after reopening")
	}
}

func TestNoSecretIsInTheFile(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	addNode(t, db, "node_1")
	secrets := []string{bind(t, db).Password, protocol.NewSecret()}
	update(t, db, func(tx *Tx) error {
		token, _, err := tx.IssueBindToken("node_1", time.Minute)
		secrets = append(secrets, token)
		if err != nil {
			return err
		}
		_, err = tx.CreateSession(secrets[1], "admin", "192.0.2.1", time.Hour)
		return err
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range secrets {
		if len(s) < 40 || containsBytes(raw, s) {
			t.Errorf("secret %d stands in the file", i)
		}
	}
}

func containsBytes(raw []byte, s string) bool {
	for i := 0; i+len(s) <= len(raw); i++ {
		if string(raw[i:i+len(s)]) == s {
			return true
		}
	}
	return false
}

func TestResetCancelsWorkAndSaysOffline(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	bind(t, db)
	c := Command{RequestID: "cmd_1", ConfigID: "cfg_a", NodeID: "node_1", State: CommandSent}
	update(t, db, func(tx *Tx) error { return tx.AddCommand(&c) })
	update(t, db, func(tx *Tx) error { return tx.ResetClient("node_1") })
	_ = db.View(func(tx *Tx) error {
		got, err := tx.Command("cmd_1")
		if err != nil || got.State != CommandCancelled {
			t.Errorf("command after a reset: %v, %v", got.State, err)
		}
		e, _ := tx.Evidence("node_1")
		n, _ := tx.Node("node_1")
		if e.OfflineAt.IsZero() || n.Client != nil {
			t.Error("the node is not marked offline and unbound")
		}
		return nil
	})
}

func TestAnEndedCommandKeepsItsState(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	c := Command{RequestID: "cmd_1", ConfigID: "cfg_a", NodeID: "node_1", State: CommandQueued}
	update(t, db, func(tx *Tx) error { return tx.AddCommand(&c) })
	c.State = CommandFailed
	update(t, db, func(tx *Tx) error { return tx.PutCommand(c) })
	c.State = CommandApplied
	if err := db.Update(func(tx *Tx) error { return tx.PutCommand(c) }); !errors.Is(err, ErrCommandEnded) {
		t.Errorf("failed → applied: %v", err)
	}
	update(t, db, func(tx *Tx) error { return tx.AddNote("cmd_1", "late ACK") })
}

func TestJournalIsBoundedAndNewestFirst(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	addNode(t, db, "node_10") // shares a prefix
	update(t, db, func(tx *Tx) error {
		for range journalKept + 30 {
			if err := tx.Note("node_1", JournalEntry{Event: "e"}); err != nil {
				return err
			}
		}
		return tx.Note("node_10", JournalEntry{Event: "other"})
	})
	_ = db.View(func(tx *Tx) error {
		all, err := tx.Journal("node_1", 0, 1000)
		if err != nil || len(all) != journalKept || all[0].ID != journalKept+30 {
			t.Errorf("%d entries, newest %d (%v)", len(all), all[0].ID, err)
		}
		older, _ := tx.Journal("node_1", all[9].ID, 5)
		if len(older) != 5 || older[0].ID != all[10].ID {
			t.Errorf("paging starts at the wrong entry")
		}
		return nil
	})
}

func TestDerivedInterfaceNamesAreValid(t *testing.T) {
	for _, tc := range []struct{ config, node, want string }{
		{"Home Mesh", "router", "homemes-router"},
		{"köln", "büro", "kln-bro"},
		{"日本", "東京", "wg0"},
		{"日本", "gw", "wg-gw"},
	} {
		got := DeriveInterfaceName(tc.config, tc.node)
		if got != tc.want || !protocol.ValidInterfaceName(got) {
			t.Errorf("%q, %q → %q, want %q", tc.config, tc.node, got, tc.want)
		}
	}
}

func TestTransitionsAreKeptOncePerChangeAndBounded(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	update(t, db, func(tx *Tx) error {
		n, err := tx.Node("node_1")
		if err != nil {
			return err
		}
		for i := range transitionsKept + 20 {
			to := []string{"online", "dropped"}[i%2]
			for range 2 { // the second says nothing new
				if err := tx.AddTransition(n, Transition{At: tx.Now(), To: to}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	_ = db.View(func(tx *Tx) error {
		all, err := tx.Transitions("node_1", 0, 10_000)
		if err != nil || len(all) != transitionsKept || all[0].From != "online" || all[0].To != "dropped" {
			t.Errorf("%d entries, newest %+v (%v)", len(all), all[0], err)
		}
		return nil
	})
	update(t, db, func(tx *Tx) error { return tx.DeleteNode("node_1") })
	_ = db.View(func(tx *Tx) error {
		if k, _ := tx.cursor(bucketTransitions).First(); k != nil {
			t.Error("a deleted node's history is kept")
		}
		return nil
	})
}

func TestRebindPassesNothingOfTheOldAgentOn(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	bind(t, db)
	c := Command{RequestID: "cmd_1", ConfigID: "cfg_a", NodeID: "node_1", State: CommandSent, Attempts: 1}
	update(t, db, func(tx *Tx) error {
		if err := tx.UpdateEvidence("node_1", func(e *Evidence) { e.BootID, e.TunnelRunning = "b", new(true) }); err != nil {
			return err
		}
		return tx.AddCommand(&c)
	})
	bind(t, db)
	_ = db.View(func(tx *Tx) error {
		if got, err := tx.Command("cmd_1"); err != nil || got.State != CommandCancelled {
			t.Errorf("the old agent's command is %s (%v)", got.State, err)
		}
		if e, err := tx.Evidence("node_1"); err != nil || e.BootID != "" || e.TunnelRunning != nil {
			t.Errorf("the old agent's evidence: %+v (%v)", e, err)
		}
		return nil
	})
}

// A child that is being started has every open file of its parent until it runs its own program.
func TestALockIsGivenUpAlthoughAChildStillHasTheFileOpen(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	f, _, err := openForReading(db.path)
	if err != nil {
		t.Fatal(err)
	}
	child, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(child)
	closeLocked(f)
	db, err = Open(dir, Options{})
	if err != nil {
		t.Fatalf("the file was closed, but: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
