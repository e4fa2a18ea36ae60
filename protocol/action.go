package protocol

import (
	"errors"
	"time"
)

// Action is the operation that a command asks for.
type Action string

// The actions on the wire. ActionDetect has no wire field: the topic implies it.
const (
	ActionStart    Action = "start"
	ActionStop     Action = "stop"
	ActionPush     Action = "push_config"
	ActionDetect   Action = "detect"
	ActionWGShow   Action = "wg_show"
	ActionDescribe Action = "describe" // extension
	// ActionRotateKey makes the agent prepare a new key pair for the tunnel (extension). The former one
	// stays in use until a config comes that names the new public key.
	ActionRotateKey Action = "rotate_key"
)

// Capabilities that an agent can report at bind and in describe (extension).
const (
	// CapabilityDedupe: the agent executes each request_id once and repeats its ACK, so a command
	// with an unknown outcome may simply be sent again.
	CapabilityDedupe = "dedupe"
	// CapabilityDescribe: the agent answers info with action describe.
	CapabilityDescribe = "describe"
	// CapabilityCommitConfirm: after a start, or a push to a running interface, the agent proves
	// that it still reaches the server, and otherwise takes the change back. In between it answers
	// accepted. An applied detect or describe without config_sha256 means that nothing is stored.
	CapabilityCommitConfirm = "commit_confirm"
	// CapabilityNodeKey: the agent has a key pair of its own, and writes the private key into a config
	// that says that the key is kept on the node. It reports the public key, and makes a new pair for
	// rotate_key.
	CapabilityNodeKey = "node_key"
	// CapabilityWantedState: the agent keeps the last wanted state it received, restores a tunnel
	// that should run and does not, and reports the state it holds.
	CapabilityWantedState = "wanted_state"
)

var (
	// ErrInvalidAction is returned for an action that this protocol does not have.
	ErrInvalidAction = errors.New("unknown action")
	// ErrCannotDescribe is returned for a describe to an agent without [CapabilityDescribe].
	ErrCannotDescribe = errors.New("the node's agent cannot describe itself")
	// ErrNoNodeKey is returned for a rotate_key to an agent without [CapabilityNodeKey].
	ErrNoNodeKey = errors.New("the node's agent has no key pair of its own")
)

// ActionSpec describes an action. The appliance, its page and the agent look here, so that a new
// action needs a row in the table and the agent's code to carry it out.
type ActionSpec struct {
	Action Action
	Kind   Kind   // of the topic that the command travels on
	Name   string // for people, of the command in a list
	Label  string // on a button
	Words  string // its effect, after "to"

	// Leaves is the state in which the command leaves the tunnel. The command sets it as the wanted
	// state. It is empty if the command does not start or stop the tunnel.
	Leaves WantedState
	// Repeatable: to carry the command out twice has the same effect as once, so it may be sent
	// again to an agent without [CapabilityDedupe].
	Repeatable bool
	// InRollouts: a rollout may give the command to many nodes.
	InRollouts bool
	// Unlisted: people do not choose the action, since another request gives the command.
	Unlisted bool
	// ReportsStored: the ACK reports the config that is stored on the node.
	ReportsStored bool
	// Needs is the capability that the agent must have, if any. Without it, the command is refused
	// with Lacking.
	Needs   string
	Lacking error

	// QueueTime is how long the command may wait for a node that is away. Zero: it does not wait.
	QueueTime time.Duration
	// AnswerTime is how long the node may take to answer, from sending.
	AnswerTime time.Duration
	// ConfirmTime replaces AnswerTime for an agent with [CapabilityCommitConfirm], which answers
	// only after it has proved that the change did not cut it off. It looks for its server for 60 s,
	// may take the change back then, and has to reconnect to answer. Zero: there is nothing to
	// confirm.
	ConfirmTime time.Duration
	// ToolRuns is how often the node may run its tools to take the tunnel up or down. Each run may
	// take longer for a long config.
	ToolRuns int
}

// actions is the table of actions, in the order in which people read them.
var actions = []ActionSpec{
	{
		Action: ActionStart, Kind: KindControl, Name: "start", Label: "Start", Words: "start the tunnel",
		Leaves: WantedRunning, InRollouts: true,
		QueueTime: time.Hour, AnswerTime: 30 * time.Second, ConfirmTime: 120 * time.Second,
		ToolRuns: 2, // up, and down if it is taken back
	},
	{
		Action: ActionStop, Kind: KindControl, Name: "stop", Label: "Stop", Words: "stop the tunnel",
		Leaves: WantedStopped, InRollouts: true,
		QueueTime: time.Hour, AnswerTime: 30 * time.Second,
		ToolRuns: 1,
	},
	{
		Action: ActionPush, Kind: KindPush, Name: "push", Label: "Push", Words: "push the tunnel config",
		InRollouts: true, ReportsStored: true,
		// A site may be offline for this long, for holidays or a repair. After that, the order is
		// out of date.
		QueueTime:  30 * 24 * time.Hour,
		AnswerTime: 60 * time.Second, ConfirmTime: 180 * time.Second,
		ToolRuns: 4, // the former tunnel down, the new one up, and both back if it fails
	},
	{
		Action: ActionDetect, Kind: KindDetect, Name: "check", Label: "Check now", Words: "ask the node how it is",
		Repeatable: true, ReportsStored: true, AnswerTime: 10 * time.Second,
	},
	{
		Action: ActionWGShow, Kind: KindInfo, Name: "tunnel status", Label: "Tunnel status", Words: "show the tunnel’s peers and traffic",
		Repeatable: true, AnswerTime: 30 * time.Second,
	},
	{
		Action: ActionDescribe, Kind: KindInfo, Name: "node details", Label: "Node details", Words: "show the node’s host, agent and tools",
		Repeatable: true, ReportsStored: true, AnswerTime: 30 * time.Second,
		// Deployed agents take describe for wg_show.
		Needs: CapabilityDescribe, Lacking: ErrCannotDescribe,
	},
	{
		Action: ActionRotateKey, Kind: KindInfo, Name: "new key", Label: "New key", Words: "make a new key pair on the node",
		Unlisted: true, AnswerTime: 30 * time.Second,
		// A repetition makes a newer key, and the newest one counts.
		Repeatable: true,
		Needs:      CapabilityNodeKey, Lacking: ErrNoNodeKey,
	},
}

// Actions returns the actions for which keep returns true, in the order in which people read them.
// A nil keep returns all.
func Actions(keep func(ActionSpec) bool) []ActionSpec {
	var out []ActionSpec
	for _, s := range actions {
		if keep == nil || keep(s) {
			out = append(out, s)
		}
	}
	return out
}

// Listed returns the actions that people choose from, in the order in which they read them.
func Listed() []ActionSpec { return Actions(func(s ActionSpec) bool { return !s.Unlisted }) }

// Spec returns the description of a, or the zero value for an unknown action.
func (a Action) Spec() ActionSpec {
	for _, s := range actions {
		if s.Action == a {
			return s
		}
	}
	return ActionSpec{}
}

// Kind returns the kind of topic that a command for a travels on, or "" for an unknown action.
func (a Action) Kind() Kind { return a.Spec().Kind }

// Leaves returns the state in which a command for a leaves the tunnel, or WantedNone if it does not
// start or stop it.
func (a Action) Leaves() WantedState {
	if s := a.Spec().Leaves; s != "" {
		return s
	}
	return WantedNone
}

// Starts reports whether a command for a leaves the tunnel running.
func (a Action) Starts() bool { return a.Leaves() == WantedRunning }
