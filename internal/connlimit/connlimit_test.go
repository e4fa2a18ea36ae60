package connlimit

import (
	"net"
	"testing"
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
	dial(t, l, "127.0.0.1")
	dial(t, l, "127.0.0.1")
	first, second := <-accepted, <-accepted
	if _, err := dial(t, l, "127.0.0.1").Read(make([]byte, 1)); err == nil {
		t.Error("a third connection of the address was served")
	}
	dial(t, l, "127.0.0.2")
	<-accepted
	if _, err := dial(t, l, "127.0.0.3").Read(make([]byte, 1)); err == nil {
		t.Error("a connection over the total was served")
	}
	_, _ = first.Close(), first.Close() // a second Close gives nothing back
	_ = second.Close()
	dial(t, l, "127.0.0.1")
	dial(t, l, "127.0.0.1")
	<-accepted
	<-accepted
	if _, err := dial(t, l, "127.0.0.1").Read(make([]byte, 1)); err == nil {
		t.Error("closing twice gave two places back")
	}
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
