package main

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"

	"wfm/internal/apptest"
)

// stream opens the event stream, after the event with the id last unless that is empty. next
// returns the next line that begins with a prefix; leave closes the stream.
func stream(t *testing.T, a *apptest.Appliance, last string) (next func(prefix string) string, leave func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), apptest.Patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+"/api/v1/events/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.Token)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		t.Fatalf("status %d", res.StatusCode)
	}
	lines := bufio.NewScanner(res.Body)
	return func(prefix string) string {
		t.Helper()
		for lines.Scan() {
			if rest, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				return rest
			}
		}
		t.Fatalf("the stream ended before %q: %v", prefix, lines.Err())
		return ""
	}, cancel
}

func TestStreamTellsOfPresenceAndResumesWhereItBroke(t *testing.T) {
	a := apptest.Start(t, "")
	n := a.AddNode(t, a.AddConfig(t, "home"), "a", "wg0")
	next, leave := stream(t, a, "")
	for _, want := range []string{"system.status.updated", "system.clock.sync"} {
		if got := next("event: "); got != want {
			t.Fatalf("first came %s, want %s", got, want)
		}
	}
	var last string
	agent := n.StartAgent(t)
	if got := next("event: endpoint.status.updated"); got != "" {
		t.Error(got)
	}
	last = strings.TrimSpace(next("id: "))
	if data := next("data: "); !strings.Contains(data, `"client_presence_state":"online"`) || !strings.Contains(data, n.ID) {
		t.Errorf("when the agent came: %s", data)
	}
	leave()
	agent.Kill() // reported by its last will
	n.Await(t, "offline")
	next, leave = stream(t, a, last)
	defer leave()
	// The agent's first heartbeat may come first. While there was no listener, only the fact that
	// the status changed was recorded, not the change itself.
	for unheard := false; !unheard; {
		next("event: endpoint.status.updated")
		data := next("data: ")
		if unheard = strings.Contains(data, `"status":null`); !unheard && !strings.Contains(data, `"wg_runtime_state":"stopped"`) {
			t.Fatalf("what was missed: %s", data)
		}
	}
	if got := n.Call(t, "GET", n.Path("endpoint/status"), nil); !strings.Contains(got.Body, `"client_presence_state":"offline"`) {
		t.Errorf("read anew: %s", got.Body)
	}
	history := n.Call(t, "GET", n.Path("endpoint/history"), nil)
	if !strings.Contains(history.Body, "last will") || !strings.Contains(history.Body, `"flaps_24h":1`) {
		t.Errorf("history: %s", history.Body)
	}
	next, leave = stream(t, a, "other-1")
	defer leave()
	next("event: system.resync")
}
