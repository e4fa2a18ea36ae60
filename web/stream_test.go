package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/web"
)

// eventFrame is one frame as a client reads it. err is set at the end of the stream.
type eventFrame struct {
	name, id, data string
	payload        map[string]any
	err            error
}

type eventReader struct {
	t    *testing.T
	body *http.Response
	in   *bufio.Reader
}

// patience is the limit of every wait for what must happen. It only ends a test that hangs.
const patience = time.Minute

// stream opens an event stream, which resumes after lastID unless that is empty.
func (a *api) stream(lastID string) *eventReader {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	a.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", a.url+"/api/v1/events/stream", http.NoBody)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		a.t.Fatalf("stream: %s", resp.Status)
	}
	return &eventReader{a.t, resp, bufio.NewReader(resp.Body)}
}

func (r *eventReader) next() (f eventFrame) {
	for {
		text, err := r.in.ReadString('\n')
		if err != nil {
			return eventFrame{err: err}
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(text, "\n"), ": ")
		switch name {
		case "event":
			f.name = value
		case "id":
			f.id = value
		case "data":
			f.data = value
		case "":
			var body struct {
				Type    string
				Payload map[string]any
			}
			if err := json.Unmarshal([]byte(f.data), &body); err != nil || body.Type != f.name {
				r.t.Errorf("frame %+v: %v", f, err)
			}
			f.payload = body.Payload
			return f
		}
	}
}

// want expects the next frame to have the name.
func (r *eventReader) want(name string) eventFrame {
	r.t.Helper()
	f := r.next()
	if f.name != name || f.id == "" {
		r.t.Fatalf("got %s %s %v, want %s", f.name, f.data, f.err, name)
	}
	return f
}

func (r *eventReader) greeted() *eventReader {
	r.t.Helper()
	r.want("system.status.updated")
	r.want("system.clock.sync")
	return r
}

func TestEveryChangeBecomesItsEventsAndAHeartbeatNone(t *testing.T) {
	a, cfg, node := controlled(t)
	s := a.stream("").greeted()
	a.update(func(tx *store.Tx) error {
		return tx.UpdateEvidence(node, func(e *store.Evidence) { e.ReachableAt = tx.Now() })
	})
	a.update(func(tx *store.Tx) error {
		n, err := tx.Node(node)
		if err != nil {
			return err
		}
		return tx.AddTransition(n, store.Transition{At: tx.Now(), To: "online"})
	})
	f := s.want("endpoint.status.updated")
	var asked map[string]any
	a.get(nodePath(cfg, node) + "/endpoint/status").ok(&asked)
	told, ok := f.payload["status"].(map[string]any)
	if !ok || f.payload["node_id"] != node || f.payload["config_id"] != cfg || told["client_state"].(map[string]any)["client_presence_state"] != "online" {
		t.Errorf("status: %s", f.data)
	}
	for _, of := range []map[string]any{told, asked} {
		delete(of["evidence"].(map[string]any), "why") // contains an age
	}
	if !reflect.DeepEqual(told, asked) {
		t.Errorf("told %v, asked %v", told, asked)
	}
	s.want("config.overview.updated")
	cmd, err := a.commands.add(t.Context(),
		store.Command{NodeID: node, Action: protocol.Action("push_config"), Payload: json.RawMessage(`{"config_text":"PrivateKey"}`)})
	if err != nil {
		t.Fatal(err)
	}
	if f := s.want("control.log.created"); strings.Contains(f.data, "PrivateKey") || !strings.Contains(f.data, cmd.RequestID) {
		t.Errorf("log: %s", f.data)
	}
	a.update(func(tx *store.Tx) error { return tx.AddNote(cmd.RequestID, "late") })
	s.want("control.log.updated")
	a.put("/api/v1/nodes/"+node, object{"name": "gate-2"}).ok(nil)
	s.want("node.workspace.updated")
	if f := s.want("config.list.updated"); f.payload["config_id"] != cfg || f.payload["nodes_changed"] != true {
		t.Errorf("list: %s", f.data)
	}
	s.want("config.overview.updated")
	a.put("/api/v1/configs/"+cfg, object{"description": "x"}).ok(nil)
	if f := s.want("config.list.updated"); f.payload["config_id"] != cfg {
		t.Errorf("list: %s", f.data)
	}
	s.want("config.overview.updated")
	for _, change := range []func(){
		func() { node = a.addNode(cfg, "another") },
		func() { a.put("/api/v1/nodes/"+node+"/tags", object{"tags": []string{"edge"}}).ok(nil) },
	} {
		change()
		s.want("node.workspace.updated")
		s.want("config.list.updated")
		s.want("config.overview.updated")
	}
	a.del("/api/v1/nodes/" + node).ok(nil)
	for f := s.next(); f.name != "config.overview.updated"; f = s.next() {
		if f.name != "node.workspace.updated" && f.name != "config.list.updated" {
			t.Errorf("of a deleted node: %s %s", f.name, f.data)
		}
	}
}

