package view

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestActivityKeepsAnHourOfWhatHappenedInEachInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Activity{}
		start := time.Now()
		var now Gauges
		stop := make(chan struct{})
		go a.Run(stop, func() Gauges {
			now.In += 3
			now.Connections++
			return now
		})
		time.Sleep(ActivityInterval) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		if got := a.Recent(); len(got) != 1 || got[0].MessagesIn != 3 || got[0].Connections != 2 || !got[0].At.Equal(start.Add(ActivityInterval)) {
			t.Errorf("%+v", got)
		}
		time.Sleep(2 * time.Hour) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		got := a.Recent()
		if len(got) != ActivityKept || !got[0].At.Equal(time.Now().Add(-time.Hour+ActivityInterval).UTC()) || got[len(got)-1].MessagesIn != 3 {
			t.Errorf("%d samples from %v", len(got), got[0].At)
		}
		close(stop)
	})
}

func TestACounterThatBeganAnewDoesNotGoBack(t *testing.T) {
	a := &Activity{}
	a.add(time.Now(), Gauges{In: 10, Out: 4}, Gauges{In: 2, Out: 5})
	if got := a.Recent()[0]; got.MessagesIn != 2 || got.MessagesOut != 1 {
		t.Errorf("%+v", got)
	}
}
