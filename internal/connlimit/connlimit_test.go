package connlimit

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"
)

func listen(t *testing.T, total, perAddress int) (*Listener, <-chan net.Conn) {
	t.Helper()
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := New(inner, total, perAddress)
	t.Cleanup(func() { _ = l.Close() })
	accepted := make(chan net.Conn, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	return l, accepted
}

// dial connects from the loopback address.
func dial(t *testing.T, l *Listener, from string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestOneAddressCannotTakeAllPlaces(t *testing.T) {
	l, accepted := listen(t, 3, 2)
	serve := func(from string) net.Conn {
		t.Helper()
		dial(t, l, from)
		c := <-accepted
		State(c, http.StateActive)
		return c
	}
	refused := func(from, why string) {
		t.Helper()
		if _, err := dial(t, l, from).Read(make([]byte, 1)); err == nil {
			t.Error(why + " was served")
		}
	}
	first, second := serve("127.0.0.1"), serve("127.0.0.1")
	refused("127.0.0.1", "a third connection of the address")
	serve("127.0.0.2")
	refused("127.0.0.3", "a connection over the total")
	_, _ = first.Close(), first.Close() // a second Close releases nothing
	_ = second.Close()
	serve("127.0.0.1")
	serve("127.0.0.1")
	refused("127.0.0.1", "after closing twice, a connection over the total")
}

// closed waits until the other side has closed c.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("not closed: %v", err)
	}
}

func TestWhoHoldsConnectionsAndAsksForNothingKeepsNobodyOut(t *testing.T) {
	l, accepted := listen(t, 4, 3)
	one, two := dial(t, l, "127.0.0.1"), dial(t, l, "127.0.0.1")
	State(<-accepted, http.StateActive)
	served := <-accepted
	State(served, http.StateActive)
	three := dial(t, l, "127.0.0.1")
	<-accepted
	four := dial(t, l, "127.0.0.1") // of its own address, only the third waits
	closed(t, three)
	<-accepted
	State(served, http.StateIdle)
	dial(t, l, "127.0.0.2")
	State(<-accepted, http.StateActive)
	dial(t, l, "127.0.0.3") // over the total: the fourth has waited longest
	closed(t, four)
	State(<-accepted, http.StateActive)
	dial(t, l, "127.0.0.4")
	closed(t, two)
	State(<-accepted, http.StateActive)
	dial(t, l, "127.0.0.5")

	if err := one.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one that was being served: %v", err)
	}
}

func TestAnExemptAddressMayTakeAllPlaces(t *testing.T) {
	l, accepted := listen(t, 3, 1)
	l.Exempt = func(a net.Addr) bool { return Address(a) == "127.0.0.9" }
	for range 3 {
		dial(t, l, "127.0.0.9")
		State(<-accepted, http.StateActive)
	}
}

func TestAServerTellsWhichConnectionsWait(t *testing.T) {
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := New(inner, 2, 2)
	begun, end := make(chan struct{}, 9), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { begun <- struct{}{}; <-end }))
	server.Listener, server.Config.ConnState = l, State
	server.StartTLS()
	defer server.Close()
	defer close(end)
	client := server.Client()
	client.Transport.(*http.Transport).DisableKeepAlives = true
	var all sync.WaitGroup
	defer all.Wait()
	ask := func() {
		all.Go(func() {
			resp, err := client.Get(server.URL) //nolint:noctx // ends with the test
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
		})
		<-begun
	}
	ask()
	halfOpen := dial(t, l, "127.0.0.1")
	ask() // the unfinished handshake makes room
	closed(t, halfOpen)
	end <- struct{}{}
	end <- struct{}{}
}

func TestAddressesAreCountedPerHost(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1:5":             "192.0.2.1",
		"[2001:db8:1:2:3::4]:5":   "2001:db8:1:2::",
		"[::ffff:192.0.2.1]:1000": "192.0.2.1",
	} {
		a, err := net.ResolveTCPAddr("tcp", in)
		if err != nil {
			t.Fatal(err)
		}
		if got := Address(a); got != want {
			t.Errorf("%s counts as %s, want %s", in, got, want)
		}
	}
}
