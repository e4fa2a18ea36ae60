package presence

import (
	"time"

	"wfm/store"
)

// Two machines with one identity throw each other out for ever: each logs in again as soon as it
// has lost its session, and so ends the other's.
const (
	// takeoversTold is how many takeovers within takeoverWindow are told, if machines alternate.
	takeoversTold  = 3
	takeoverWindow = 2 * time.Minute
	// takeoversSure is how many by agents with ever new boot ids are told wherever they came from: two
	// deployed ones behind one address, or on one machine, cannot be told apart. One alone notices a lost
	// link after a keep-alive of 60 s, and so does not take over its own session that often.
	takeoversSure = 8
	// ConflictEnds is how long after the last takeover a conflict has ended.
	ConflictEnds = 10 * time.Minute
)

// Arrival is a session that took the place of a live one, or the one whose place was taken first.
type Arrival struct {
	At      time.Time
	Address string // without the port
	// Instance names the running agent; empty when the agent does not say.
	Instance string
	// BootID is of the session's last message; empty when there was none.
	BootID string
}

// TwoMachines reports whether the sessions, oldest first, are of more than one machine. What tells
// is a machine that comes back after another one has taken its place: one agent whose address
// changes, or that has a new boot id on every connection, as deployed ones have, never does that. Where
// nothing tells the agents apart, the number of takeovers does.
func TwoMachines(arrivals []Arrival, now time.Time) bool {
	recent := arrivals
	for len(recent) > 1 && now.Sub(recent[1].At) > takeoverWindow {
		recent = recent[1:]
	}
	if len(recent) <= takeoversTold {
		return false
	}
	unnamed, boots := 0, make(map[string]bool)
	for _, a := range recent {
		if a.Instance == "" {
			unnamed++
			if a.BootID != "" {
				boots[a.BootID] = true
			}
		}
	}
	named := returns(recent, func(a Arrival) string { return a.Instance })
	if unnamed == 0 || named > 0 {
		return named > 0
	}
	// An address may come back once by chance, as of a node with two uplinks.
	return len(boots) > takeoversSure || returns(recent, func(a Arrival) string { return a.BootID }) > 0 ||
		returns(recent, func(a Arrival) string { return a.Address }) > 1
}

// returns counts how often a value comes back after another one. Empty ones do not count.
func returns(arrivals []Arrival, value func(Arrival) string) (n int) {
	seen, last := make(map[string]bool), ""
	for _, a := range arrivals {
		v := value(a)
		if v == "" || v == last {
			continue
		}
		if seen[v] {
			n++
		}
		seen[v], last = true, v
	}
	return n
}

// Conflict returns the conflict of the node's identity at the time, nil if there is none.
func Conflict(e store.Evidence, now time.Time) *store.IdentityConflict {
	if c := e.IdentityConflict; c != nil && now.Sub(c.TakenOverAt) < ConflictEnds {
		return c
	}
	return nil
}
