package protocol

import "encoding/json"

// WantedState says whether the operator wants the tunnel to run (extension). The appliance and the
// agent both keep it. It is never evidence of the tunnel's actual state.
type WantedState string

// The wanted states. A missing or unknown one reads as "not told" ([WantedState.Known]).
const (
	WantedRunning WantedState = "running"
	WantedStopped WantedState = "stopped"
	WantedNone    WantedState = "none" // never started, or the start was taken back
)

// Known reports whether w is one of the three states.
func (w WantedState) Known() bool {
	return w == WantedRunning || w == WantedStopped || w == WantedNone
}

// UnmarshalJSON is lenient: an unknown value, or anything but a string, reads as "not told".
func (w *WantedState) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) != nil || !WantedState(s).Known() {
		s = ""
	}
	*w = WantedState(s)
	return nil
}
