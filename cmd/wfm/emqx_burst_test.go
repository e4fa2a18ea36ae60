package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"wfm/internal/apptest"
	"wfm/internal/emqxtest"
	"wfm/protocol"
	"wfm/store"
)

// burstSize returns the number of nodes and of messages per node. WFM_TEST_EMQX_BURST=5000x20 is
// the full size.
func burstSize(t *testing.T) (nodes, each int) {
	t.Helper()
	nodes, each = 40, 10
	if size := os.Getenv("WFM_TEST_EMQX_BURST"); size != "" {
		if _, err := fmt.Sscanf(size, "%dx%d", &nodes, &each); err != nil || each > 150 {
			t.Fatalf("WFM_TEST_EMQX_BURST: want nodes and messages of each, at most 150, as in 5000x20: %v", err)
		}
	}
	return nodes, each
}

// seed makes bound nodes in the data directory of an appliance that does not run.
func seed(t *testing.T, dir string, count int) []store.Bound {
	t.Helper()
	db, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	bound := make([]store.Bound, count)
	if err := db.Update(func(tx *store.Tx) error {
		if err := tx.PutConfig(&store.Config{ID: "cfg_burst", Name: "burst", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}); err != nil {
			return err
		}
		for i := range bound {
			id := protocol.NewID("node")
			n := store.Node{ID: id, ConfigID: "cfg_burst", Name: id, Enabled: true, Type: store.NodeDynamic, InterfaceName: "wg0"}
			if err := tx.PutNode(&n); err != nil {
				return err
			}
			token, _, err := tx.IssueBindToken(id, time.Minute)
			if err != nil {
				return err
			}
			if bound[i], err = tx.Bind(token, store.Client{}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return bound
}

// storedOf counts the distinct messages of the burst in the nodes' journals.
func storedOf(t *testing.T, dir string, nodes []store.Bound) (total int) {
	t.Helper()
	db, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *store.Tx) error {
		for _, n := range nodes {
			entries, err := tx.Journal(n.Node.ID, 0, 200)
			if err != nil {
				return err
			}
			seen := make(map[string]bool)
			for _, e := range entries {
				if e.Event == "burst" {
					seen[e.Message] = true
				}
			}
			total += len(seen)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return total
}

// The stand-in is as strict as a real EMQX; one appliance is killed, and the MQTT session of
// another loses its connection. Every message that a node has an acknowledgement for is stored.
func TestBurstThroughEMQXLosesNothingThatWasAcknowledged(t *testing.T) {
	t.Parallel()
	count, each := burstSize(t)
	dir := t.TempDir()
	nodes := seed(t, dir, count)
	http1 := "127.0.0.1:" + apptest.FreePort(t)
	settings := emqxtest.Recommended("http://"+http1, emqxSharedKey)
	settings.DeadFor = time.Second      // 15 s at EMQX
	settings.CacheTTL = 3 * time.Second // a minute at EMQX, which remembers denials for as long
	e := emqxtest.Start(t, settings)
	a := apptest.Start(t, dir,
		"WFM_HTTP_ADDR="+http1, "WFM_MQTT_URL=mqtt://"+e.OwnAddr(), "WFM_EMQX_API_BASE_URL="+e.APIURL(),
		"WFM_EMQX_API_KEY="+emqxtest.APIKey, "WFM_EMQX_API_SECRET="+emqxtest.APISecret, "WFM_EMQX_AUTHZ_SHARED_KEY="+emqxSharedKey,
	)
	a.Expect(t, "connected to EMQX")

	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	var done, retries, reconnects atomic.Int64
	third, two := make(chan struct{}), make(chan struct{})
	begin := time.Now()
	for _, n := range nodes {
		all.Go(func() {
			s := emqxtest.Sender{
				Addr: e.MQTTAddr(), ClientID: protocol.ClientID(n.Node.ID), Username: n.Node.ID, Password: n.Password, Pause: 200 * time.Millisecond,
				Topic: protocol.Topic{ConfigID: "cfg_burst", NodeID: n.Node.ID, Kind: protocol.KindEvent}.String(),
			}
			payloads := make([][]byte, each)
			for i := range payloads {
				payloads[i] = fmt.Appendf(nil, `{"type":"event","boot_id":"b","session_id":"s","payload":{"level":"info","event":"burst","message":"m-%d"}}`, i)
			}
			if err := s.Send(ctx, payloads); err != nil {
				t.Error(err)
			}
			retries.Add(int64(s.Retries))
			reconnects.Add(int64(s.Reconnects))
			switch done.Add(1) {
			case int64(count / 3):
				close(third)
			case int64(2 * count / 3):
				close(two)
			}
		})
	}
	<-third
	a.Signal(t, syscall.SIGKILL)
	a.Wait(t, 10*time.Second)
	a.Respawn(t)
	<-two
	for i, id := range e.Own() {
		if i%2 == 0 {
			e.Cut(id)
		}
	}
	all.Wait()
	acknowledged := time.Since(begin)
	a.Expect(t, "connected to EMQX")
	apptest.Eventually(t, func() bool { return e.Unacknowledged("wfm-backend") == 0 }, func() string {
		return fmt.Sprintf("EMQX still keeps %d messages", e.Unacknowledged("wfm-backend"))
	})
	stored := time.Since(begin)
	metrics := a.Call(t, http.MethodGet, "/metrics", nil).Body
	if strings.Contains(metrics, "sessions_lost_total ") && !strings.Contains(metrics, "wfm_mqtt_sessions_lost_total 0\n") {
		t.Error("a session counts as lost")
	}
	a.Stop(t)
	total := storedOf(t, dir, nodes)
	t.Logf("%d nodes, %d messages: all acknowledged after %s, all stored after %s; %d sent again, %d reconnects",
		count, count*each, acknowledged.Round(time.Millisecond), stored.Round(time.Millisecond), retries.Load(), reconnects.Load())
	if total != count*each {
		t.Errorf("%d of %d acknowledged messages are stored", total, count*each)
	}
}
