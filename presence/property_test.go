package presence

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"wfm/internal/latest"
	"wfm/store"
)

// The rules' properties, each over many random evidences. Their times lie on a coarse grid around
// now, so that ties and the edges of TTL and grace are common.

const rounds = 20_000

var (
	propertyNow = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	allowed     = store.Node{Type: store.NodeDynamic, Enabled: true, Client: &store.Client{}}
)

// moment returns a random time: never, or up to two hours ago.
func moment(r *rand.Rand) time.Time {
	switch r.IntN(3) {
	case 0:
		return time.Time{}
	case 1:
		return propertyNow.Add(-time.Duration(r.IntN(8)) * 10 * time.Second)
	}
	return propertyNow.Add(-time.Duration(r.IntN(13)) * 10 * time.Minute)
}

// evidence returns random evidence that the store could hold: every time is past, and an open
// connection was opened.
func evidence(r *rand.Rand) store.Evidence {
	e := store.Evidence{
		ReachableAt: moment(r), OfflineAt: moment(r), ConnectedAt: moment(r), DisconnectedAt: moment(r),
		ProbeSentAt: moment(r), ProbeFailedAt: moment(r), HeartbeatAt: moment(r),
	}
	if !e.ConnectedAt.IsZero() && r.IntN(2) == 0 {
		e.ConnectionID = 1 + r.Uint64N(3)
	}
	if !e.OfflineAt.IsZero() {
		e.OfflineReason = "it said so"
	}
	if r.IntN(2) == 0 {
		running := r.IntN(2) == 0
		e.TunnelRunning = &running
	}
	return e
}

// everyEvidence calls test with random evidence, and names the evidence that failed.
func everyEvidence(t *testing.T, test func(r *rand.Rand, e store.Evidence) error) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	for range rounds {
		e := evidence(r)
		if err := test(r, e); err != nil {
			t.Fatalf("seed %d, %+v: %v", seed, e, err)
		}
	}
}

func project(e store.Evidence, now time.Time) Status {
	return Project(allowed, true, e, now, DefaultTimes())
}

func TestAnOfflineSignalNewerThanAllOthersIsNeverOnline(t *testing.T) {
	everyEvidence(t, func(r *rand.Rand, e store.Evidence) error {
		e.OfflineAt = latest.Of(latest.Of(e.ReachableAt, e.ConnectedAt), latest.Of(e.DisconnectedAt, e.ProbeFailedAt)).Add(time.Nanosecond)
		now := latest.Of(propertyNow, e.OfflineAt).Add(time.Duration(r.IntN(10_000)) * time.Second)
		if s := project(e, now); s.State != Offline || !s.NextChange.IsZero() || s.Tunnel != TunnelUnknown {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

func TestANewerSignalAlwaysWins(t *testing.T) {
	everyEvidence(t, func(r *rand.Rand, e store.Evidence) error {
		now := propertyNow.Add(time.Second) // after everything in e
		if r.IntN(2) == 0 {
			e.ReachableAt = now
		} else {
			e.ConnectionID, e.ConnectedAt = 9, now
		}
		if s := project(e, now); s.State != Online {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
}

func TestTimeAloneOnlyTurnsOnlineIntoDroppedAndAtTheMomentTold(t *testing.T) {
	everyEvidence(t, func(r *rand.Rand, e store.Evidence) error {
		now := propertyNow
		s := project(e, now)
		if s.NextChange.IsZero() {
			then := now.Add(time.Duration(r.Int64N(int64(1000 * time.Hour))))
			if got := project(e, then); got.State != s.State {
				return fmt.Errorf("%s became %s although no change was reported", s.State, got.State)
			}
			return nil
		}
		if s.State != Online || !s.NextChange.After(now) {
			return fmt.Errorf("a change is reported of %+v", s)
		}
		if got := project(e, s.NextChange.Add(-time.Nanosecond)); got.State != Online || !got.NextChange.Equal(s.NextChange) {
			return fmt.Errorf("just before the moment it is %+v", got)
		}
		if got := project(e, s.NextChange); got.State != Dropped || !got.Since.Equal(s.NextChange) || !got.NextChange.IsZero() {
			return fmt.Errorf("at the moment it is %+v", got)
		}
		if got := project(e, s.NextChange.Add(time.Hour)); !got.Since.Equal(s.NextChange) {
			return fmt.Errorf("an hour later it is %+v", got)
		}
		return nil
	})
}

func TestAStateIsNeverSinceTheFutureAndTheTunnelIsKnownOnlyOnline(t *testing.T) {
	everyEvidence(t, func(_ *rand.Rand, e store.Evidence) error {
		s := project(e, propertyNow)
		if s.Since.After(propertyNow) || s.Reason == "" {
			return fmt.Errorf("%+v", s)
		}
		if known := s.Tunnel != TunnelUnknown; known != (s.State == Online && e.TunnelRunning != nil) {
			return fmt.Errorf("tunnel %s while %s", s.Tunnel, s.State)
		}
		return nil
	})
}

// Evidence keeps the newest signal of each sort, so that signals may be recorded in any order.
func TestTheOrderInWhichTheSameSignalsArriveDoesNotMatter(t *testing.T) {
	keepNewest := func(at *time.Time) func(time.Time) { return func(t time.Time) { *at = latest.Of(*at, t) } }
	everyEvidence(t, func(r *rand.Rand, _ store.Evidence) error {
		type signal struct {
			sort int
			at   time.Time
		}
		var signals []signal
		for range 2 + r.IntN(8) {
			signals = append(signals, signal{r.IntN(5), propertyNow.Add(-time.Duration(1+r.IntN(2000)) * 5 * time.Second)})
		}
		take := func() store.Evidence {
			e := store.Evidence{OfflineReason: "it said so"}
			sorts := []func(time.Time){
				keepNewest(&e.ReachableAt), keepNewest(&e.OfflineAt), keepNewest(&e.ConnectedAt), keepNewest(&e.DisconnectedAt), keepNewest(&e.ProbeFailedAt),
			}
			for _, s := range signals {
				sorts[s.sort](s.at)
			}
			return e
		}
		first := project(take(), propertyNow)
		r.Shuffle(len(signals), func(i, j int) { signals[i], signals[j] = signals[j], signals[i] })
		if second := project(take(), propertyNow); second != first {
			return fmt.Errorf("%+v became %+v", first, second)
		}
		return nil
	})
}
