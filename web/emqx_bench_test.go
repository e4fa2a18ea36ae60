package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wfm/protocol"
	"wfm/store"
	"wfm/web"
)

// connections is the number of connections that EMQX keeps for its questions.
const connections = 8

// BenchmarkAuthz asks EMQX's question about 2,000 nodes over HTTP, as fast as possible and 5,000
// times a second.
func BenchmarkAuthz(b *testing.B) {
	ask := askAuthz(b)
	b.Run("saturated", func(b *testing.B) { measure(b, 0, ask) })
	b.Run("5000/s", func(b *testing.B) { measure(b, connections*time.Second/5000, ask) })
}

// measure asks b.N times in all, on each connection once in every interval.
func measure(b *testing.B, every time.Duration, ask func(*testing.B, int)) {
	b.Helper()
	took := make([]time.Duration, b.N)
	var wg sync.WaitGroup
	b.ResetTimer()
	for c := range connections {
		wg.Go(func() {
			ticks := time.NewTicker(max(every, 1))
			defer ticks.Stop()
			for i := c; i < b.N; i += connections {
				if every > 0 {
					<-ticks.C
				}
				start := time.Now()
				ask(b, i)
				took[i] = time.Since(start)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// askAuthz starts a server and returns a function that asks it a question and expects allow.
func askAuthz(b *testing.B) func(*testing.B, int) {
	b.Helper()
	db, err := store.Open(b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	ids := make([]string, 2000)
	err = db.Update(func(tx *store.Tx) error {
		if err := tx.PutConfig(&store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}); err != nil {
			return err
		}
		for i := range ids {
			ids[i] = protocol.NewID("node")
			if err := tx.PutNode(&store.Node{ID: ids[i], ConfigID: "cfg_a", Name: ids[i], Enabled: true, Type: store.NodeDynamic}); err != nil {
				return err
			}
			token, _, err := tx.IssueBindToken(ids[i], time.Minute)
			if err == nil {
				_, err = tx.Bind(token, store.Client{})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	o := web.Options{Store: db}
	external()(&o)
	server := web.New(o)
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = server.ServeCallbacks(l) }()
	b.Cleanup(func() { _ = server.Stop(context.Background()) })
	// Raw connections instead of a client of net/http: the client must not dominate the
	// measurement.
	conns := make([]net.Conn, connections)
	readers := make([]*bufio.Reader, connections)
	for c := range conns {
		if conns[c], err = (&net.Dialer{}).DialContext(b.Context(), "tcp", l.Addr().String()); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conns[c].Close() })
		readers[c] = bufio.NewReader(conns[c])
	}
	return func(b *testing.B, i int) {
		b.Helper()
		id, c := ids[i%len(ids)], i%connections
		body := `{"username":"` + id + `","clientid":"wfm-` + id + `","topic":"wfm/cfg_a/` + id + `/heartbeat","action":"publish","qos":"1","retain":"false"}`
		fmt.Fprintf(conns[c], "POST /api/internal/emqx/authz HTTP/1.1\r\nHost: wfm\r\nContent-Type: application/json\r\nx-wfm-internal-key: "+
			"%s\r\nContent-Length: %d\r\n\r\n%s",
			sharedKey, len(body), body)
		res, err := http.ReadResponse(readers[c], nil)
		if err != nil {
			b.Error(err)
			return
		}
		defer res.Body.Close()
		if raw, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(raw), "allow") {
			b.Errorf("%d %s %v", res.StatusCode, raw, err)
		}
	}
}
