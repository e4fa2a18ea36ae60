package web_test

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wfm/internal/connlimit"
	"wfm/web"
	"wfm/web/access"
	"wfm/web/view"
)

func TestOneAddressHoldsAnEighthOfTheHTTPConnectionsUnlessItIsAProxy(t *testing.T) {
	for proxies, evicts := range map[string]bool{"": true, "127.0.0.1": false} {
		trusted, err := access.ParseProxies(proxies)
		if err != nil {
			t.Fatal(err)
		}
		sockets, err := web.Listen(t.Context(), web.SocketOptions{Addr: "127.0.0.1:0", TrustedProxies: trusted})
		if err != nil {
			t.Fatal(err)
		}
		s := web.New(web.Options{Store: openStore(t, 0), Sockets: sockets})
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
		dial := func() net.Conn {
			c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", sockets.HTTPAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		first := dial()
		for range connlimit.Share(4, 4096) / 8 {
			dial()
		}
		// The newest connection is served, so all before it were counted.
		last := dial()
		if _, err := last.Write([]byte("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := last.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		wait := time.Millisecond // it is already closed, or will not be
		if evicts {
			wait = patience
		}
		if err := first.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		_, err = first.Read(make([]byte, 1))
		if evicted := !errors.Is(err, os.ErrDeadlineExceeded); evicted != evicts {
			t.Errorf("proxies %q: the connection that waited longest: %v", proxies, err)
		}
	}
}

func TestSocketsAreClosedWithAServerThatWasNotStarted(t *testing.T) {
	sockets, err := web.Listen(t.Context(), web.SocketOptions{Addr: "127.0.0.1:0", TLSAddr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := web.New(web.Options{Store: openStore(t, 0), Sockets: sockets}).Stop(t.Context()); err != nil {
		t.Error(err)
	}
	for _, addr := range []net.Addr{sockets.HTTPAddr(), sockets.HTTPSAddr()} {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr.String())
		if err != nil {
			t.Errorf("still taken: %v", err)
			continue
		}
		_ = l.Close()
	}
	if _, err := web.Listen(t.Context(), web.SocketOptions{Addr: "127.0.0.1:0", TLSAddr: "nowhere"}); err == nil ||
		!strings.HasPrefix(err.Error(), "listen for HTTPS on nowhere: ") {
		t.Errorf("a malformed address: %v", err)
	}
}

func TestAServerThatIsStoppedAsSoonAsItHasStartedEnds(t *testing.T) {
	db := openStore(t, 0)
	for range 100 { // the goroutines of Start run before, during or after Stop
		sockets, err := web.Listen(t.Context(), web.SocketOptions{Addr: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		s := web.New(web.Options{Store: db, Sockets: sockets})
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// reads counts the calls of its only method.
type reads struct{ atomic.Int32 }

func (r *reads) Status() view.BrokerStatus { r.Add(1); return view.BrokerStatus{} }

func TestServingAfterAStopReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := new(reads)
		s := web.New(web.Options{Store: openStore(t, 0), Broker: read, MQTTEnabled: true})
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Serve(&pipes{done: make(chan struct{})}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := read.Load(); n != 0 {
			t.Errorf("the broker's status was read %d times", n)
		}
	})
}