func TestAStatusIsToldWholeOnlyWhileSomebodyListens(t *testing.T) {
	a, _, node := controlled(t)
	moved := func(to string) {
		t.Helper()
		a.update(func(tx *store.Tx) error {
			n, err := tx.Node(node)
			if err != nil {
				return err
			}
			return tx.AddTransition(n, store.Transition{At: tx.Now(), To: to})
		})
	}
	s := a.stream("").greeted()
	moved("online")
	if f := s.want("endpoint.status.updated"); f.payload["status"] == nil {
		t.Errorf("while it listens: %s", f.data)
	}
	last := s.want("config.overview.updated").id
	s.body.Body.Close()
	for a.server.Streams() > 0 {
		runtime.Gosched()
	}
	moved("offline")
	timeout := time.After(patience)
	for a.newestEvent() == last { // the hub reads the changes a moment later
		select {
		case <-time.After(time.Millisecond):
		case <-timeout:
			t.Fatal("the change became no event")
		}
	}
	s = a.stream(last).greeted()
	if f := s.want("endpoint.status.updated"); f.payload["status"] != nil || f.payload["node_id"] != node {
		t.Errorf("the event from before the stream: %s", f.data)
	}
}

// emit commits n changes of a node.
func (a *api) emit(n int) {
	a.t.Helper()
	a.update(func(tx *store.Tx) error {
		for range n {
			tx.Emit(store.Change{Kind: store.ChangeNode, ConfigID: "c", NodeID: "n"})
		}
		return nil
	})
}

func TestAStreamResumesWithoutLossOrDuplicate(t *testing.T) {
	a := newAPI(t)
	emit := a.emit
	s := a.stream("").greeted()
	emit(100)
	for range 40 {
		s.want("node.workspace.updated")
	}
	last := s.want("node.workspace.updated").id
	s.body.Body.Close()
	go emit(100)
	s = a.stream(last).greeted()
	for nodes, number := 0, numberOf(t, last); nodes < 159; {
		f := s.next()
		if number++; numberOf(t, f.id) != number {
			t.Fatalf("event %s came where number %d was due", f.id, number)
		}
		switch f.name {
		case "node.workspace.updated":
			nodes++
		case "config.overview.updated", "config.list.updated":
		default:
			t.Fatalf("after %d: %+v", nodes, f)
		}
	}
	for range 12 { // a reader that keeps up shows that all were sent
		emit(100)
		for nodes := 0; nodes < 100; {
			if s.next().name == "node.workspace.updated" {
				nodes++
			}
		}
	}
	if f := a.stream(last).greeted().want("system.resync"); f.payload["reason"] != "too_old" {
		t.Error(f.data)
	}
	foreign := a.stream("ABC-3").greeted()
	if f := foreign.want("system.resync"); f.payload["reason"] != "unknown_id" {
		t.Error(f.data)
	}
}

func numberOf(t *testing.T, id string) uint64 {
	t.Helper()
	_, number, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		t.Fatalf("id %q: %v", id, err)
	}
	return n
}

