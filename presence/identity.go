package presence

import (
	"time"

	"wfm/store"
)

// Two machines with one identity end each other's sessions for ever: each logs in again as soon as
// it has lost its session, and so ends the other's.
const (
	// takeoversTold is the number of takeovers within takeoverWindow that makes a conflict, if
	// machines alternate.
	takeoversTold  = 3
	takeoverWindow = 2 * time.Minute
	// takeoversSure is the number of takeovers with ever new boot ids that makes a conflict
	// wherever they came from: two deployed agents behind one address, or on one machine, cannot be
	// told apart. A lone agent notices a lost link only after a keep-alive of 60 s, so it does not
	// take over its own session that often.
	takeoversSure = 8
	// ConflictEnds is how long after its last takeover a conflict ends.
	ConflictEnds = 10 * time.Minute
)

// Arrival is a session that replaced a live one, or the first one that was replaced.
type Arrival struct {
	At      time.Time
	Address string // without the port
	// Instance names the running agent; empty if the agent does not report it.
	Instance string
	// BootID is that of the session's last message; empty if it sent none.
	BootID string
}

// TwoMachines reports whether the sessions, oldest first, belong to more than one machine. The sign
// is a machine that returns after another one replaced it. One agent never does that, even if its
// address changes or it has a new boot id on every connection, as deployed agents do. If agents
// cannot be told apart, the number of takeovers decides.
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
	// An address may return once by chance, as with a node that has two uplinks.
	return len(boots) > takeoversSure || returns(recent, func(a Arrival) string { return a.BootID }) > 0 ||
		returns(recent, func(a Arrival) string { return a.Address }) > 1
}

// returns counts how often a value returns after another one. Empty values do not count.
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

// Conflict returns the conflict over the node's identity at the time, nil if there is none.
func Conflict(e store.Evidence, now time.Time) *store.IdentityConflict {
	if c := e.IdentityConflict; c != nil && now.Sub(c.TakenOverAt) < ConflictEnds {
		return c
	}
	return nil
}
