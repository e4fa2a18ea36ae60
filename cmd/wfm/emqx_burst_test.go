package main

import (
	"context"
	"encoding/json"
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

// burstSize returns how many nodes send how many messages each: by default more than a session with EMQX's
// own limits holds. WFM_TEST_EMQX_BURST=5000x20 is the full one.
func burstSize(t *testing.T) (nodes, each int) {
	t.Helper()
	nodes, each = 150, 10
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

// sent is a message of a burst.
type sent struct{ topic, event, message string }

// storedOf returns the events that the nodes' journals hold.
func storedOf(t *testing.T, dir string, nodes []store.Bound) map[sent]bool {
	t.Helper()
	db, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	stored := make(map[sent]bool)
	if err := db.View(func(tx *store.Tx) error {
		for _, n := range nodes {
			entries, err := tx.Journal(n.Node.ID, 0, 200)
			if err != nil {
				return err
			}
			for _, e := range entries {
				stored[sent{topicOf(n, protocol.KindEvent), e.Event, e.Message}] = true
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return stored
}

// drained waits until EMQX keeps nothing for the appliance any more, for as long as it keeps less and less.
func drained(t *testing.T, e *emqxtest.Server) {
	t.Helper()
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	least := e.Unacknowledged("wfm-backend")
	limit := time.Now().Add(apptest.Patience)
	for least > 0 {
		<-ticks.C
		if now := e.Unacknowledged("wfm-backend"); now < least {
			least, limit = now, time.Now().Add(apptest.Patience)
		}
		if time.Now().After(limit) {
			t.Fatalf("EMQX keeps %d messages for the appliance", least)
		}
	}
}

// burst has every node send each messages with the name at once, and calls at[i] when i quarters of the nodes
// are through. It returns when all messages are acknowledged.
func burst(t *testing.T, e *emqxtest.Server, nodes []store.Bound, name string, each int, at map[int]func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	var done, retries, reconnects atomic.Int64
	var through [4]chan struct{}
	for i := range through {
		through[i] = make(chan struct{})
	}
	begin := time.Now()
	for _, n := range nodes {
		all.Go(func() {
			s := sender(e.MQTTAddr(), n)
			if err := s.Send(ctx, burstOf(name, each)); err != nil {
				t.Error(err)
			}
			retries.Add(int64(s.Retries))
			reconnects.Add(int64(s.Reconnects))
			finished := done.Add(1)
			for i := range through {
				if finished == int64(len(nodes)*i/len(through)) {
					close(through[i])
				}
			}
		})
	}
	for i := range through {
		if f := at[i]; f != nil {
			<-through[i]
			f()
		}
	}
	all.Wait()
	t.Logf("%s: %d nodes, %d messages, acknowledged after %s; %d sent again, %d reconnects",
		name, len(nodes), len(nodes)*each, time.Since(begin).Round(time.Millisecond), retries.Load(), reconnects.Load())
}

// The stand-in is as strict as EMQX. While nodes send, the appliance is killed, its sessions lose
// their connections, and then EMQX is killed. Every acknowledged message is stored, except for
// those in the memory of the killed EMQX; that loss is reported.
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
	lost := func() bool {
		return !strings.Contains(a.Call(t, http.MethodGet, "/metrics", nil).Body, "wfm_mqtt_sessions_lost_total 0\n")
	}

	begin := time.Now()
	burst(t, e, nodes, "burst", each, map[int]func(){
		1: func() {
			a.Signal(t, syscall.SIGKILL)
			a.Wait(t, 10*time.Second)
			a.Respawn(t)
		},
		2: func() {
			for i, id := range e.Own() {
				if i%2 == 0 {
					e.Cut(id)
				}
			}
		},
	})
	a.Expect(t, "connected to EMQX")
	drained(t, e)
	t.Logf("all stored after %s", time.Since(begin).Round(time.Millisecond))
	if lost() {
		t.Error("a session counts as lost that EMQX has kept")
	}

	again := max(1, each/4)
	var waiting []emqxtest.Waiting
	burst(t, e, nodes, "again", again, map[int]func(){2: func() {
		waiting = e.KillMQTT()
		e.StartMQTT()
	}})
	apptest.Eventually(t, func() bool { return len(e.Own()) > 1 && lost() }, func() string {
		return "the appliance does not come back to EMQX, or does not report that EMQX has lost its sessions"
	})
	drained(t, e)
	a.Stop(t)
	excused := make(map[sent]bool)
	for _, w := range waiting {
		var m struct{ Payload protocol.Event }
		if err := json.Unmarshal([]byte(w.Payload), &m); err == nil {
			excused[sent{w.Topic, m.Payload.Event, m.Payload.Message}] = true
		}
	}
	stored := storedOf(t, dir, nodes)
	missing, gone := 0, 0
	for _, n := range nodes {
		for i := range each + again {
			m := sent{topicOf(n, protocol.KindEvent), "burst", fmt.Sprintf("m-%d", i)}
			if i >= each {
				m.event, m.message = "again", fmt.Sprintf("m-%d", i-each)
			}
			switch {
			case stored[m]:
			case excused[m]:
				gone++
			default:
				missing++
			}
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d acknowledged messages are missing", missing, count*(each+again))
	}
	t.Logf("of %d messages, %d are gone of %d that waited in the killed EMQX", count*(each+again), gone, len(waiting))
}
