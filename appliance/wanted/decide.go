package wanted

import (
	"time"

	"wfm/internal/latest"
	"wfm/internal/retry"
	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
)

const (
	// maxAttempts is the number of starts in a row that a node gets.
	maxAttempts = 8
	// firstPause is the pause after the first start. It doubles with each start, up to mostPause.
	firstPause = 30 * time.Second
	mostPause  = 10 * time.Minute
	// agentTurn is how long an agent that keeps a wanted state has to deliver outstanding answers:
	// a start that it took back must not be sent again.
	agentTurn = 10 * time.Second
)

type act int

const (
	actNone act = iota
	actDetect
	actStart
)

// verdict says what to do for a node now and, with actNone, when to look again; zero: at the next
// change.
type verdict struct {
	act   act
	again time.Time
}

// decide returns the verdict for the node, which is usually to do nothing.
func (k *Keeper) decide(tx *store.Tx, nodeID string) (verdict, error) {
	w, err := tx.Wanted(nodeID)
	if err != nil || w.State != protocol.WantedRunning {
		return verdict{}, err
	}
	n, err := tx.Node(nodeID)
	if err != nil {
		return verdict{}, err
	}
	cfg, err := tx.Config(n.ConfigID)
	if err != nil {
		return verdict{}, err
	}
	e, err := tx.Evidence(nodeID)
	if err != nil || !e.ConnectionOpen() || presence.Project(n, cfg.Enabled, e, tx.Now(), k.Presence).State != presence.Online {
		return verdict{}, err
	}
	open, err := tx.OpenCommands(nodeID)
	if err != nil {
		return verdict{}, err
	}
	for _, cmd := range open {
		if cmd.Kind.ChangesNode() {
			return verdict{}, nil // its end is a change
		}
	}
	return judge(n, w, e, tx.Now()), nil
}

// judge is decide for a node that is online and has no open command.
func judge(n store.Node, w store.Wanted, e store.Evidence, now time.Time) verdict {
	since := latest.Of(w.At, e.ConnectedAt, w.LastAttemptAt)
	switch {
	case e.TunnelRunning == nil || !e.TunnelAt.After(since):
		if e.ProbeSentAt.After(since) {
			return verdict{} // it was asked; its answer is a change
		}
		return verdict{act: actDetect}
	case *e.TunnelRunning:
		return verdict{}
	case n.Can(protocol.CapabilityWantedState) && e.AgentWanted == protocol.WantedRunning:
		return verdict{} // the agent starts it itself
	}
	at := w.LastAttemptAt
	switch {
	case w.Attempts >= maxAttempts && !e.ConnectedAt.After(w.LastAttemptAt):
		return verdict{}
	case w.Attempts > 0:
		at = at.Add(retry.Pause(firstPause, mostPause, w.Attempts-1))
	}
	if n.Can(protocol.CapabilityWantedState) {
		at = latest.Of(at, since.Add(agentTurn))
	}
	if now.Before(at) {
		return verdict{again: at}
	}
	return verdict{act: actStart}
}
