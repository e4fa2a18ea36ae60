package emqx

import (
	"context"
	"net"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/packets"
)

// An EMQX that lost its power and has started anew lets nodes log in and acknowledges their messages
// while the appliance still believes in its old sessions there. So the appliance must notice before
// a machine has started, even if its connections are silent.
func TestSilentEndOfAConnectionIsNoticedSoon(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := dial(t.Context(), autopaho.ClientConfig{ConnectTimeout: patience}, &url.URL{Scheme: "mqtt", Host: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	option := func(number int) (value int) {
		t.Helper()
		var got error
		if err := raw.Control(func(fd uintptr) { value, got = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, number) }); err != nil || got != nil {
			t.Fatal(err, got)
		}
		return value
	}
	idle, interval, count := option(syscall.TCP_KEEPIDLE), option(syscall.TCP_KEEPINTVL), option(syscall.TCP_KEEPCNT)
	if limit := time.Duration(idle+interval*count) * time.Second; limit > 6*time.Second {
		t.Errorf("a silent connection counts as lost after %s", limit)
	}
}

// Where the system's probes are answered by something else than EMQX, as by a proxy, the pings find
// the end.
func TestSessionsPingEMQXOften(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	life, end := context.WithCancel(t.Context())
	defer end()
	b := &Broker{o: Options{URL: &url.URL{Scheme: "mqtt", Host: l.Addr().String()}}, life: life}
	if err := (&link{b: b, clientID: ownClientID}).connect(); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p, err := packets.ReadPacket(conn)
	if err != nil {
		t.Fatal(err)
	}
	end()
	if c := p.Content.(*packets.Connect); c.KeepAlive == 0 || c.KeepAlive > 10 {
		t.Errorf("a ping every %d s", c.KeepAlive)
	}
}
