package web_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"wfm/store"
	"wfm/web"
)

// pipes is a listener of in-memory connections, which work in a synctest bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours, nil
}

// timed runs test in a synctest bubble, with a stream of a session that lasts for ttl.
func timed(t *testing.T, ttl time.Duration, test func(t *testing.T, db *store.DB, s *eventReader)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		db := openStore(t, 0)
		token := adminSession(t, db, ttl)
		server := web.New(web.Options{Store: db})
		p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- server.Serve(p) }()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://wfm.test/api/v1/events/stream", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := (&http.Transport{DialContext: p.dial}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		test(t, db, (&eventReader{t, resp, bufio.NewReader(resp.Body)}).greeted())
		resp.Body.Close()
		if err := server.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestAStreamTellsTheTimeEvery15Seconds(t *testing.T) {
	timed(t, time.Hour, func(t *testing.T, _ *store.DB, s *eventReader) {
		begin := time.Now()
		for i := range 8 { // beyond every time limit of a request
			f := s.want("system.clock.sync")
			told, err := time.Parse(time.RFC3339Nano, f.payload["now"].(string))
			if f.payload["timestamp"] != f.payload["now"] || f.payload["timezone"] != "UTC" {
				t.Errorf("told: %s", f.data)
			}
			if want := begin.Add(time.Duration(i+1) * 15 * time.Second); err != nil || !told.Equal(want) || !time.Now().Equal(want) {
				t.Fatalf("at %s it tells %s (%v), want %s", time.Now(), told, err, want)
			}
		}
	})
}

func TestAStreamTellsOfTheSystemsStatusWhenItHasChangedAndGathersThat(t *testing.T) {
	timed(t, time.Hour, func(t *testing.T, db *store.DB, s *eventReader) {
		for i := range 3 {
			if err := db.Update(func(tx *store.Tx) error {
				return tx.PutConfig(&store.Config{ID: fmt.Sprintf("cfg_%d", i), Name: fmt.Sprint(i), Enabled: true})
			}); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[string]int{}
		for begin := time.Now(); time.Since(begin) < time.Minute; {
			f := s.next()
			seen[f.name]++
			if f.name == "system.status.updated" && f.payload["summary"].(map[string]any)["configs"].(float64) != 3 {
				t.Errorf("told: %s", f.data)
			}
		}
		if seen["system.status.updated"] != 1 || seen["config.list.updated"] != 3 {
			t.Errorf("in a minute came %v", seen)
		}
	})
}

func TestAStreamEndsWithItsSessionAndNotBefore(t *testing.T) {
	timed(t, 40*time.Second, func(t *testing.T, _ *store.DB, s *eventReader) {
		begin := time.Now()
		s.want("system.clock.sync")
		s.want("system.clock.sync")
		if f := s.next(); !errors.Is(f.err, io.EOF) || time.Since(begin) != 40*time.Second {
			t.Errorf("after %s: %+v", time.Since(begin), f)
		}
	})
}

func TestAStreamWhoseSessionIsGoneEndsWithTheNextClock(t *testing.T) {
	timed(t, time.Hour, func(t *testing.T, db *store.DB, s *eventReader) {
		// Change the password in the store, so that the server is not notified.
		if err := db.Update(func(tx *store.Tx) error { return tx.SetAdminPassword("another") }); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if f := s.next(); !errors.Is(f.err, io.EOF) || time.Since(begin) > 15*time.Second {
			t.Errorf("after %s: %+v", time.Since(begin), f)
		}
	})
}
