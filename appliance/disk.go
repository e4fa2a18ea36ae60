package appliance

import (
	"context"
	"sync"
	"time"

	"wfm/store"
)

// firstWrite closes the records that the last run left open.
func firstWrite(tx *store.Tx) error {
	if err := tx.NoteStart(); err != nil {
		return err
	}
	return tx.SettleAudit()
}

// writeRetry is the pause before a start tries again to write.
const writeRetry = 2 * time.Second

// onceWritable calls fn, and repeats it as long as the disk takes no writes: meanwhile the stored
// data is served. Any other error of the first call is returned.
func (a *Appliance) onceWritable(name string, fn func() error) error {
	err := fn()
	if !store.Unwritable(err) {
		return err
	}
	a.log.Warn("the disk takes no writes; what there is, is served for reading until it does", "waiting", name, "err", err)
	stopping := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticks := time.NewTicker(writeRetry)
		defer ticks.Stop()
		for store.Unwritable(err) {
			select {
			case <-stopping:
				return
			case <-ticks.C:
				err = fn()
			}
		}
		if err != nil {
			a.log.Error("a part of the start failed", "part", name, "err", err)
		}
	})
	a.onStop("waiting for the disk: "+name, func(context.Context) error { close(stopping); running.Wait(); return nil })
	return nil
}
