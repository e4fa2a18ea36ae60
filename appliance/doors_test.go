package appliance

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"wfm/appliance/command"
	"wfm/appliance/rollout"
	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/web"
	"wfm/web/access"
	"wfm/web/view"
)

// doors are the API, the commands and the rollouts over one store, with one node that is bound and
// online. Published messages go nowhere.
type doors struct {
	t       *testing.T
	db      *store.DB
	ledger  *command.Ledger
	handler http.Handler
	token   string
}

type nowhere struct{}

func (nowhere) Connected(string) bool                               { return true }
func (nowhere) Ready(protocol.Topic) bool                           { return true }
func (nowhere) Publish(protocol.Topic, []byte, time.Duration) error { return nil }
func (nowhere) Status() view.BrokerStatus {
	return view.BrokerStatus{Enabled: true, Connected: true, Status: "connected"}
}

func openDoors(t *testing.T) *doors {
	t.Helper()
	db, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	d := &doors{t: t, db: db, token: protocol.NewSecret(), ledger: command.New(command.Options{Store: db})}
	if err := d.ledger.Start(nowhere{}); err != nil {
		t.Fatal(err)
	}
	runner := rollout.New(rollout.Options{Store: db, Commands: d.ledger, Presence: presence.DefaultTimes(), Logger: log})
	d.handler = web.New(web.Options{
		Store: db, Logger: log, Commands: d.ledger, Rollouts: runner, Broker: nowhere{},
		MQTTEnabled: true, MQTTPort: 1883,
	}).Handler()
	t.Cleanup(func() {
		for _, stop := range []func(context.Context) error{runner.Stop, d.ledger.Stop} {
			if err := stop(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	d.update(func(tx *store.Tx) error {
		if err := tx.CreateAdmin(access.AdminUser, "nothing"); err != nil {
			return err
		}
		if _, err := tx.CreateSession(d.token, access.AdminUser, "192.0.2.1", time.Hour); err != nil {
			return err
		}
		if err := tx.PutConfig(&store.Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}); err != nil {
			return err
		}
		n := store.Node{ID: "node_a", ConfigID: "cfg_a", Name: "gate", Enabled: true, Type: store.NodeDynamic, InterfaceName: "wg0"}
		if err := tx.PutNode(&n); err != nil {
			return err
		}
		token, _, err := tx.IssueBindToken(n.ID, time.Minute)
		if err != nil {
			return err
		}
		if _, err = tx.Bind(token, store.Client{MQTTHost: "203.0.113.7"}); err != nil {
			return err
		}
		return tx.UpdateEvidence(n.ID, func(e *store.Evidence) { e.ConnectionID, e.ConnectedAt = 1, tx.Now() })
	})
	return d
}

func (d *doors) update(fn func(*store.Tx) error) {
	d.t.Helper()
	if err := d.db.Update(fn); err != nil {
		d.t.Fatal(err)
	}
}

// outcome is the result of a push: the version that was sent or skipped, or the reason of a
// refusal.
type outcome struct {
	sent, skipped int
	code          string // of the API
	refused       string // for people
}

type answered struct {
	Data struct {
		RolloutID     string `json:"rollout_id"`
		RequestID     string `json:"request_id"`
		ConfigVersion int    `json:"config_version"`
		Skipped       bool
		Push          *struct {
			ConfigVersion int `json:"config_version"`
			Skipped       bool
		}
	}
	Error struct{ Code, Message string }
}

func (d *doors) call(method, path string, body map[string]any) (a answered) {
	d.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		d.t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(d.t.Context(), method, "/api/v1/configs/cfg_a/"+path, bytes.NewReader(raw))
	r.Header.Set("Authorization", "Bearer "+d.token)
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		d.t.Fatalf("%s: %v", w.Body, err)
	}
	return a
}

func outcomeOf(a answered, version int, skipped bool) outcome {
	switch {
	case a.Error.Code != "":
		return outcome{code: a.Error.Code, refused: a.Error.Message}
	case skipped:
		return outcome{skipped: version}
	}
	return outcome{sent: version}
}

// single pushes to the one node.
func (d *doors) single(order map[string]any) outcome {
	a := d.call("POST", "nodes/node_a/endpoint/control", with(order, "action", "push_config"))
	return outcomeOf(a, a.Data.ConfigVersion, a.Data.Skipped)
}

// saved saves the desired text once more and pushes it. It cannot choose among versions.
func (d *doors) saved(order map[string]any) outcome {
	var text string
	d.update(func(tx *store.Tx) error {
		s, err := tx.ConfState("node_a")
		if err == nil {
			text, err = tx.ConfText("node_a", s.Desired.SHA256)
		}
		return err
	})
	a := d.call("PUT", "nodes/node_a/applied-conf", with(with(order, "content", text), "push", true))
	if a.Data.Push == nil {
		return outcomeOf(a, 0, false)
	}
	return outcomeOf(a, a.Data.Push.ConfigVersion, a.Data.Push.Skipped)
}

// rolled pushes with a rollout, and waits until the node has had its turn.
func (d *doors) rolled(order map[string]any) outcome {
	changes := d.db.Subscribe(256)
	defer changes.Close()
	a := d.call("POST", "endpoint/control-batch", with(with(order, "action", "push_config"), "node_ids", []string{"node_a"}))
	if a.Error.Code != "" {
		return outcomeOf(a, 0, false)
	}
	for {
		var n store.RolloutNode
		d.update(func(tx *store.Tx) (err error) { n, err = tx.RolloutNode(a.Data.RolloutID, 1); return err })
		switch {
		case n.Outcome == store.RolloutNodeSkipped && n.ConfigVersion != 0:
			return outcome{skipped: n.ConfigVersion}
		case n.Outcome == store.RolloutNodeSkipped, n.Outcome == store.RolloutNodeFailed:
			return outcome{refused: n.Detail}
		case n.RequestID != "":
			return outcome{sent: n.ConfigVersion}
		}
		select {
		case <-changes.C:
		case <-d.t.Context().Done():
			d.t.Fatal("the node never had its turn")
		}
	}
}

// automatic is a push that no request asks for.
func (d *doors) automatic(order map[string]any) outcome {
	o := tunnel.Order{Force: order["force"] == true, Staged: order["staged"] == true}
	o.Version, _ = order["version"].(int)
	if v, ok := order["staged_version"].(int); ok {
		o.Staged, o.Version = true, v
	}
	_, taken, err := d.ledger.Push(d.t.Context(), "node_a", o, "system")
	var a answered
	if err != nil && !strings.HasPrefix(err.Error(), "already has") {
		a.Error.Code, a.Error.Message = "-", err.Error()
	}
	return outcomeOf(a, taken.Ref.Version, err != nil)
}

func with(m map[string]any, key string, value any) map[string]any {
	out := map[string]any{key: value}
	maps.Copy(out, m)
	return out
}

const doorKeys = "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"

// plain is a harmless config, fatal one that takes the way to the appliance, and foreign one that only
// the AmneziaWG tools read.
func plain(comment string) string { return "# " + comment + "\n" + doorKeys }

func fatal() string {
	return doorKeys + "\n[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\nAllowedIPs = 0.0.0.0/0\n"
}

func foreign() string { return doorKeys + "Jc = 4\nJmin = 40\nJmax = 70\n" }

// desire makes the text desired, past all checks.
func (d *doors) desire(text string) (ref store.ConfRef) {
	d.update(func(tx *store.Tx) error {
		s, err := tx.SetDesired("node_a", text, store.ConfVersion{Author: "admin"})
		ref = s.Desired
		return err
	})
	return ref
}

// stage makes the text desired and staged, past all checks.
func (d *doors) stage(text, family string) (ref store.ConfRef) {
	ref = d.desire(text)
	d.update(func(tx *store.Tx) error { _, err := tx.Stage("node_a", ref, family); return err })
	return ref
}

// confirm has the node confirm the version by a push that it was sent.
func (d *doors) confirm(ref store.ConfRef) {
	seq := d.sentPush(store.CommandApplied)
	d.update(func(tx *store.Tx) error { _, err := tx.ConfirmApplied("node_a", ref, "wg", seq); return err })
}

// sentPush writes a push that was sent and ended so.
func (d *doors) sentPush(state store.CommandState) (seq uint64) {
	d.update(func(tx *store.Tx) error {
		cmd := store.Command{
			RequestID: protocol.NewID("req"), ConfigID: "cfg_a", NodeID: "node_a", Action: protocol.ActionPush, Kind: protocol.KindPush,
			Payload: []byte(`{"config_version":1}`), State: store.CommandSent, Attempts: 1,
		}
		if err := tx.AddCommand(&cmd); err != nil {
			return err
		}
		seq, cmd.State = cmd.Seq, state
		return tx.PutCommand(cmd)
	})
	return seq
}

func (d *doors) node(change func(*store.Node)) {
	d.update(func(tx *store.Tx) error {
		n, err := tx.Node("node_a")
		if err != nil {
			return err
		}
		change(&n)
		return tx.PutNode(&n)
	})
}

func (d *doors) mesh(change func(*store.Config)) {
	d.update(func(tx *store.Tx) error {
		c, err := tx.Config("cfg_a")
		if err != nil {
			return err
		}
		change(&c)
		return tx.PutConfig(&c)
	})
}

type doorCase struct {
	setUp  func(d *doors)
	order  map[string]any
	want   outcome // refused: a part of the words, of every door
	choose bool    // the order chooses a version, which saving cannot
}

var doorCases = map[string]doorCase{
	"what is desired is staged and sent": {
		setUp: func(d *doors) { d.stage(plain("1"), "wg"); d.desire(plain("2")) }, want: outcome{sent: 2},
	},
	"what is staged, if so told": {
		setUp: func(d *doors) { d.stage(plain("1"), "wg"); d.desire(plain("2")) }, order: map[string]any{"staged": true}, want: outcome{sent: 1}, choose: true,
	},
	"one version": {
		setUp: func(d *doors) { d.stage(plain("1"), "wg"); d.desire(plain("2")); d.desire(plain("3")) },
		order: map[string]any{"version": 2}, want: outcome{sent: 2}, choose: true,
	},
	"a version behind the staged one": {
		setUp: func(d *doors) { d.desire(plain("1")); d.stage(plain("2"), "wg") },
		order: map[string]any{"version": 1}, want: outcome{code: "CONFIG_CONFLICT", refused: "staged"}, choose: true,
	},
	"a version that never was": {
		setUp: func(d *doors) { d.desire(plain("1")) },
		order: map[string]any{"version": 7}, want: outcome{code: "CONFIG_VERSION_NOT_FOUND", refused: "version"}, choose: true,
	},
	"another version staged than the one looked at": {
		setUp: func(d *doors) { d.stage(plain("1"), "wg"); d.stage(plain("2"), "wg") },
		order: map[string]any{"staged_version": 1}, want: outcome{code: "CONFIG_CONFLICT", refused: "another version"}, choose: true,
	},
	"nothing to push": {
		setUp: func(*doors) {}, want: outcome{code: "NO_STAGED_CONFIG", refused: "config"}, choose: true,
	},
	"nothing staged, and told to push that": {
		setUp: func(d *doors) { d.desire(plain("1")) },
		order: map[string]any{"staged": true}, want: outcome{code: "NO_STAGED_CONFIG", refused: "config"}, choose: true,
	},
	"staged for other tools": {
		setUp: func(d *doors) { d.stage(foreign(), "awg"); d.desire(plain("2")) },
		order: map[string]any{"staged": true}, want: outcome{code: "STAGED_CONFIG_OUTDATED", refused: "tunnel protocol"}, choose: true,
	},
	"the same text, staged for other tools, is staged again": {
		setUp: func(d *doors) { d.stage(plain("1"), "awg") }, want: outcome{sent: 1},
	},
	"a text that the mesh's tools do not read": {
		setUp: func(d *doors) { d.stage(foreign(), "awg") }, want: outcome{code: "INVALID_TUNNEL_CONFIG", refused: "Jc"},
	},
	"a text that cuts the node off": {
		setUp: func(d *doors) { d.stage(fatal(), "wg") }, want: outcome{code: "CONFIG_WOULD_CUT_OFF", refused: "may cut the node off"},
	},
	"a staged text that cuts the node off": {
		setUp: func(d *doors) { d.stage(fatal(), "wg"); d.desire(plain("2")) },
		order: map[string]any{"staged": true}, want: outcome{code: "CONFIG_WOULD_CUT_OFF", refused: "may cut the node off"}, choose: true,
	},
	"a text that cuts the node off, with force": {
		setUp: func(d *doors) { d.stage(fatal(), "wg") }, order: map[string]any{"force": true}, want: outcome{sent: 1},
	},
	"a version the node has": {
		setUp: func(d *doors) { d.confirm(d.stage(plain("1"), "wg")) }, want: outcome{skipped: 1},
	},
	"a newer version with the text the node has": {
		setUp: func(d *doors) { d.confirm(d.stage(plain("1"), "wg")); d.stage(plain("2"), "wg"); d.desire(plain("1")) }, want: outcome{skipped: 3},
	},
	"a version the node has, with force": {
		setUp: func(d *doors) { d.confirm(d.stage(plain("1"), "wg")) }, order: map[string]any{"force": true}, want: outcome{sent: 1},
	},
	"a version the node had and drifted from": {
		setUp: func(d *doors) {
			d.confirm(d.stage(plain("1"), "wg"))
			d.update(func(tx *store.Tx) error { return tx.ReportStored("node_a", store.ConfRef{SHA256: "other"}) })
		}, want: outcome{sent: 1},
	},
	"a version the node had before a push whose outcome is not known": {
		setUp: func(d *doors) {
			d.confirm(d.stage(plain("1"), "wg"))
			d.sentPush(store.CommandUnknown)
		}, want: outcome{sent: 1},
	},
	"a version the node had for other tools": {
		setUp: func(d *doors) {
			d.confirm(d.stage(plain("1"), "wg"))
			d.mesh(func(c *store.Config) { c.TunnelProtocol = protocol.TunnelAmneziaWG2 })
		}, want: outcome{sent: 1},
	},
	"a version the node had under another interface name": {
		setUp: func(d *doors) {
			d.confirm(d.stage(plain("1"), "wg"))
			d.node(func(n *store.Node) { n.InterfaceName = "wg7" })
		}, want: outcome{sent: 1},
	},
	"a static node": {
		setUp: func(d *doors) { d.desire(fatal()); d.node(func(n *store.Node) { n.Type = store.NodeStatic }) }, want: outcome{code: "CLIENT_BIND_STATIC_NODE"},
	},
	"a disabled node": {
		setUp: func(d *doors) { d.desire(fatal()); d.node(func(n *store.Node) { n.Enabled = false }) }, want: outcome{code: "NODE_DISABLED"},
	},
	"a node without an agent": {
		setUp: func(d *doors) {
			d.desire(fatal())
			d.update(func(tx *store.Tx) error { return tx.ResetClient("node_a") })
		}, want: outcome{code: "CLIENT_NOT_INITIALIZED"},
	},
}

// A rule about pushing holds whichever way a push is asked for.
func TestEveryDoorPushesRefusesAndSkipsAlike(t *testing.T) {
	t.Parallel()
	for door, push := range map[string]func(*doors, map[string]any) outcome{
		"single": (*doors).single, "rollout": (*doors).rolled, "automatic": (*doors).automatic, "saved": (*doors).saved,
	} {
		for name, tc := range doorCases {
			if door == "saved" && tc.choose {
				continue
			}
			t.Run(door+"/"+name, func(t *testing.T) {
				t.Parallel()
				d := openDoors(t)
				tc.setUp(d)
				before := d.state()
				got := push(d, tc.order)
				if got.sent != tc.want.sent || got.skipped != tc.want.skipped || !strings.Contains(got.refused, tc.want.refused) {
					t.Errorf("%+v, want %+v", got, tc.want)
				}
				if (door == "single" || door == "saved") && got.code != tc.want.code {
					t.Errorf("code %s, want %s", got.code, tc.want.code)
				}
				after := d.state()
				switch taken := max(got.sent, got.skipped); {
				case taken == 0 && after != before:
					t.Errorf("refused, and changed %+v to %+v", before, after)
				case taken != 0 && (after.Staged.Version != taken || after.StagedFor == ""):
					t.Errorf("version %d was taken, and version %d is staged", taken, after.Staged.Version)
				}
				d.wantPushes(got.sent)
			})
		}
	}
}

func (d *doors) state() (s store.ConfState) {
	d.update(func(tx *store.Tx) (err error) { s, err = tx.ConfState("node_a"); return err })
	return s
}

// wantPushes wants one open push, of the version; or none if that is 0.
func (d *doors) wantPushes(version int) {
	d.t.Helper()
	d.update(func(tx *store.Tx) error {
		open, err := tx.OpenCommands("node_a")
		if version == 0 && len(open) != 0 || version != 0 && (len(open) != 1 || tunnel.PushedVersion(open[0]) != version) {
			d.t.Errorf("open: %+v, want a push of version %d", open, version)
		}
		return err
	})
}
