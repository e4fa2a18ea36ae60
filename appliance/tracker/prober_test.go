package tracker

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wfm/protocol"
	"wfm/store"
)

// answers is an issuer whose commands end when the test says.
type answers struct {
	mu     sync.Mutex
	asked  map[string][]time.Time
	open   int
	most   int
	answer chan struct{} // closed: at once
}

func (a *answers) Issue(_ context.Context, nodeID string, action protocol.Action, _ string, queue bool) (store.Command, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if action != protocol.ActionDetect || queue {
		return store.Command{}, fmt.Errorf("asked for %s, queue %v", action, queue)
	}
	a.asked[nodeID] = append(a.asked[nodeID], time.Now())
	a.open++
	a.most = max(a.most, a.open)
	return store.Command{RequestID: nodeID}, nil
}

func (a *answers) Wait(ctx context.Context, _ string) (store.Command, error) {
	select {
	case <-a.answer:
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open--
	return store.Command{}, nil
}

// times are when the node was asked.
func (a *answers) times(nodeID string) []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked[nodeID])
}

func (a *answers) count() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, times := range a.asked {
		n += len(times)
	}
	return n
}

// probing runs test with a prober of 2 minutes over 240 nodes more than the fixture has.
func probing(t *testing.T, test func(t *testing.T, f *fixture, p *Prober, a *answers)) {
	t.Helper()
	bubble(t, func(t *testing.T, f *fixture) {
		f.bindMany(240)
		a := &answers{asked: make(map[string][]time.Time), answer: make(chan struct{})}
		p := NewProber(ProberOptions{Store: f.db, Commands: a, Interval: 120 * time.Second})
		defer stopped(t, p)
		test(t, f, p, a)
	})
}

func TestNodesAreProbedOnceAnIntervalAndOnlyWhileSomebodyWatches(t *testing.T) {
	probing(t, func(t *testing.T, f *fixture, p *Prober, a *answers) {
		close(a.answer)
		pass(time.Hour)
		if n := a.count(); n != 0 {
			t.Fatalf("%d probes while nobody watches", n)
		}
		f.update(func(tx *store.Tx) error { return tx.ResetClient("node_7") })
		first, second := p.Watch(), p.Watch()
		pass(240*time.Second + time.Millisecond)
		if n := len(a.times("node_7")); n != 0 {
			t.Errorf("a node without an agent was asked %d times", n)
		}
		seconds := make(map[int64]int)
		a.mu.Lock()
		for id, times := range a.asked {
			if len(times) != 2 || times[1].Sub(times[0]) != 120*time.Second {
				t.Errorf("%s was asked at %v, want twice, an interval apart", id, times)
			}
			seconds[times[0].Unix()]++
		}
		if len(a.asked) != 241 || len(seconds) < 80 {
			t.Errorf("%d nodes were asked, in %d different seconds", len(a.asked), len(seconds))
		}
		a.mu.Unlock()
		f.bind("node_new")
		pass(240 * time.Second)
		if n := len(a.times("node_new")); n == 0 {
			t.Error("a node that came later is never asked")
		}
		first()
		first()
		before := a.count()
		pass(60 * time.Second)
		if a.count() == before {
			t.Error("probing stopped while one still watches")
		}
		second()
		synctest.Wait()
		before = a.count()
		pass(time.Hour)
		if n := a.count() - before; n != 0 {
			t.Errorf("%d probes after the last watcher left", n)
		}
	})
}

func TestUnansweredProbesAreBoundedAndEndWithTheWatching(t *testing.T) {
	probing(t, func(t *testing.T, _ *fixture, p *Prober, a *answers) {
		release := p.Watch()
		pass(10 * time.Minute)
		a.mu.Lock()
		if a.most != probesInFlight {
			t.Errorf("at most %d in flight, want %d", a.most, probesInFlight)
		}
		a.mu.Unlock()
		release()
		synctest.Wait()
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.open != 0 {
			t.Errorf("%d still wait", a.open)
		}
	})
}

func TestComingAndGoingWatchersShareOneBound(t *testing.T) {
	probing(t, func(t *testing.T, f *fixture, _ *Prober, _ *answers) {
		a := &stubborn{answers{asked: make(map[string][]time.Time), answer: make(chan struct{})}}
		p := NewProber(ProberOptions{Store: f.db, Commands: a, Interval: 120 * time.Second})
		for range 5 {
			release := p.Watch()
			pass(2 * time.Minute)
			release()
		}
		a.mu.Lock()
		if a.most > probesInFlight {
			t.Errorf("%d detects were unanswered at once, want at most %d", a.most, probesInFlight)
		}
		a.mu.Unlock()
		close(a.answer)
		stopped(t, p)
	})
}

// stubborn is an issuer whose Wait goes on after the last watcher has left.
type stubborn struct{ answers }

func (a *stubborn) Wait(ctx context.Context, id string) (store.Command, error) {
	return a.answers.Wait(context.WithoutCancel(ctx), id)
}

// raceDetector is set by race_test.go in builds with it.
var raceDetector bool

func TestNodesThatNeverAnswerDoNotKeepOthersFromTheirTurn(t *testing.T) {
	if raceDetector {
		t.Skip("Go 1.26's race detector itself crashes (SIGSEGV in tsan) in every fourth run with so many timers in a synctest bubble; it runs without the detector")
	}
	bubble(t, func(t *testing.T, f *fixture) {
		f.bindMany(1000)
		a := &silent{answers{asked: make(map[string][]time.Time), answer: make(chan struct{})}}
		p := NewProber(ProberOptions{Store: f.db, Commands: a, Interval: 120 * time.Second})
		defer stopped(t, p)
		defer p.Watch()()
		pass(20 * time.Minute)
		a.mu.Lock()
		defer a.mu.Unlock()
		least, most := math.MaxInt, 0
		for _, times := range a.asked {
			least, most = min(least, len(times)), max(most, len(times))
		}
		// 64 at a time for 10 s each: a round of 1,002 takes 157 s.
		if len(a.asked) != 1002 || least < 6 || most-least > 1 {
			t.Errorf("%d nodes were asked, %d to %d times each", len(a.asked), least, most)
		}
	})
}

// silent is an issuer whose commands end by their time limit.
type silent struct{ answers }

func (a *silent) Wait(ctx context.Context, id string) (store.Command, error) {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return a.answers.Wait(limited, id)
}

func TestProberStopsForGood(t *testing.T) {
	probing(t, func(t *testing.T, _ *fixture, p *Prober, a *answers) {
		close(a.answer)
		release := p.Watch()
		stopped(t, p)
		stopped(t, p)
		release()
		defer p.Watch()()
		before := a.count()
		pass(time.Hour)
		if a.count() != before {
			t.Error("it went on after Stop")
		}
	})
}

func stopped(t *testing.T, p *Prober) {
	t.Helper()
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
