package events

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"wfm/store"
)

func TestAHubThatCannotFollowTheChangesTellsEveryStreamToReadAnew(t *testing.T) {
	db, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	stopping, busy, goOn := make(chan struct{}), make(chan struct{}, 1), make(chan struct{})
	h := newHub(db, slog.New(slog.DiscardHandler), stopping, func([]store.Change) ([]event, configChanges, error) {
		select {
		case busy <- struct{}{}:
			<-goOn // at the first change only
		default:
		}
		return nil, nil, nil
	}, nil)
	s := &stream{token: "a", queue: make(chan frame, queueSize), check: make(chan struct{}, 1), end: func(err error) { t.Errorf("ended: %v", err) }}
	if _, err := h.attach(s, ""); err != nil {
		t.Fatal(err)
	}
	flood := func(n int) {
		if err := db.Update(func(tx *store.Tx) error {
			for range n {
				tx.Emit(store.Change{Kind: store.ChangeJournal})
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	flood(1)
	for len(busy) == 0 { // until the hub is at it
		flood(1)
	}
	flood(feedBuffer + 1)
	close(goOn)
	select {
	case f := <-s.queue:
		if !strings.Contains(string(f.bytes), "event: system.resync") || !strings.Contains(string(f.bytes), resyncOverrun) {
			t.Errorf("got %s", f.bytes)
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing was told")
	}
	h.detach(s)
	close(stopping)
	h.Wait()
}
