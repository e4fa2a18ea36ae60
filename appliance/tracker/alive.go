package tracker

import (
	"time"

	"wfm/store"
)

// aliveInterval is the time between records that the appliance runs. It decides how exactly a gap
// in the history is known after a power cut.
const aliveInterval = time.Minute

// markAlive records that the appliance runs, at intervals and when the tracker stops.
func (t *Tracker) markAlive() {
	ticks := time.NewTicker(aliveInterval)
	defer ticks.Stop()
	mark := func() error { return t.db.Update((*store.Tx).MarkAlive) }
	for {
		select {
		case <-ticks.C:
			_ = mark() // the store itself reports that it cannot write
		case <-t.stopping:
			if err := mark(); err != nil {
				t.log.Warn("cannot record until when the appliance ran", "err", err)
			}
			return
		}
	}
}
