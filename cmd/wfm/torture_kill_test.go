package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/internal/apptest"
	"wfm/internal/mqtttest"
	"wfm/store"
)

// killRun is an appliance that is killed again and again, with the promises it has made so far.
type killRun struct {
	*testing.T
	a       *apptest.Appliance
	config  string
	nodes   []*killNode
	writers []*killWriter
	// commands given in this round and in the previous one
	commands, former map[string]*killCommand
	dead             []deadLogin
	tried            killCounts
}

// killCounts counts the checked promises.
type killCounts struct{ kills, acknowledgements, events, commands, objects, logins int }

// killNode is a node with a raw client that records its PUBACKs.
type killNode struct {
	id      string
	login   mqtttest.Login
	version byte
	next    int          // number of its next event
	acked   map[int]bool // numbers of the acknowledged events

	mu      sync.Mutex
	applied map[string]bool // commands whose ACK was acknowledged
	revoked bool            // the reset was answered in this round
	unsure  bool            // a reset or bind was not answered in this round
	unbound bool            // by a reset of this round
}

// deadLogin is a revoked login.
type deadLogin struct {
	login   mqtttest.Login
	version byte
}

// killCommand is a command in the state that the appliance last reported.
type killCommand struct {
	node  *killNode
	state string
}

// TestTortureKillsLoseNoPromise kills the appliance, like a power cut, in the middle of events,
// heartbeats, commands, writes over the API, resets and binds. After each start everything it has
// acknowledged, by a PUBACK or by the answer of an API call, must be there.
func TestTortureKillsLoseNoPromise(t *testing.T) {
	t.Parallel()
	r := &killRun{T: t, a: apptest.Start(t, "", "WFM_LOG_LEVEL=error"), commands: map[string]*killCommand{}}
	r.config = r.a.AddConfig(t, "home")
	for i := range 16 {
		var capabilities []string
		if i%2 == 0 {
			capabilities = []string{"dedupe"}
		}
		id, login := bindRaw(t, r.a, r.config, fmt.Sprint("n", i), capabilities...)
		r.nodes = append(r.nodes, &killNode{id: id, login: login, version: byte(3 + i%3), acked: map[int]bool{}})
	}
	for i := range 3 {
		r.writers = append(r.writers, &killWriter{name: fmt.Sprint("w", i)})
	}
	for range 4 * tortureFactor(t) {
		r.round()
		if t.Failed() {
			break
		}
	}
	for _, w := range r.writers {
		w.check(r, w.all)
	}
	r.checkDead(len(r.dead))
	r.checkAudit()
	t.Logf("%+v", r.tried)
}

// round loads the appliance, kills it at a random moment, starts it again and checks.
func (r *killRun) round() {
	r.Helper()
	var load sync.WaitGroup
	wanted := 1 + rand.IntN(80*len(r.nodes))
	fuse := newCountdown(wanted)
	for _, n := range r.nodes {
		n.applied, n.revoked, n.unsure, n.unbound = map[string]bool{}, false, false, false
		c := mqtttest.Dial(r, mqttAddr(r.T, r.a), n.version)
		if code := c.Connect(n.login).ReasonCode; code != 0 {
			r.Errorf("node %s was not admitted: %#x", n.id, code)
			continue
		}
		load.Go(func() { n.talk(r, c, fuse) })
	}
	api := newAPICaller(r.a)
	for _, w := range r.writers {
		load.Go(func() { w.write(r, api, fuse) })
	}
	load.Go(func() { r.command(api) })
	load.Go(func() { r.revoke(api) })
	fuse.wait(r.T, "acknowledgements before the kill")
	r.a.Kill()
	r.tried.kills++
	load.Wait()
	r.tried.acknowledgements += wanted - fuse.left
	check := apptest.Spawn(r.T, nil, apptest.Binary("wfm"), "check", "--data-dir", r.a.Dir)
	if code := check.Wait(r.T, 2*time.Minute); code != 0 { // the file is large in the long form
		r.Fatalf("the data file after the kill: %s", check.Output())
	}
	r.a.Respawn(r.T) // with the same login
	for _, n := range r.nodes {
		n.check(r)
	}
	for _, w := range r.writers {
		w.check(r, w.recent())
	}
	r.checkCommands()
	r.checkDead(24)
	r.former, r.commands = r.commands, map[string]*killCommand{}
}

