package wanted

import (
	"testing"
	"time"

	"wfm/protocol"
	"wfm/store"
)

func TestStartIsSentOnlyOnFreshEvidenceAndWithinBounds(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	stopped := func(d time.Duration) store.Evidence {
		return store.Evidence{ConnectionID: 1, ConnectedAt: ago(time.Hour), TunnelRunning: new(false), TunnelAt: ago(d)}
	}
	word := func(d time.Duration, attempts int, last time.Duration) store.Wanted {
		w := store.Wanted{Word: store.Word{State: protocol.WantedRunning, At: ago(d)}, Attempts: attempts}
		if attempts > 0 {
			w.LastAttemptAt = ago(last)
		}
		return w
	}
	deployed := store.Node{Client: &store.Client{}}
	own := store.Node{Client: &store.Client{Capabilities: []string{protocol.CapabilityWantedState}}}
	holds := func(e store.Evidence, w protocol.WantedState) store.Evidence { e.AgentWanted = w; return e }
	probed := stopped(3 * time.Hour)
	probed.ProbeSentAt = ago(time.Minute)
	runs := stopped(time.Minute)
	runs.TunnelRunning = new(true)
	back := stopped(time.Minute)
	back.ConnectedAt = ago(2 * time.Minute)
	for name, c := range map[string]struct {
		node store.Node
		w    store.Wanted
		e    store.Evidence
		want verdict
	}{
		"found stopped":                      {deployed, word(2*time.Hour, 0, 0), stopped(time.Minute), verdict{act: actStart}},
		"runs":                               {deployed, word(2*time.Hour, 0, 0), runs, verdict{}},
		"evidence older than the word":       {deployed, word(time.Minute, 0, 0), stopped(time.Hour), verdict{act: actDetect}},
		"evidence older than the connection": {deployed, word(9*time.Hour, 0, 0), stopped(2 * time.Hour), verdict{act: actDetect}},
		"evidence older than the last start": {deployed, word(2*time.Hour, 1, time.Second), stopped(time.Minute), verdict{act: actDetect}},
		"asked already":                      {deployed, word(9*time.Hour, 0, 0), probed, verdict{}},
		"nothing known":                      {deployed, word(2*time.Hour, 0, 0), store.Evidence{ConnectedAt: ago(time.Second)}, verdict{act: actDetect}},
		"first pause": {
			deployed, word(2*time.Hour, 1, 20*time.Second), stopped(time.Second),
			verdict{again: ago(20 * time.Second).Add(firstPause)},
		},
		"first pause is over":       {deployed, word(2*time.Hour, 1, time.Minute), stopped(time.Second), verdict{act: actStart}},
		"longest pause":             {deployed, word(2*time.Hour, 7, time.Minute), stopped(time.Second), verdict{again: ago(time.Minute).Add(mostPause)}},
		"given up":                  {deployed, word(2*time.Hour, maxAttempts, 50*time.Minute), stopped(time.Second), verdict{}},
		"given up, and back anew":   {deployed, word(2*time.Hour, maxAttempts, 50*time.Minute), back, verdict{act: actStart}},
		"given up a moment ago":     {deployed, word(2*time.Hour, maxAttempts, 3*time.Minute), back, verdict{again: ago(3 * time.Minute).Add(mostPause)}},
		"agent that looks after it": {own, word(2*time.Hour, 0, 0), holds(stopped(time.Minute), protocol.WantedRunning), verdict{}},
		"agent that was not told":   {own, word(2*time.Hour, 0, 0), holds(stopped(time.Minute), protocol.WantedNone), verdict{act: actStart}},
		"agent that may still owe an answer": {
			own, word(2*time.Second, 0, 0), holds(stopped(time.Second), protocol.WantedNone),
			verdict{again: ago(2 * time.Second).Add(agentTurn)},
		},
		"agent without a word on what it has": {own, word(2*time.Hour, 0, 0), stopped(time.Minute), verdict{act: actStart}},
	} {
		if got := judge(c.node, c.w, c.e, now); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
