package main

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/internal/apptest"
	"wfm/internal/mqtttest"
)

// hammer is a node whose agent connects and publishes as fast as it can, from several clients at
// once.
type hammer struct {
	*testing.T
	a          *apptest.Appliance
	config, id string
	number     atomic.Int64 // of the next event
	stop       chan struct{}

	// Locked for reading during an attempt, and for writing while the login is exchanged.
	mu      sync.RWMutex
	current *hammerLogin
	bound   mqtttest.Login // the next login, of a bind during the hammering

	admitted, published, refused atomic.Int64
}

// hammerLogin is a login during its validity, with counts of the attempts made with it.
type hammerLogin struct {
	mqtttest.Login
	revoked atomic.Bool // the revoking call was answered
	came    *countdown  // acknowledged events
	tried   *countdown  // attempts after the revocation
}

// hammers is the number of clients that hammer. With more, they take over each other's MQTT session
// before any of them gets far.
const hammers = 3

// TestTortureRevokedLoginsGetNothingMore revokes a node's right in every possible way while clients
// hammer with its login. After the answer nothing they send is admitted or acknowledged, and no
// event is stored.
func TestTortureRevokedLoginsGetNothingMore(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "", "WFM_LOG_LEVEL=error")
	h := &hammer{T: t, a: a, config: a.AddConfig(t, "home"), stop: make(chan struct{})}
	id, login := bindRaw(t, a, h.config, "hammered")
	h.id = id
	h.useLocked(login)
	var working sync.WaitGroup
	for i := range hammers {
		working.Go(func() {
			for {
				select {
				case <-h.stop:
					return
				default:
					h.attempt(byte(3 + i%3))
				}
			}
		})
	}
	defer working.Wait()
	defer close(h.stop)
	rounds := 0
	for range tortureFactor(t) {
		for _, way := range []string{"reset", "disable the node", "disable the mesh", "make it static", "bind again", "delete"} {
			h.round(way)
			rounds++
			if t.Failed() {
				return
			}
		}
	}
	t.Logf("%d rounds, %d admitted, %d events acknowledged, %d attempts refused", rounds, h.admitted.Load(), h.published.Load(), h.refused.Load())
}

func (h *hammer) useLocked(l mqtttest.Login) {
	l.WillTopic = ""
	h.current = &hammerLogin{Login: l, came: newCountdown(1), tried: newCountdown(3 * hammers)}
}

// attempt connects and publishes, without waiting in between [MQTT-3.1.4-5]: another client soon
// takes over the MQTT session.
func (h *hammer) attempt(version byte) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	l := h.current
	c := mqtttest.Dial(h, mqttAddr(h.T, h.a), version)
	defer c.Close()
	late := l.revoked.Load()
	if late {
		defer l.tried.tick()
	}
	c.SendConnect(l.Login)
	for id := uint16(1); id <= 3; id++ {
		c.Publish(fmt.Sprintf("wfm/%s/%s/event", h.config, h.id), tortureEvent(h.config, h.id, int(h.number.Add(1))), 1, id)
	}
	for left := 3; left > 0; {
		pk, err := c.Next()
		kind := pk.FixedHeader.Type
		switch {
		case err != nil || kind == packets.Disconnect || pk.ReasonCode >= 0x80 || (kind == packets.Connack && pk.ReasonCode != 0):
			h.refused.Add(1)
			return
		case kind == packets.Connack:
			h.admitted.Add(1)
			if late {
				h.Error("a login is admitted after it was taken away")
			}
		case kind == packets.Puback:
			left--
			h.published.Add(1)
			l.came.tick()
			if late {
				h.Error("a PUBACK came for what was sent after the login was taken away")
			}
		}
	}
}

func (h *hammer) round(way string) {
	h.Helper()
	h.current.came.wait(h.T, "events before: "+way)
	n := &apptest.Node{Appliance: h.a, ConfigID: h.config, ID: h.id}
	switch way {
	case "reset":
		h.a.Must(h.T, "POST", n.Path("reset-client"), nil)
	case "disable the node":
		h.a.Must(h.T, "PUT", h.nodePath(), map[string]any{"enabled": false})
	case "disable the mesh":
		h.a.Must(h.T, "PUT", h.configPath(), map[string]any{"enabled": false})
	case "make it static":
		h.a.Must(h.T, "PUT", h.nodePath(), map[string]any{"node_type": "static"})
	case "bind again":
		h.bound = h.bind()
	case "delete":
		if ans := h.a.Call(h.T, "DELETE", h.nodePath(), nil); ans.Status >= 300 {
			h.Fatalf("delete: %d %s", ans.Status, ans.Body)
		}
	}
	h.current.revoked.Store(true)
	var before []int
	if way != "delete" {
		before, _ = storedEvents(h.T, h.a, h.config, h.id)
	}
	h.current.tried.wait(h.T, "attempts after: "+way)
	if way != "delete" {
		if after, _ := storedEvents(h.T, h.a, h.config, h.id); !slices.Equal(before, after) {
			h.Errorf("%s: events were stored after it:\n%v\n%v", way, before, after)
		}
	}
	if way != "delete" && way != "bind again" {
		n.Await(h.T, "offline")
	}
	h.giveBack(way)
}

// giveBack makes the node usable again, with a new login. No client may be in the middle of an
// attempt with the old one, which may become valid again.
func (h *hammer) giveBack(way string) {
	h.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	next := h.current.Login
	switch way {
	case "reset":
		next = h.bind()
	case "disable the node":
		h.a.Must(h.T, "PUT", h.nodePath(), map[string]any{"enabled": true})
	case "disable the mesh":
		h.a.Must(h.T, "PUT", h.configPath(), map[string]any{"enabled": true})
	case "make it static":
		h.a.Must(h.T, "PUT", h.nodePath(), map[string]any{"node_type": "dynamic"})
		if admitted(h.T, h.a, next, 5) {
			h.Error("the login of a node that became static came back with its old type")
		}
		next = h.bind()
	case "bind again":
		next = h.bound
	case "delete":
		h.id, next = bindRaw(h.T, h.a, h.config, "hammered")
	}
	h.useLocked(next)
}

func (h *hammer) configPath() string { return "/api/v1/configs/" + h.config }
func (h *hammer) nodePath() string   { return "/api/v1/nodes/" + h.id }

// bind gives the node a new login.
func (h *hammer) bind() mqtttest.Login {
	h.Helper()
	login, ok := bindAgain(newAPICaller(h.a).call, h.config, h.id)
	if !ok {
		h.Fatal("the node cannot be bound")
	}
	return login
}
