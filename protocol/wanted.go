package protocol

import "encoding/json"

// WantedState is the operator's word on whether a tunnel should run (extension). It is kept by the
// appliance and by the agent, and is never evidence of what the tunnel does.
type WantedState string

// The wanted states. Anything else, and a missing one, reads as "not told" ([WantedState.Known]).
const (
	WantedRunning WantedState = "running"
	WantedStopped WantedState = "stopped"
	WantedNone    WantedState = "none" // no word: never started, or the start was taken back
)

// Known reports whether w is one of the three states.
func (w WantedState) Known() bool {
	return w == WantedRunning || w == WantedStopped || w == WantedNone
}

// UnmarshalJSON reads leniently: an unknown word, or anything but a string, reads as "not told".
func (w *WantedState) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) != nil || !WantedState(s).Known() {
		s = ""
	}
	*w = WantedState(s)
	return nil
}

// WantedBy is the state that a start or stop asks for; WantedNone for every other action.
func WantedBy(a Action) WantedState {
	switch a { //nolint:exhaustive // the others say nothing of it
	case ActionStart:
		return WantedRunning
	case ActionStop:
		return WantedStopped
	}
	return WantedNone
}
