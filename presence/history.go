package presence

import (
	"time"

	"wfm/store"
)

// Uptime returns the fraction, from 0 to 1, of the last window in which the node was online,
// according to its transitions (newest first). Times before the history begins, and gaps, in which
// the appliance did not run, do not count; ok is false if no time is left.
func Uptime(transitions []store.Transition, gaps []store.Gap, window time.Duration, now time.Time) (fraction float64, ok bool) {
	begin, end := now.Add(-window), now
	var online, all time.Duration
	for _, t := range transitions {
		from := t.At
		if from.Before(begin) {
			from = begin
		}
		if end.After(from) {
			span := end.Sub(from) - within(gaps, from, end)
			all += span
			if t.To == string(Online) {
				online += span
			}
			end = from
		}
		if !t.At.After(begin) {
			break
		}
	}
	if all <= 0 {
		return 0, false
	}
	return float64(online) / float64(all), true
}

// within returns how much of the time between from and to lies in gaps.
func within(gaps []store.Gap, from, to time.Time) (sum time.Duration) {
	for _, g := range gaps {
		begin, end := g.From, g.To
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		sum += max(0, end.Sub(begin))
	}
	return sum
}

// Flaps returns how often, within the last window, the node went from online to another state.
func Flaps(transitions []store.Transition, window time.Duration, now time.Time) int {
	n := 0
	for _, t := range transitions {
		if t.From == string(Online) && t.At.After(now.Add(-window)) {
			n++
		}
	}
	return n
}

// Summary has the figures that sum up a node's history.
type Summary struct {
	// Uptime24h and Uptime7d are the fractions, from 0 to 1, of that time in which the node was
	// online; nil if unknown.
	Uptime24h *float64 `json:"uptime_24h"`
	Uptime7d  *float64 `json:"uptime_7d"`
	// Flaps24h counts how often the node went from online to another state in the last 24 hours.
	Flaps24h int `json:"flaps_24h"`
}

// Summarize returns the figures of the node's transitions (newest first). In gaps, the appliance
// did not run.
func Summarize(transitions []store.Transition, gaps []store.Gap, now time.Time) Summary {
	const day = 24 * time.Hour
	uptime := func(window time.Duration) *float64 {
		if f, ok := Uptime(transitions, gaps, window, now); ok {
			return &f
		}
		return nil
	}
	return Summary{Uptime24h: uptime(day), Uptime7d: uptime(7 * day), Flaps24h: Flaps(transitions, day, now)}
}
