package tracker

import (
	"testing"
	"time"

	"wfm/store"
)

func TestTheRunIsMarkedEachMinuteAndAtItsEnd(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.update((*store.Tx).NoteStart)
		pass := func(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // the bubble's clock
		// nextStart returns how long the appliance did not run, as a start now would see it.
		nextStart := func() time.Duration {
			f.update((*store.Tx).NoteStart)
			gaps, err := store.Read(f.db, (*store.Tx).Gaps)
			if err != nil || len(gaps) == 0 {
				t.Fatalf("gaps %v, %v", gaps, err)
			}
			last := gaps[len(gaps)-1]
			return last.To.Sub(last.From)
		}
		pass(10*aliveInterval + 30*time.Second)
		if got := nextStart(); got != 30*time.Second {
			t.Errorf("after a kill, the gap is %s, want the time since the last minute", got)
		}
		pass(aliveInterval - time.Second)
		f.Stop()
		pass(time.Hour)
		if got := nextStart(); got != time.Hour {
			t.Errorf("after a stop, the gap is %s, want an hour", got)
		}
	})
}
