package appliance

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"wfm/internal/connlimit"
	"wfm/web"
)

func TestOneAddressHoldsAnEighthOfTheHTTPConnectionsUnlessItIsAProxy(t *testing.T) {
	for proxies, evicts := range map[string]bool{"": true, "127.0.0.1": false} {
		trusted, err := web.ParseProxies(proxies)
		if err != nil {
			t.Fatal(err)
		}
		a, err := New(t.Context(), Options{
			DataDir: t.TempDir(), HTTPAddr: "127.0.0.1:0", TrustedProxies: trusted, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Stop(t.Context()) })
		dial := func() net.Conn {
			c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", a.httpSocket.Addr().String())
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
		// The newest is served, so all before it were counted.
		last := dial()
		if _, err := last.Write([]byte("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := last.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		patience := time.Millisecond // it was closed before, or never
		if evicts {
			patience = 10 * time.Second
		}
		if err := first.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		_, err = first.Read(make([]byte, 1))
		if evicted := !errors.Is(err, os.ErrDeadlineExceeded); evicted != evicts {
			t.Errorf("proxies %q: the connection that waited longest: %v", proxies, err)
		}
	}
}
