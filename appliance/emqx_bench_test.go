package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"testing"
	"time"

	"wfm/appliance/emqx"
	"wfm/internal/emqxtest"
	"wfm/protocol"
	"wfm/store"
)

// BenchmarkStoredBehindEMQX stores heartbeats of 200 nodes that wait at the stand-in: over one session,
// with the window of an EMQX as it comes and with that of the appliance's own zone, and over the
// sessions that share them. Then the same from nodes that have left meanwhile: the appliance waits
// for the event about a connection that is gone.
func BenchmarkStoredBehindEMQX(b *testing.B) {
	for _, c := range []struct {
		name string
		zone emqxtest.Zone
		left bool
	}{
		{name: "one_session_window_32", zone: emqxtest.Zone{MaxInflight: 32, MaxMQueue: 1_000_000, NoShared: true}},
		{name: "one_session_window_512", zone: emqxtest.Zone{MaxInflight: 512, MaxMQueue: 1_000_000, NoShared: true}},
		{name: "shared_sessions", zone: emqxtest.Zone{MaxInflight: 512, MaxMQueue: 1_000_000}},
		{name: "shared_sessions_nodes_left", zone: emqxtest.Zone{MaxInflight: 512, MaxMQueue: 1_000_000}, left: true},
	} {
		b.Run(c.name, func(b *testing.B) { benchStored(b, c.zone, c.left) })
	}
}

func benchStored(b *testing.B, zone emqxtest.Zone, left bool) {
	b.Helper()
	settings := emqxtest.Accounts("", testSharedKey)
	settings.AuthzURL, settings.NoMatch, settings.OwnZone = "", "allow", zone
	e := emqxtest.Start(b, settings)
	line := emqxtest.NewProxy(b, e.OwnAddr())
	a, err := New(b.Context(), Options{
		DataDir: b.TempDir(), HTTPAddr: "127.0.0.1:0", MQTTEnabled: true,
		EMQX: &emqx.Settings{
			URL: &url.URL{Scheme: "mqtt", Host: line.Addr()}, APIBaseURL: e.APIURL(),
			APIKey: emqxtest.APIKey, APISecret: emqxtest.APISecret, SharedKey: testSharedKey,
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := a.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = a.Stop(context.Background()) })
	until := func(ok func() bool) {
		for ticks := time.NewTicker(10 * time.Millisecond); !ok(); {
			select {
			case <-ticks.C:
			case <-b.Context().Done():
				b.Fatal(b.Context().Err())
			}
		}
	}
	nodes := make([]store.Bound, 200)
	if err := a.db.Update(func(tx *store.Tx) error { return fillNodes(tx, nodes) }); err != nil {
		b.Fatal(err)
	}
	status := a.external.Broker.Status
	until(func() bool {
		s := status()
		return s.Connected && s.Pending == 0 && (s.Plain || s.Shares == s.SharesMost)
	})
	line.Cut()
	until(func() bool { return !status().Connected })
	each := max(1, b.N/len(nodes))
	stored := make(chan struct{})
	var acked, ended sync.WaitGroup
	acked.Add(len(nodes))
	for _, n := range nodes {
		ended.Go(func() {
			s := emqxtest.Sender{
				Addr: e.MQTTAddr(), ClientID: protocol.ClientID(n.Node.ID), Username: n.Node.ID, Password: n.Password, Pause: time.Second,
				Topic: topic(n, protocol.KindHeartbeat), Linger: func() {
					acked.Done()
					if !left {
						<-stored
					}
				},
			}
			payloads := make([][]byte, each)
			for i := range payloads {
				payloads[i] = fmt.Appendf(nil, `{"type":"heartbeat","boot_id":"b","session_id":"s","payload":{"client_online":true,"wg_online":true,"n":%d}}`, i)
			}
			if err := s.Send(b.Context(), payloads); err != nil {
				b.Error(err)
			}
		})
	}
	acked.Wait()
	if left {
		ended.Wait()
	}
	before := status().Stored
	sent := before + uint64(each*len(nodes))
	line.Mend()
	until(func() bool { return status().Stored > before }) // the sessions' next try may be a second away
	before = status().Stored
	b.ResetTimer()
	commits := a.db.Commits()
	until(func() bool { return status().Stored >= sent })
	b.StopTimer()
	close(stored)
	ended.Wait()
	b.ReportMetric(float64(sent-before)/b.Elapsed().Seconds(), "stored/s")
	b.ReportMetric(float64(sent-before)/float64(max(1, a.db.Commits()-commits)), "stored/commit")
	b.ReportMetric(0, "ns/op")
}
