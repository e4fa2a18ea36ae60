package web_test

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"wfm/internal/emqxcall"
	"wfm/store"
	"wfm/web"
)

// EMQX opens its pool of connections before its first question.
func TestConnectionsWithoutARequestDoNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := web.New(web.Options{
		Store: db, Logger: slog.New(slog.DiscardHandler),
		External: &web.ExternalBroker{Key: emqxcall.NewKey("key"), Apart: true, Settled: func(string) bool { return true }},
	})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.ServeCallbacks(l) }()
	for range 8 {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second) // net/http would wait 5 s
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