// talk publishes one message after the other and answers commands until the connection ends.
func (n *killNode) talk(r *killRun, c *mqtttest.Client, fuse *countdown) {
	c.Send(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 9, Filters: []packets.Subscription{
			{Filter: n.topic(r, "control"), Qos: 1}, {Filter: n.topic(r, "detect"), Qos: 1}, {Filter: n.topic(r, "info"), Qos: 1},
		},
	})
	var commands []packets.Packet
	publish := func(suffix string, payload []byte) bool {
		n.mu.Lock()
		revoked := n.revoked
		n.mu.Unlock()
		c.Publish(n.topic(r, suffix), payload, 1, 10)
		for {
			pk, err := c.Next()
			switch {
			case err != nil || pk.FixedHeader.Type == packets.Disconnect:
				return false
			case pk.FixedHeader.Type == packets.Publish:
				commands = append(commands, pk)
			case pk.FixedHeader.Type == packets.Puback && pk.ReasonCode < 0x80:
				if revoked {
					r.Errorf("node %s got a PUBACK for what it sent after its reset was answered", n.id)
				}
				fuse.tick()
				return true
			case pk.FixedHeader.Type == packets.Puback:
				return false
			}
		}
	}
	for i := 0; ; i++ {
		n.next++
		if !publish("event", tortureEvent(r.config, n.id, n.next-1)) {
			return
		}
		n.acked[n.next-1] = true
		if i%8 == 0 && !publish("heartbeat", []byte(n.envelope(r, "heartbeat", "", `{"client_online":true,"wg_online":false}`))) {
			return
		}
		for len(commands) > 0 {
			kind, id := strings.TrimPrefix(commands[0].TopicName, n.topic(r, "")), requestID(commands[0].Payload)
			commands = commands[1:]
			if !publish(kind+"/ack", []byte(n.envelope(r, kind+"/ack", id, `{"status":"applied","client_online":true,"wg_online":false,"message":"done"}`))) {
				return
			}
			n.mu.Lock()
			n.applied[id] = true
			n.mu.Unlock()
		}
	}
}

func (n *killNode) topic(r *killRun, suffix string) string {
	return (&apptest.Node{ConfigID: r.config, ID: n.id}).Topic(suffix)
}

func (n *killNode) envelope(r *killRun, kind, requestID, payload string) string {
	return envelope(&apptest.Node{ConfigID: r.config, ID: n.id}, kind, requestID, payload)
}

func requestID(message []byte) string {
	var env struct {
		RequestID string `json:"request_id"`
	}
	_ = json.Unmarshal(message, &env)
	return env.RequestID
}

// check checks each acknowledged event and the node's login.
func (n *killNode) check(r *killRun) {
	r.Helper()
	numbers, whole := storedEvents(r.T, r.a, r.config, n.id)
	there, oldest := map[int]bool{}, 0
	for _, number := range numbers {
		if there[number] {
			r.Errorf("node %s: event %d is there twice", n.id, number)
		}
		there[number] = true
	}
	if !whole && len(numbers) > 0 {
		oldest = numbers[len(numbers)-1]
	}
	for number := range n.acked {
		switch {
		case number < oldest:
			delete(n.acked, number)
			continue
		case !there[number]:
			r.Errorf("node %s: event %d was acknowledged, and is lost", n.id, number)
		}
		r.tried.events++
	}
	if !n.unsure && !n.unbound {
		if !admitted(r.T, r.a, n.login, n.version) {
			r.Errorf("node %s: its login, which nobody took away, is refused", n.id)
		}
		return
	}
	// The answer was lost with the kill and, perhaps, the new password with it.
	r.a.Must(r.T, "POST", n.path(r, "reset-client"), nil)
	r.dead = append(r.dead, deadLogin{n.login, n.version})
	login, ok := bindAgain(func(method, path string, body map[string]any) (int, map[string]any) {
		return http.StatusOK, r.a.Must(r.T, method, path, body)
	}, r.config, n.id)
	if !ok {
		r.Fatalf("node %s cannot be bound", n.id)
	}
	n.login = login
}

