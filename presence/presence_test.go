package presence

import (
	"testing"
	"time"

	"wfm/store"
)

func TestEveryRuleOfPresence(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	bound := store.Node{Type: store.NodeDynamic, Enabled: true, Client: &store.Client{}}
	change := func(fn func(*store.Node)) store.Node { n := bound; fn(&n); return n }
	yes, no := true, false
	open := store.Evidence{ConnectionID: 1, ConnectedAt: ago(time.Hour), TunnelRunning: &yes}
	for name, tc := range map[string]struct {
		node     store.Node
		disabled bool
		evidence store.Evidence
		want     State
		tunnel   Tunnel
	}{
		"never bound":       {node: change(func(n *store.Node) { n.Client = nil }), evidence: open, want: Offline, tunnel: TunnelUnknown},
		"disabled":          {node: change(func(n *store.Node) { n.Enabled = false }), evidence: open, want: Offline, tunnel: TunnelUnknown},
		"static":            {node: change(func(n *store.Node) { n.Type = store.NodeStatic }), evidence: open, want: Offline, tunnel: TunnelUnknown},
		"config disabled":   {node: bound, disabled: true, evidence: open, want: Offline, tunnel: TunnelUnknown},
		"never heard of":    {node: bound, want: Offline, tunnel: TunnelUnknown},
		"connection open":   {node: bound, evidence: open, want: Online, tunnel: TunnelRunning},
		"tunnel stopped":    {node: bound, evidence: store.Evidence{ConnectionID: 1, ConnectedAt: ago(1), TunnelRunning: &no}, want: Online, tunnel: TunnelStopped},
		"tunnel never told": {node: bound, evidence: store.Evidence{ConnectionID: 1, ConnectedAt: ago(1)}, want: Online, tunnel: TunnelUnknown},
		"open, but said offline after": {
			node: bound, want: Offline, tunnel: TunnelUnknown,
			evidence: store.Evidence{ConnectionID: 1, ConnectedAt: ago(time.Hour), OfflineAt: ago(time.Minute), ReachableAt: ago(time.Hour)},
		},
		"offline, then a signal": {
			node: bound, want: Online, tunnel: TunnelUnknown,
			evidence: store.Evidence{OfflineAt: ago(time.Hour), ReachableAt: ago(time.Minute)},
		},
		"offline at the same moment": {
			node: bound, want: Offline, tunnel: TunnelUnknown,
			evidence: store.Evidence{OfflineAt: ago(time.Minute), ReachableAt: ago(time.Minute)},
		},
		"signal within the TTL": {node: bound, evidence: store.Evidence{ReachableAt: ago(89 * time.Minute)}, want: Online, tunnel: TunnelUnknown},
		"signal past the TTL":   {node: bound, evidence: store.Evidence{ReachableAt: ago(90 * time.Minute)}, want: Dropped, tunnel: TunnelUnknown},
		"failed probe after the signal": {
			node: bound, want: Dropped, tunnel: TunnelUnknown,
			evidence: store.Evidence{ReachableAt: ago(time.Hour), ProbeFailedAt: ago(time.Minute)},
		},
		"failed probe while the connection is open": {
			node: bound, want: Online, tunnel: TunnelUnknown,
			evidence: store.Evidence{ConnectionID: 1, ConnectedAt: ago(time.Hour), ReachableAt: ago(time.Hour), ProbeFailedAt: ago(time.Minute)},
		},
		"signal after the failed probe": {
			node: bound, want: Online, tunnel: TunnelUnknown,
			evidence: store.Evidence{ReachableAt: ago(time.Minute), ProbeFailedAt: ago(time.Hour)},
		},
		"connection broke within the grace": {
			node: bound, want: Online, tunnel: TunnelUnknown,
			evidence: store.Evidence{ReachableAt: ago(time.Hour), ConnectedAt: ago(time.Hour), DisconnectedAt: ago(29 * time.Second)},
		},
		"connection broke before the grace": {
			node: bound, want: Dropped, tunnel: TunnelUnknown,
			evidence: store.Evidence{ReachableAt: ago(time.Hour), ConnectedAt: ago(time.Hour), DisconnectedAt: ago(30 * time.Second)},
		},
		"quiet connection broke within the grace": {
			node: bound, want: Online, tunnel: TunnelUnknown,
			evidence: store.Evidence{ReachableAt: ago(3 * time.Hour), ConnectedAt: ago(4 * time.Hour), DisconnectedAt: ago(time.Second)},
		},
		"message and break at the same moment": {
			node: bound, want: Dropped, tunnel: TunnelUnknown,
			evidence: store.Evidence{ReachableAt: ago(time.Minute), ConnectedAt: ago(time.Hour), DisconnectedAt: ago(time.Minute)},
		},
		"older will and new connection at the same moment": {
			node: bound, want: Online, tunnel: TunnelUnknown,
			evidence: store.Evidence{ConnectionID: 2, ConnectedAt: ago(time.Minute), OfflineAt: ago(time.Minute)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Project(tc.node, !tc.disabled, tc.evidence, now, DefaultTimes())
			if got.State != tc.want || got.Tunnel != tc.tunnel {
				t.Errorf("%s (%s), tunnel %s; want %s, %s", got.State, got.Reason, got.Tunnel, tc.want, tc.tunnel)
			}
			if got.NextChange.IsZero() {
				return
			}
			if then := Project(tc.node, !tc.disabled, tc.evidence, got.NextChange, DefaultTimes()); then.State == got.State {
				t.Errorf("still %s at its next change", then.State)
			}
		})
	}
}

func TestOnlineIsSinceTheSignalThatMadeItSo(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	ago := func(minutes int) time.Time { return now.Add(-time.Duration(minutes) * time.Minute) }
	for name, tc := range map[string]struct {
		e    store.Evidence
		want time.Time
	}{
		"the connection":                   {store.Evidence{ConnectionID: 1, ConnectedAt: ago(60), ReachableAt: ago(5)}, ago(60)},
		"the connection after the offline": {store.Evidence{ConnectionID: 1, ConnectedAt: ago(60), OfflineAt: ago(70), ReachableAt: ago(5)}, ago(60)},
		"a message that took offline back": {store.Evidence{ConnectionID: 1, ConnectedAt: ago(60), OfflineAt: ago(10), ReachableAt: ago(5)}, ago(5)},
		"a message without a connection":   {store.Evidence{ReachableAt: ago(5)}, ago(5)},
	} {
		if got := project(tc.e, now); got.State != Online || !got.Since.Equal(tc.want) {
			t.Errorf("%s: %s since %s, want %s", name, got.State, got.Since, tc.want)
		}
	}
}

func TestFailedProbeCountsOnlyOnceTheConnectionBroke(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	n := store.Node{Type: store.NodeDynamic, Enabled: true, Client: &store.Client{}}
	broke := now.Add(-time.Minute)
	got := Project(n, true, store.Evidence{
		ConnectedAt: now.Add(-3 * time.Hour), ProbeFailedAt: now.Add(-2 * time.Hour), DisconnectedAt: broke,
	}, now, DefaultTimes())
	if got.State != Dropped || !got.Since.Equal(broke) {
		t.Errorf("%s since %v, want dropped since %v", got.State, got.Since, broke)
	}
}
