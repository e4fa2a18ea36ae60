package presence

import (
	"math"
	"testing"
	"time"

	"wfm/store"
)

func TestHistoryInFigures(t *testing.T) {
	now := time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)
	at := func(hoursAgo float64) time.Time { return now.Add(-time.Duration(hoursAgo * float64(time.Hour))) }
	step := func(hoursAgo float64, from, to State) store.Transition {
		return store.Transition{At: at(hoursAgo), From: string(from), To: string(to)}
	}
	gap := func(fromHoursAgo, toHoursAgo float64) store.Gap {
		return store.Gap{From: at(fromHoursAgo), To: at(toHoursAgo)}
	}
	for name, tc := range map[string]struct {
		history []store.Transition // newest first
		uptime  float64            // of 24 h; negative: unknown
		flaps   int
		gaps    []store.Gap
	}{
		"nothing known":      {nil, -1, 0, nil},
		"online for long":    {[]store.Transition{step(100, Offline, Online)}, 1, 0, nil},
		"offline for long":   {[]store.Transition{step(100, Online, Offline)}, 0, 0, nil},
		"half of the window": {[]store.Transition{step(12, Offline, Online), step(100, Online, Offline)}, 0.5, 0, nil},
		"away once":          {[]store.Transition{step(6, Dropped, Online), step(12, Online, Dropped), step(48, Offline, Online)}, 0.75, 1, nil},
		"shorter history":    {[]store.Transition{step(6, Offline, Online), step(12, "", Offline)}, 0.5, 0, nil},
		"before the window":  {[]store.Transition{step(30, Dropped, Online), step(40, Online, Dropped)}, 1, 0, nil},
		// The appliance ran for 12 of 24 h: 6 h online, 6 h dropped.
		"gaps do not count": {[]store.Transition{step(8, Online, Dropped), step(48, Offline, Online)}, 0.5, 1, []store.Gap{gap(30, 22), gap(18, 10), gap(4, 2)}},
		"nothing but a gap": {[]store.Transition{step(48, Offline, Online)}, -1, 0, []store.Gap{gap(30, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := Uptime(tc.history, tc.gaps, 24*time.Hour, now)
			if ok != (tc.uptime >= 0) || (ok && math.Abs(got-tc.uptime) > 1e-9) {
				t.Errorf("uptime %v, %v; want %v", got, ok, tc.uptime)
			}
			if n := Flaps(tc.history, 24*time.Hour, now); n != tc.flaps {
				t.Errorf("%d flaps, want %d", n, tc.flaps)
			}
		})
	}
}
