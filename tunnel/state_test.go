package tunnel

import (
	"testing"

	"wfm/store"
)

func TestSyncIsOneRuleOfWhatTheNodeConfirmedAndReported(t *testing.T) {
	a, b := store.ConfRef{Version: 1, SHA256: "a"}, store.ConfRef{Version: 2, SHA256: "b"}
	at := store.ConfVersion{}.At.AddDate(2000, 0, 0)
	for name, tc := range map[string]struct {
		state store.ConfState
		node  store.NodeType
		want  store.SyncStatus
	}{
		"nothing desired": {store.ConfState{}, store.NodeDynamic, store.SyncLatest},
		"desired only":    {store.ConfState{Desired: a}, store.NodeDynamic, store.SyncPending},
		"staged only":     {store.ConfState{Desired: a, Staged: a}, store.NodeDynamic, store.SyncPending},
		"confirmed":       {store.ConfState{Desired: a, Staged: a, Confirmed: a}, store.NodeDynamic, store.SyncLatest},
		"confirmed the same text as version 2": {
			store.ConfState{Desired: store.ConfRef{Version: 3, SHA256: "a"}, Staged: b, Confirmed: a},
			store.NodeDynamic,
			store.SyncLatest,
		},
		"confirmed for the other tools":      {store.ConfState{Desired: a, Staged: a, Confirmed: a, ConfirmedFor: "awg"}, store.NodeDynamic, store.SyncPending},
		"confirmed for the tools":            {store.ConfState{Desired: a, Staged: a, Confirmed: a, ConfirmedFor: "wg"}, store.NodeDynamic, store.SyncLatest},
		"static, staged for the other tools": {store.ConfState{Desired: a, Staged: a, StagedFor: "awg"}, store.NodeStatic, store.SyncPending},
		"confirmed an older one":             {store.ConfState{Desired: b, Staged: b, Confirmed: a}, store.NodeDynamic, store.SyncPending},
		"reported what it confirmed":         {store.ConfState{Desired: a, Confirmed: a, Reported: a, ReportedAt: at}, store.NodeDynamic, store.SyncLatest},
		"reported another":                   {store.ConfState{Desired: a, Confirmed: a, Reported: b, ReportedAt: at}, store.NodeDynamic, store.SyncDrifted},
		"reported nothing on its disk":       {store.ConfState{Desired: a, Confirmed: a, ReportedAt: at}, store.NodeDynamic, store.SyncDrifted},
		"reported another, and something newer": {
			store.ConfState{Desired: b, Confirmed: a, Reported: store.ConfRef{Version: 0, SHA256: "c"}, ReportedAt: at},
			store.NodeDynamic, store.SyncDrifted,
		},
		"reported something, confirmed nothing": {store.ConfState{Desired: a, Reported: b, ReportedAt: at}, store.NodeDynamic, store.SyncPending},
		"static, not staged":                    {store.ConfState{Desired: a}, store.NodeStatic, store.SyncPending},
		"static, staged":                        {store.ConfState{Desired: a, Staged: a}, store.NodeStatic, store.SyncLatest},
		"static, an older one staged":           {store.ConfState{Desired: b, Staged: a}, store.NodeStatic, store.SyncPending},
		"static, with what was reported earlier": {
			store.ConfState{Desired: a, Staged: a, Confirmed: a, Reported: b, ReportedAt: at},
			store.NodeStatic,
			store.SyncLatest,
		},
	} {
		if got := Sync(tc.state, tc.node, "wg"); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}
