package view

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/wire"
)

// Rollout is a rollout without its nodes.
type Rollout struct {
	ID          string          `json:"id"`
	RolloutID   string          `json:"rollout_id"`
	ConfigID    string          `json:"config_id"`
	Action      protocol.Action `json:"action"`
	RequestedBy string          `json:"requested_by"`
	// Staged and Version choose the pushed version: by default the one desired at each node's turn.
	Staged      bool               `json:"staged"`
	Version     int                `json:"version"`
	Force       bool               `json:"force"`
	State       store.RolloutState `json:"state"`
	Reason      string             `json:"reason"`
	WaveSize    int                `json:"wave_size"`
	MaxFailures int                `json:"max_failures"`
	Wave        int                `json:"wave"`
	Waves       int                `json:"waves"`
	Counts      rolloutCounts      `json:"counts"`
	CreatedAt   *time.Time         `json:"created_at"`
	UpdatedAt   *time.Time         `json:"updated_at"`
	FinishedAt  *time.Time         `json:"finished_at"`
}

// rolloutCounts is the number of nodes with each outcome.
type rolloutCounts struct {
	Total      int `json:"total"`
	Waiting    int `json:"waiting"`
	Sent       int `json:"sent"`
	Confirming int `json:"confirming"`
	Done       int `json:"done"`
	Failed     int `json:"failed"`
	Skipped    int `json:"skipped"`
	Later      int `json:"later"`
	Cancelled  int `json:"cancelled"`
}

// RolloutOf is the rollout without its nodes.
func RolloutOf(r store.Rollout) Rollout {
	counts := rolloutCounts{
		Waiting: r.Counts[store.RolloutNodeWaiting], Sent: r.Counts[store.RolloutNodeSent],
		Confirming: r.Counts[store.RolloutNodeConfirming], Done: r.Counts[store.RolloutNodeDone],
		Failed: r.Counts[store.RolloutNodeFailed], Skipped: r.Counts[store.RolloutNodeSkipped],
		Cancelled: r.Counts[store.RolloutNodeCancelled], Later: r.Counts[store.RolloutNodeLater], Total: r.Total(),
	}
	return Rollout{
		ID: r.ID, RolloutID: r.ID, ConfigID: r.ConfigID, Action: r.Action, RequestedBy: r.RequestedBy, Staged: r.Staged, Version: r.Version, Force: r.Force,
		State: r.State, Reason: r.Reason, WaveSize: r.WaveSize, MaxFailures: r.MaxFailures, Wave: r.Wave, Waves: r.Waves,
		Counts: counts, CreatedAt: wire.When(r.CreatedAt), UpdatedAt: wire.When(r.UpdatedAt), FinishedAt: wire.When(r.FinishedAt),
	}
}

// RolloutNode is one node's part of a rollout.
type RolloutNode struct {
	NodeID    string               `json:"node_id"`
	NodeName  string               `json:"node_name"` // at the time the rollout was made
	Wave      int                  `json:"wave"`
	Outcome   store.RolloutOutcome `json:"outcome"`
	RequestID string               `json:"request_id"`
	// ConfigVersion is the version that was pushed, or that the node already had; 0 before its
	// turn.
	ConfigVersion int        `json:"config_version"`
	Detail        string     `json:"detail"`
	SentAt        *time.Time `json:"sent_at"`
	AppliedAt     *time.Time `json:"applied_at"`
	DecidedAt     *time.Time `json:"decided_at"`
}

// RolloutNodes returns nodes of a rollout. For those whose push waited, the detail says what has become of
// it.
func RolloutNodes(tx *store.Tx, nodes []store.RolloutNode) ([]RolloutNode, error) {
	all := make([]RolloutNode, len(nodes))
	for i, n := range nodes {
		all[i] = rolloutNodeOf(n)
		if n.Outcome != store.RolloutNodeLater {
			continue
		}
		cmd, err := tx.Command(n.RequestID)
		switch {
		case errors.Is(err, store.ErrCommandNotFound):
			continue
		case err != nil:
			return nil, err
		case cmd.State == store.CommandApplied:
			all[i].Detail = "away at its turn; it was back later and has the version"
		case cmd.State.Ended():
			all[i].Detail = fmt.Sprintf("away at its turn; %s: %s", cmd.State, cmp.Or(cmd.Detail, "no reason was given"))
		case cmd.State != store.CommandQueued:
			all[i].Detail = "away at its turn; it is back, and the push was sent"
		}
	}
	return all, nil
}

func rolloutNodeOf(n store.RolloutNode) RolloutNode {
	return RolloutNode{
		NodeID: n.NodeID, NodeName: n.Name, Wave: n.Wave, Outcome: n.Outcome, RequestID: n.RequestID,
		ConfigVersion: n.ConfigVersion, Detail: n.Detail,
		SentAt: wire.When(n.SentAt), AppliedAt: wire.When(n.AppliedAt), DecidedAt: wire.When(n.DecidedAt),
	}
}