func TestAReaderThatDoesNotReadIsDroppedAndSlowsNobody(t *testing.T) {
	a := newAPI(t)
	a.stream("") // a stream that is not read
	for range 500 {
		a.emit(1000)
		var status struct {
			Services struct{ HTTP struct{ Streams int } }
		}
		a.get("/api/v1/system/status").ok(&status)
		if status.Services.HTTP.Streams == 0 {
			return
		}
	}
	t.Error("the slow client still has its stream after 500,000 events")
}

func TestLogoutEndsTheStream(t *testing.T) {
	a := newAPI(t)
	s := a.stream("").greeted()
	a.post("/api/v1/auth/logout", nil).ok(nil)
	if f := s.next(); f.err == nil {
		t.Errorf("after logout: %+v", f)
	}
}

func TestShutdownEndsStreamsAtOnceAndReleasesEachWatch(t *testing.T) {
	db := openStore(t, 0)
	token := adminSession(t, db, time.Hour)
	var watching atomic.Int32
	server := web.New(web.Options{Store: db, Watch: func() func() {
		watching.Add(1)
		return func() { watching.Add(-1) }
	}})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	a := &api{t: t, db: db, url: "http://" + l.Addr().String(), token: token}
	var all []*eventReader
	for range 32 {
		all = append(all, a.stream("").greeted())
	}
	a.get("/api/v1/events/stream").fails(429, "RATE_LIMITED")
	for range 10 { // as many streams of each of ten more logins
		a.token = adminSession(t, db, time.Hour)
		for range 32 {
			all = append(all, a.stream("").greeted())
		}
	}
	if n := watching.Load(); n != 352 {
		t.Errorf("%d watch", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // before the streams tell the time
	defer cancel()
	if err := server.Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, s := range all {
		if f := s.next(); f.err == nil {
			t.Errorf("after shutdown: %+v", f)
		}
	}
	if n := watching.Load(); n != 0 {
		t.Errorf("%d still watch", n)
	}
}

func TestHistoryAndSystemStatusAnswer(t *testing.T) {
	a, cfg, node := controlled(t)
	a.update(func(tx *store.Tx) error {
		n, err := tx.Node(node)
		if err != nil {
			return err
		}
		for _, to := range []string{"online", "dropped"} {
			if err := tx.AddTransition(n, store.Transition{At: tx.Now(), To: to}); err != nil {
				return err
			}
		}
		return tx.UpdateEvidence(node, func(e *store.Evidence) {
			e.SessionID, e.DetectAckAt, e.ReachableAt = "s1", tx.Now().Add(-14*time.Second), tx.Now().Add(-14*time.Second)
		})
	})
	var v struct {
		Summary     presence.Summary
		Transitions []store.Transition
	}
	r := a.get(nodePath(cfg, node) + "/endpoint/history?limit=1").ok(&v)
	if len(v.Transitions) != 1 || v.Transitions[0].To != "dropped" || v.Summary.Flaps24h != 1 || r.NextCursor == "" {
		t.Errorf("%s", r.body)
	}
	if why := a.status(cfg, node)["evidence"]["why"]; !strings.Contains(why.(string), "answer to a check 14 s ago, session s1") {
		t.Error(why)
	}
	if r := a.get("/api/v1/system/status").ok(nil); !strings.Contains(r.body, `"nodes":1`) {
		t.Error(r.body)
	}
}

// newestEvent returns the id after which a page's stream begins.
func (a *api) newestEvent() string {
	a.t.Helper()
	_, rest, _ := strings.Cut(a.browse("/").body, ` data-event="`)
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

func TestAPageAndItsStreamMeetWithoutAGap(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("home")
	event := a.newestEvent()
	a.put("/api/v1/configs/"+cfg, object{"description": "changed before the page listens"}).ok(nil)
	if f := a.stream(event).greeted().want("config.list.updated"); f.payload["config_id"] != cfg {
		t.Errorf("%+v", f)
	}
}
