package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"wfm/internal/apptest"
	"wfm/internal/mqtttest"
)

// tortureVariable multiplies the size of the tests called TestTorture…. Their short form takes
// seconds; `make torture` runs the long form.
const tortureVariable = "WFM_TEST_TORTURE"

// tortureFactor returns the size of a torture as a multiple of the short form.
func tortureFactor(t *testing.T) int {
	t.Helper()
	v := os.Getenv(tortureVariable)
	if v == "" {
		return 1
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q: want a number above 0", tortureVariable, v)
	}
	return n
}

// apiCaller calls the API from goroutines that may lose the appliance at any moment.
type apiCaller struct {
	url, token string
	http.Client
}

func newAPICaller(a *apptest.Appliance) *apiCaller {
	return &apiCaller{a.URL, a.Token, http.Client{Transport: &http.Transport{}, Timeout: apptest.Patience}}
}

// call returns the status of the answer (0 if the answer is incomplete) and its data.
func (c *apiCaller) call(method, path string, body map[string]any) (status int, data map[string]any) {
	if body == nil {
		body = map[string]any{}
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return 0, nil
	}
	req, err := http.NewRequest(method, c.url+path, bytes.NewReader(raw)) //nolint:noctx // ends with the appliance, or its Timeout
	if err != nil {
		return 0, nil
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.token)
	res, err := c.Do(req)
	if err != nil {
		return 0, nil
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil
	}
	var answer struct{ Data map[string]any }
	_ = json.Unmarshal(text, &answer)
	return res.StatusCode, answer.Data
}

// countdown lets one goroutine wait until others have done something n times.
type countdown struct {
	mu   sync.Mutex
	left int // negative when it has passed zero
	done chan struct{}
}

func newCountdown(n int) *countdown { return &countdown{left: n, done: make(chan struct{})} }

func (c *countdown) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left == 0 {
		close(c.done)
	}
}

func (c *countdown) wait(t *testing.T, what string) {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(apptest.Patience):
		t.Fatalf("%s: %d more were waited for in vain", what, c.left)
	}
}

var numberedEvent = regexp.MustCompile(`"torture event (\d+)"`)

// tortureEvent returns a node's event with the number, in the form that [storedEvents] finds.
func tortureEvent(configID, nodeID string, number int) []byte {
	n := &apptest.Node{ConfigID: configID, ID: nodeID}
	return []byte(envelope(n, "event", "", fmt.Sprintf(`{"level":"info","event":"torture","message":"torture event %d"}`, number)))
}

// storedEvents returns the numbers of the node's stored events, newest first. whole is false if the
// appliance may have dropped older ones; it keeps 200.
func storedEvents(t *testing.T, a *apptest.Appliance, configID, nodeID string) (numbers []int, whole bool) {
	t.Helper()
	ans := a.Call(t, "GET", "/api/v1/configs/"+configID+"/nodes/"+nodeID+"/endpoint/events?limit=200", nil)
	entries, ok := ans.Data.([]any)
	if ans.Status != http.StatusOK || !ok {
		t.Fatalf("events of %s: %d %.300s", nodeID, ans.Status, ans.Body)
	}
	for _, m := range numberedEvent.FindAllStringSubmatch(ans.Body, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	return numbers, len(entries) < 200
}

// admitted reports whether the broker admits the login.
func admitted(t *testing.T, a *apptest.Appliance, login mqtttest.Login, version byte) bool {
	t.Helper()
	c := mqtttest.Dial(t, mqttAddr(t, a), version)
	defer c.Close()
	login.WillTopic = ""
	ok := c.Connect(login).ReasonCode == 0
	c.Disconnect()
	return ok
}

// bindAgain gives a new login to a node whose agent was reset.
func bindAgain(call func(method, path string, body map[string]any) (int, map[string]any), configID, nodeID string) (l mqtttest.Login, ok bool) {
	status, data := call("POST", "/api/v1/configs/"+configID+"/nodes/"+nodeID+"/bind-command", map[string]any{})
	if status >= 300 || data["token"] == nil {
		return l, false
	}
	status, data = call("POST", "/api/client/v1/bind", map[string]any{"token": data["token"], "hostname": "h", "platform": "linux", "client_version": "1"})
	mqtt, _ := data["mqtt"].(map[string]any)
	if status >= 300 || mqtt == nil {
		return l, false
	}
	id, _ := mqtt["client_id"].(string)
	user, _ := mqtt["username"].(string)
	password, _ := mqtt["password"].(string)
	return mqtttest.Login{ClientID: id, Username: user, Password: password, Keepalive: 60}, true
}