func (n *killNode) path(r *killRun, of string) string {
	return (&apptest.Node{ConfigID: r.config, ID: n.id}).Path(of)
}

// revoke resets nodes and binds them anew.
func (r *killRun) revoke(api *apiCaller) {
	for _, i := range rand.Perm(len(r.nodes))[:3] {
		n := r.nodes[i]
		n.mu.Lock()
		n.unsure = true
		n.mu.Unlock()
		status, _ := api.call("POST", n.path(r, "reset-client"), nil)
		if status == 0 {
			return
		}
		if status >= 300 {
			r.Errorf("reset of %s: %d", n.id, status)
			return
		}
		n.mu.Lock()
		n.revoked = true
		n.mu.Unlock()
		old := n.login
		r.dead = append(r.dead, deadLogin{old, n.version})
		login, ok := bindAgain(api.call, r.config, n.id)
		if !ok {
			n.unbound = true
			return
		}
		n.login = login
		n.unsure = false
	}
}

// command gives commands to nodes that may or may not be there.
func (r *killRun) command(api *apiCaller) {
	for range 60 {
		n := r.nodes[rand.IntN(len(r.nodes))]
		action := []string{"start", "stop", "wg_show", "detect"}[rand.IntN(4)]
		status, data := api.call("POST", n.path(r, "endpoint/control"), map[string]any{"action": action})
		if status == 0 {
			return
		}
		if id, ok := data["request_id"].(string); ok && status < 300 {
			state, _ := data["state"].(string)
			r.commands[id] = &killCommand{n, state}
		}
	}
}

// checkCommands checks each given command: if its ACK was acknowledged, it is applied; if it has
// ended, it is not open again.
func (r *killRun) checkCommands() {
	r.Helper()
	all := maps.Clone(r.commands)
	maps.Copy(all, r.former)
	for id, c := range all {
		ans := r.a.Call(r.T, "GET", "/api/v1/commands/"+id, nil)
		data, _ := ans.Data.(map[string]any)
		state, _ := data["state"].(string)
		switch open := c.state == "queued" || c.state == "sent" || c.state == "accepted"; {
		case ans.Status != http.StatusOK:
			r.Errorf("command %s, which was %s, is lost: %d %s", id, c.state, ans.Status, ans.Body)
		case open && c.node.applied[id] && state != "applied":
			r.Errorf("command %s: its ACK was acknowledged, and it is %s: %s", id, state, ans.Body)
		case !open && state != c.state:
			r.Errorf("command %s was %s, and is %s", id, c.state, state)
		}
		c.state = state
		r.tried.commands++
	}
}

// checkDead tries up to most revoked logins, the newest and a random choice of the others.
func (r *killRun) checkDead(most int) {
	r.Helper()
	newest := max(0, len(r.dead)-most/2)
	try := slices.Clone(r.dead[newest:])
	for _, i := range rand.Perm(newest)[:min(newest, most-most/2)] {
		try = append(try, r.dead[i])
	}
	for _, d := range try {
		if admitted(r.T, r.a, d.login, d.version) {
			r.Errorf("node %s is admitted with a login that was taken away", d.login.Username)
		}
		r.tried.logins++
	}
}

// checkAudit verifies the chain of the audit log, and that it has an entry for each node that was
// made.
func (r *killRun) checkAudit() {
	r.Helper()
	text := r.a.Call(r.T, "GET", "/api/v1/audit/export", nil).Body
	var told strings.Builder
	if code := run(r.Context(), []string{"audit", "verify"}, strings.NewReader(text), &told, &told); code != exitOK {
		r.Errorf("the audit log: %s", told.String())
	}
	made := map[string]bool{}
	for line := range strings.Lines(text) {
		var e store.AuditEntry
		if json.Unmarshal([]byte(line), &e) == nil && e.Status < 300 && strings.HasPrefix(e.Action, "POST ") && strings.HasSuffix(e.Action, "/nodes") {
			made[e.IDs["node_id"]] = true
		}
	}
	for _, w := range r.writers {
		for _, o := range w.all {
			if o.id != "" && !made[o.id] {
				r.Errorf("the audit log tells nothing of the making of %s", o.id)
			}
		}
	}
}
