package web

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestActivityKeepsAnHourOfWhatHappenedInEachInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &activity{}
		start := time.Now()
		var now gauges
		stop := make(chan struct{})
		go a.run(stop, func() gauges {
			now.in += 3
			now.connections++
			return now
		})
		time.Sleep(activityInterval) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		if got := a.recent(); len(got) != 1 || got[0].MessagesIn != 3 || got[0].Connections != 2 || !got[0].At.Equal(start.Add(activityInterval)) {
			t.Errorf("%+v", got)
		}
		time.Sleep(2 * time.Hour) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		got := a.recent()
		if len(got) != activityKept || !got[0].At.Equal(time.Now().Add(-time.Hour+activityInterval).UTC()) || got[len(got)-1].MessagesIn != 3 {
			t.Errorf("%d samples from %v", len(got), got[0].At)
		}
		close(stop)
	})
}

func TestACounterThatBeganAnewDoesNotGoBack(t *testing.T) {
	a := &activity{}
	a.add(time.Now(), gauges{in: 10, out: 4}, gauges{in: 2, out: 5})
	if got := a.recent()[0]; got.MessagesIn != 2 || got.MessagesOut != 1 {
		t.Errorf("%+v", got)
	}
}
