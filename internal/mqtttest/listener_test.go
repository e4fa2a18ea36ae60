package mqtttest

import (
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
)

func TestABrokerStopsWhileClientsComeAndGo(t *testing.T) {
	server := mqtt.New(&mqtt.Options{Logger: slog.New(slog.DiscardHandler)})
	var addr net.Addr
	for i := range 64 { // mochi closes one after the other
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := server.AddListener(NewListener(server, strconv.Itoa(i), l)); err != nil {
			t.Fatal(err)
		}
		addr = l.Addr()
	}
	if err := server.Serve(); err != nil {
		t.Fatal(err)
	}
	Dial(t, addr, 5) // does not log in
	stop, stopped := make(chan struct{}), make(chan struct{})
	var all, begun sync.WaitGroup
	for range 4 {
		begun.Add(1)
		all.Go(func() {
			for first := true; ; first = false {
				server.Clients.Add(&mqtt.Client{ID: "a"})
				server.Clients.Delete("a")
				if first {
					begun.Done()
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	begun.Wait()
	go func() {
		defer close(stopped)
		_ = server.Close()
	}()
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Fatal("the broker does not stop")
	}
	close(stop)
	all.Wait()
}
