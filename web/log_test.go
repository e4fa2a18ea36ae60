package web_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"wfm/protocol"
	"wfm/store"
)

type logJSON struct {
	ID          string    `json:"id"`
	RequestID   string    `json:"request_id"`
	ConfigID    string    `json:"config_id"`
	NodeID      string    `json:"node_id"`
	Action      string    `json:"action"`
	Status      string    `json:"status"`
	State       string    `json:"state"`
	RequestedBy string    `json:"requested_by"`
	Summary     string    `json:"summary"`
	Detail      string    `json:"detail"`
	RequestedAt string    `json:"requested_at"`
	AckAt       string    `json:"ack_at"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   string    `json:"updated_at"`
}

// wholeLog reads a node's log page by page.
func (a *api) wholeLog(cfg, node string, limit int) (rows []logJSON) {
	a.t.Helper()
	for cursor := ""; ; {
		var page []logJSON
		r := a.get(fmt.Sprintf("%s/endpoint/logs?limit=%d&cursor=%s", nodePath(cfg, node), limit, url.QueryEscape(cursor))).ok(&page)
		rows = append(rows, page...)
		if cursor = r.NextCursor; cursor == "" {
			return rows
		}
		if len(page) == 0 || len(rows) > 1000 {
			a.t.Fatalf("pages without an end after %d rows", len(rows))
		}
	}
}

func TestALogHasCommandsTheirOutputAndTheNodesEventsInOrder(t *testing.T) {
	a, cfg, node := controlled(t) // binds
	show, err := a.commands.add(t.Context(), store.Command{NodeID: node, Action: protocol.ActionWGShow, RequestedBy: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	a.update(func(tx *store.Tx) error {
		return tx.AddOutput(show.RequestID, store.Output{Stream: "stdout", Output: "interface: wg0"})
	})
	a.update(func(tx *store.Tx) error {
		return tx.AddOutput(show.RequestID, store.Output{Stream: "stderr", Message: "done"})
	})
	a.update(func(tx *store.Tx) error {
		return tx.Note(node, store.JournalEntry{Level: "error", Event: "tunnel_down", Message: "it fell over", RequestID: "req_x"})
	})
	describe, err := a.commands.add(t.Context(), store.Command{NodeID: node, Action: protocol.ActionDescribe, RequestedBy: "token x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.commands.end(t.Context(), describe.RequestID, func(c *store.Command) {
		c.State = store.CommandApplied
		c.Ack = &protocol.Ack{Status: protocol.AckApplied, Toolchain: map[string]string{"wg-quick": "1.0.20210914", "wg": "1.0"}}
	}); err != nil {
		t.Fatal(err)
	}
	rows := a.wholeLog(cfg, node, 100)
	var got []string
	ids := map[string]bool{}
	for _, r := range rows {
		got = append(got, r.Action+"/"+r.Status+"/"+r.Summary+"/"+r.Detail)
		ids[r.ID] = true
		if r.ConfigID != cfg || r.NodeID != node || r.RequestedAt == "" || r.CreatedAt.IsZero() || r.UpdatedAt == "" || r.State == "" ||
			(r.Action == "event" && r.AckAt == "") {
			t.Errorf("a row lacks something: %+v", r)
		}
	}
	want := []string{
		"describe/acked/node details: done/tools: wg 1.0, wg-quick 1.0.20210914",
		"event/failed/tunnel_down/it fell over",
		"event/acked/tunnel status: stderr/done",
		"event/acked/tunnel status: stdout/interface: wg0",
		"wg_show/pending/tunnel status: waits to be sent/",
		"event/acked/bound/agent bound on host-1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("log:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(ids) != len(rows) || rows[2].RequestID != show.RequestID || rows[3].RequestID != show.RequestID || rows[1].RequestID != "req_x" ||
		rows[0].ID != describe.RequestID {
		t.Errorf("ids: %+v", rows)
	}
	for _, limit := range []int{1, 2, 3, 5} {
		if paged := a.wholeLog(cfg, node, limit); !slices.Equal(paged, rows) {
			t.Errorf("by %d: %+v", limit, paged)
		}
	}
	page := a.get(nodePath(cfg, node) + "/endpoint/logs?limit=1").ok(nil)
	a.update(func(tx *store.Tx) error { return tx.Note(node, store.JournalEntry{Event: "newer"}) })
	if rest := a.get(nodePath(cfg, node) + "/endpoint/logs?cursor=" + page.NextCursor).ok(nil); strings.Contains(rest.body, "newer") {
		t.Errorf("a later page has newer events: %s", rest.body)
	}
	for _, cursor := range []string{"eA", "MS4", "MS4yIA", "MS4tMg"} {
		a.get(nodePath(cfg, node) + "/endpoint/logs?cursor=" + cursor).invalid("cursor")
	}
}

func TestOneNodesLongLogIsReadWithoutLossOrDouble(t *testing.T) {
	a, cfg, node := controlled(t)
	for i := range 60 {
		if i%3 == 0 {
			if _, err := a.commands.add(t.Context(), store.Command{NodeID: node, Action: protocol.ActionStop}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		a.update(func(tx *store.Tx) error { return tx.Note(node, store.JournalEntry{Event: fmt.Sprint("event ", i)}) })
	}
	whole := a.wholeLog(cfg, node, 500)
	if len(whole) != 61 || !slices.IsSortedFunc(whole, func(x, y logJSON) int { return y.CreatedAt.Compare(x.CreatedAt) }) {
		t.Errorf("%d rows, in order: %+v", len(whole), whole)
	}
	for _, limit := range []int{1, 7, 60, 61} {
		if paged := a.wholeLog(cfg, node, limit); !slices.Equal(paged, whole) {
			t.Errorf("by %d: %d rows", limit, len(paged))
		}
	}
}
