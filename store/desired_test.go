package store

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"wfm/protocol"
)

// desire saves text as the node's desired config.
func desire(tb testing.TB, db *DB, text string) (s ConfState) {
	tb.Helper()
	update(tb, db, func(tx *Tx) (err error) {
		s, err = tx.SetDesired("node_1", text, ConfVersion{Author: "admin", Source: ConfEdited})
		return err
	})
	return s
}

func stage(tb testing.TB, db *DB) (s ConfState) {
	tb.Helper()
	ref := confState(tb, db).Desired
	update(tb, db, func(tx *Tx) (err error) { s, err = tx.Stage("node_1", ref, "wg"); return err })
	return s
}

func confState(tb testing.TB, db *DB) (s ConfState) {
	tb.Helper()
	if err := db.View(func(tx *Tx) (err error) { s, err = tx.ConfState("node_1"); return err }); err != nil {
		tb.Fatal(err)
	}
	return s
}

// wantWhole checks that every version and every reference has its text, and that no text exists
// twice or without a version.
func wantWhole(tb testing.TB, db *DB) (versions []ConfVersion, texts int) {
	tb.Helper()
	err := db.View(func(tx *Tx) (err error) {
		if versions, err = Collect(tx.eachConfVersion("node_1", 0)); err != nil {
			return err
		}
		hashes := make(map[string]bool)
		for _, v := range versions {
			hashes[v.SHA256] = true
			if text, err := tx.ConfText("node_1", v.SHA256); err != nil || len(text) != v.Size {
				return fmt.Errorf("version %d: %d bytes, %w", v.Version, len(text), err)
			}
		}
		if texts = len(tx.keysUnder(bucketConfTexts, seqPrefix("node_1"), 0)); texts != len(hashes) {
			tb.Errorf("%d texts are kept for %d hashes", texts, len(hashes))
		}
		s, err := tx.ConfState("node_1")
		for _, ref := range []ConfRef{s.Desired, s.Staged, s.Confirmed} {
			if ref.Version == 0 {
				continue
			}
			if v, err := tx.ConfVersion("node_1", ref.Version); err != nil || v.ConfRef != ref {
				tb.Errorf("version %d is in use and not kept: %v", ref.Version, err)
			}
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return versions, texts
}

func TestVersionsCountUpAndTextsAreKeptOncePerHash(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	sub := db.Subscribe(10)
	for i, text := range []string{"a", "b", "b", "a"} {
		want := []int{1, 2, 2, 3}[i]
		if s := desire(t, db, text); s.Desired.Version != want {
			t.Errorf("save %d made version %d, want %d", i, s.Desired.Version, want)
		}
	}
	versions, texts := wantWhole(t, db)
	if len(versions) != 3 || texts != 2 || versions[0].Version != 3 || versions[0].SHA256 != versions[2].SHA256 {
		t.Errorf("%d texts in %+v", texts, versions)
	}
	if v := versions[0]; v.Author != "admin" || v.Source != ConfEdited || v.At.IsZero() || v.Size != 1 {
		t.Errorf("%+v", v)
	}
	if n := len(sub.C); n != 3 { // saving the desired config again changes nothing
		t.Errorf("%d changes were told", n)
	}
	if c := <-sub.C; c.Kind != ChangeApply || c.ConfigID != "cfg_a" || c.NodeID != "node_1" {
		t.Errorf("%+v", c)
	}
	err := db.View(func(tx *Tx) error {
		for _, version := range []int{-1, 0, 4} {
			if _, err := tx.ConfVersion("node_1", version); !errors.Is(err, ErrConfVersionNotFound) {
				t.Errorf("version %d: %v", version, err)
			}
		}
		if _, err := tx.ConfText("node_1", ""); !errors.Is(err, ErrConfVersionNotFound) {
			t.Errorf("no text: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestStagedIsFrozenAndNeverGoesBack(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	err := db.Update(func(tx *Tx) error { _, err := tx.Stage("node_1", ConfRef{}, "wg"); return err })
	if !errors.Is(err, ErrConfVersionNotFound) {
		t.Errorf("nothing to stage: %v", err)
	}
	first := desire(t, db, "a").Desired
	if s := stage(t, db); s.Staged != first || s.StagedFor != "wg" {
		t.Errorf("%+v", s)
	}
	if s := desire(t, db, "b"); s.Staged != first || s.Desired.Version != 2 {
		t.Errorf("saving changed what is staged: %+v", s)
	}
	stage(t, db)
	update(t, db, func(tx *Tx) error { _, err := tx.Stage("node_1", first, "awg"); return err }) // late
	if s := confState(t, db); s.Staged.Version != 2 || s.StagedFor != "wg" {
		t.Errorf("a later version was staged already: %+v", s)
	}
}

func TestTheHistoryIsBoundedAndNeverDropsWhatIsInUse(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	number := 0
	more := func(n int) {
		for range n {
			number++
			desire(t, db, fmt.Sprint("text ", number))
		}
	}
	more(1)
	update(t, db, func(tx *Tx) error {
		_, err := tx.ConfirmApplied("node_1", ConfRef{1, versionHash(t, tx, 1)}, "wg", 1)
		return err
	})
	more(1)
	stage(t, db)
	more(1)
	payload, _ := json.Marshal(protocol.Push{ConfigVersion: 3})
	push := Command{RequestID: "req_1", ConfigID: "cfg_a", NodeID: "node_1", Action: protocol.ActionPush, State: CommandSent, Payload: payload}
	update(t, db, func(tx *Tx) error { return tx.AddCommand(&push) })
	more(confVersionsKept + 20)
	versions, _ := wantWhole(t, db)
	if len(versions) != confVersionsKept {
		t.Errorf("%d versions are kept", len(versions))
	}
	for i, want := range []int{3, 2, 1} {
		if got := versions[len(versions)-3+i].Version; got != want {
			t.Errorf("version %d is in use and not kept; %d is", want, got)
		}
	}
	update(t, db, func(tx *Tx) error { push.State = CommandApplied; return tx.PutCommand(push) })
	more(1)
	versions, _ = wantWhole(t, db)
	if got := versions[len(versions)-3].Version; len(versions) != confVersionsKept || got == 3 {
		t.Errorf("%d versions are kept, version %d among them", len(versions), got)
	}
}

func versionHash(t *testing.T, tx *Tx, version int) string {
	t.Helper()
	v, err := tx.ConfVersion("node_1", version)
	if err != nil {
		t.Fatal(err)
	}
	return v.SHA256
}

func TestAnEarlierPushConfirmsNothingAfterALaterOne(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	confirm := func(version int, seq uint64) (ok bool) {
		update(t, db, func(tx *Tx) (err error) {
			ok, err = tx.ConfirmApplied("node_1", ConfRef{version, fmt.Sprint("hash ", version)}, "wg", seq)
			return err
		})
		return ok
	}
	for _, c := range []struct {
		version int
		seq     uint64
		want    bool
	}{{2, 5, true}, {1, 4, false}, {1, 5, false}, {1, 6, true}} {
		if got := confirm(c.version, c.seq); got != c.want {
			t.Errorf("confirm %+v: %v", c, got)
		}
	}
	if s := confState(t, db); s.Confirmed.Version != 1 || s.ConfirmedSeq != 6 || s.ConfirmedAt.IsZero() {
		t.Errorf("%+v", s)
	}
}

func TestWhatAFormerAgentSaidIsForgottenWithItAndItsLateAnswersCountNoMore(t *testing.T) {
	static := func(tx *Tx) error {
		n, err := tx.Node("node_1")
		if err != nil {
			return err
		}
		n.Type = NodeStatic
		return tx.PutNode(&n)
	}
	rebind := func(tx *Tx) error {
		token, _, err := tx.IssueBindToken("node_1", 1<<40)
		if err != nil {
			return err
		}
		_, err = tx.Bind(token, Client{})
		return err
	}
	for name, part := range map[string]func(*Tx) error{
		"reset": func(tx *Tx) error { return tx.ResetClient("node_1") }, "static": static, "bound anew": rebind,
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t)
			addNode(t, db, "node_1")
			bind(t, db)
			desire(t, db, "a")
			staged := stage(t, db)
			push := Command{RequestID: "req_1", ConfigID: "cfg_a", NodeID: "node_1", State: CommandSent}
			update(t, db, func(tx *Tx) error {
				if err := tx.AddCommand(&push); err != nil {
					return err
				}
				if _, err := tx.ConfirmApplied("node_1", staged.Staged, "wg", push.Seq); err != nil {
					return err
				}
				return tx.ReportStored("node_1", staged.Staged)
			})
			update(t, db, part)
			s := confState(t, db)
			if s.Desired != staged.Desired || s.Staged != staged.Staged || s.Confirmed != (ConfRef{}) || !s.ConfirmedAt.IsZero() ||
				s.Reported != (ConfRef{}) || !s.ReportedAt.IsZero() {
				t.Errorf("%+v", s)
			}
			update(t, db, func(tx *Tx) error {
				if ok, err := tx.ConfirmApplied("node_1", staged.Staged, "wg", push.Seq); ok {
					t.Errorf("a late answer of the former agent confirmed (%v)", err)
				}
				return nil
			})
		})
	}
}

func TestADeletedNodeLeavesNothingOfItsConfigs(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	addNode(t, db, "node_10") // begins alike
	for _, text := range []string{"a", "b"} {
		desire(t, db, text)
		update(t, db, func(tx *Tx) error { _, err := tx.SetDesired("node_10", text, ConfVersion{}); return err })
	}
	update(t, db, func(tx *Tx) error { return tx.DeleteNode("node_1") })
	err := db.View(func(tx *Tx) error {
		for bucket, want := range map[string]int{string(bucketConfStates): 1, string(bucketConfVersions): 2, string(bucketConfTexts): 2} {
			keys := tx.keysUnder([]byte(bucket), nil, 0)
			for _, k := range keys {
				if !strings.HasPrefix(string(k), "node_10") {
					t.Errorf("%s keeps %q", bucket, k)
				}
			}
			if len(keys) != want {
				t.Errorf("%s keeps %d of the other node's, want %d", bucket, len(keys), want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnInterfaceGetsAnotherNameOnlyWhileNoTunnelRunsUnderIt(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	bind(t, db)
	staged := desire(t, db, "a")
	update(t, db, func(tx *Tx) error {
		running := true
		if _, err := tx.ConfirmApplied("node_1", staged.Desired, "wg", 1); err != nil {
			return err
		}
		return tx.UpdateEvidence("node_1", func(e *Evidence) { e.TunnelRunning = &running })
	})
	rename := func() error {
		return db.Update(func(tx *Tx) error {
			n, err := tx.Node("node_1")
			if err != nil {
				return err
			}
			n.InterfaceName = "wg9"
			return tx.PutNode(&n)
		})
	}
	if err := rename(); !errors.Is(err, ErrTunnelRuns) {
		t.Errorf("while it runs: %v", err)
	}
	update(t, db, func(tx *Tx) error {
		return tx.UpdateEvidence("node_1", func(e *Evidence) { *e.TunnelRunning = false })
	})
	if err := rename(); err != nil {
		t.Errorf("while it is stopped: %v", err)
	}
	_ = db.View(func(tx *Tx) error {
		s, _ := tx.ConfState("node_1")
		n, _ := tx.Node("node_1")
		if s.Confirmed.Version != 0 || s.Desired.Version == 0 || n.InterfaceName != "wg9" {
			t.Errorf("%+v of %s", s, n.InterfaceName)
		}
		return nil
	})
}

func TestAReportWithoutAVersionGetsThatOfTheSameTextAndOnlyAChangeIsTold(t *testing.T) {
	db := open(t)
	addNode(t, db, "node_1")
	ref := desire(t, db, "a").Desired
	sub := db.Subscribe(10)
	for range 3 {
		update(t, db, func(tx *Tx) error { return tx.ReportStored("node_1", ConfRef{SHA256: ref.SHA256}) })
	}
	if s := confState(t, db); s.Reported != ref || len(sub.C) != 1 {
		t.Errorf("%+v, %d changes", s.Reported, len(sub.C))
	}
	update(t, db, func(tx *Tx) error { return tx.ReportStored("node_1", ConfRef{SHA256: "other"}) })
	if s := confState(t, db); s.Reported != (ConfRef{0, "other"}) || len(sub.C) != 2 {
		t.Errorf("%+v, %d changes", s.Reported, len(sub.C))
	}
}

// TestAConfigIsWholeAfterAKill runs itself as a child that saves and stages, kills it, and checks
// that every config acknowledged as saved is there with its text.
func TestAConfigIsWholeAfterAKill(t *testing.T) {
	text := func(i int) string { return fmt.Sprint("text ", i%60) } // some come again
	if dir := os.Getenv("WFM_STORE_CHILD"); dir != "" {
		db, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		addNode(t, db, "node_1")
		for i := 1; i < 100_000; i++ {
			desire(t, db, text(i))
			stage(t, db)
			fmt.Println("committed", i)
		}
		return
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAConfigIsWholeAfterAKill$")
	cmd.Env = append(os.Environ(), "WFM_STORE_CHILD="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		n := 0
		if _, err := fmt.Sscanf(lines.Text(), "committed %d", &n); err == nil {
			last = max(last, n) // the last line may be cut
		}
		if last == 250 {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait()
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	wantWhole(t, db)
	if s := confState(t, db); last < 250 || s.Staged.Version < last || s.Desired.Version < s.Staged.Version || s.Desired.Version > s.Staged.Version+1 {
		t.Errorf("told up to %d, kept %+v", last, s)
	}
}

func TestAMadeVersionReplacesOneThatNeverLeftTheAppliance(t *testing.T) {
	t.Parallel()
	db := open(t)
	addNode(t, db, "node_1")
	update(t, db, func(tx *Tx) error {
		set := func(text, source string) {
			t.Helper()
			if _, err := tx.SetDesired("node_1", text, ConfVersion{Author: "admin", Source: source}); err != nil {
				t.Fatal(err)
			}
		}
		history := func(want ...int) {
			t.Helper()
			all, err := tx.ConfVersions("node_1", 0, 100)
			var got []int
			for _, v := range all {
				got = append(got, v.Version)
				if _, err := tx.ConfText("node_1", v.SHA256); err != nil {
					t.Errorf("the text of version %d: %v", v.Version, err)
				}
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("the history has %v, %v; want %v", got, err, want)
			}
			texts := len(tx.keysUnder(bucketConfTexts, seqPrefix("node_1"), 0))
			if texts > len(want) {
				t.Errorf("%d texts are kept of %d versions", texts, len(want))
			}
		}
		set("by hand", ConfEdited)
		set("a", ConfMade)
		set("b", ConfMade)
		history(3, 1)
		s, err := tx.ConfState("node_1")
		if err != nil {
			return err
		}
		if _, err := tx.Stage("node_1", s.Desired, "wg"); err != nil {
			return err
		}
		set("c", ConfMade)
		history(4, 3, 1)
		set("d", ConfMade)
		history(5, 3, 1)
		set("e by hand", ConfEdited)
		history(6, 5, 3, 1)
		set("d", ConfMade) // a text that version 5 has
		set("f", ConfMade)
		history(8, 6, 5, 3, 1)
		return nil
	})
	checkFile(t, db)
}
