package store

import (
	"testing"
	"testing/synctest"
	"time"

	"wfm/protocol"
)

func TestAWithdrawnWordGivesTheFormerOneBackUnlessThatIsForgottenToo(t *testing.T) {
	t.Parallel()
	start := Command{RequestID: "req_start", NodeID: "node_1", Action: protocol.ActionStart}
	stop := Command{RequestID: "req_stop", NodeID: "node_1", Action: protocol.ActionStop}
	other := Command{RequestID: "req_other", NodeID: "node_1", Action: protocol.ActionStart}
	for name, tc := range map[string]struct {
		given    []Command
		withdraw Command
		forget   bool
		want     protocol.WantedState
	}{
		"the only one":                  {[]Command{start}, start, false, protocol.WantedNone},
		"the only one, to be forgotten": {[]Command{start}, start, true, protocol.WantedNone},
		"the later one":                 {[]Command{start, stop}, stop, false, protocol.WantedRunning},
		"the later one, and forget":     {[]Command{start, stop}, stop, true, protocol.WantedNone},
		"the earlier one":               {[]Command{start, stop}, start, false, protocol.WantedStopped},
		"the earlier one, and forget":   {[]Command{start, stop}, start, true, protocol.WantedStopped},
		"of a command that gave none":   {[]Command{start}, other, true, protocol.WantedRunning},
		"of a node that has none":       {nil, other, false, protocol.WantedNone},
	} {
		db := open(t)
		addNode(t, db, "node_1")
		update(t, db, func(tx *Tx) error {
			for _, cmd := range tc.given {
				if err := tx.SetWanted(cmd); err != nil {
					return err
				}
			}
			return tx.WithdrawWanted(tc.withdraw, tc.forget)
		})
		_ = db.View(func(tx *Tx) error {
			if w, err := tx.Wanted("node_1"); err != nil || w.State != tc.want {
				t.Errorf("%s: %s is wanted (%v), want %s", name, w.State, err, tc.want)
			}
			return nil
		})
	}
}

func TestANodeMayHoldAConfigThatItConfirmedOrReportedOrWasGiven(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		state ConfState
		want  bool
	}{
		"nothing":            {ConfState{}, false},
		"desired only":       {ConfState{Desired: ConfRef{1, "x"}, Staged: ConfRef{1, "x"}}, false},
		"confirmed":          {ConfState{Confirmed: ConfRef{1, "x"}}, true},
		"handed out":         {ConfState{HandedOut: ConfRef{1, "x"}}, true},
		"reported":           {ConfState{Reported: ConfRef{0, "x"}}, true},
		"reported that none": {ConfState{Reported: ConfRef{1, ""}}, false},
	} {
		if got := tc.state.MayHold(); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestEachChangeOfACommandIsStamped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		db, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		addNode(t, db, "node_1")
		cmd := Command{RequestID: "req_1", ConfigID: "cfg_a", NodeID: "node_1", State: CommandQueued}
		update(t, db, func(tx *Tx) error { return tx.AddCommand(&cmd) })
		made := time.Now()
		<-time.After(time.Minute)
		update(t, db, func(tx *Tx) error { return tx.AddNote("req_1", "x") })
		_ = db.View(func(tx *Tx) error {
			got, err := tx.Command("req_1")
			if err != nil || !got.CreatedAt.Equal(made) || !got.UpdatedAt.Equal(made.Add(time.Minute)) || !got.Notes[0].At.Equal(got.UpdatedAt) {
				t.Errorf("%+v, %v", got, err)
			}
			return nil
		})
	})
}
