package web_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"wfm/internal/refusal"
	"wfm/protocol"
	"wfm/store"
	"wfm/web"
)

// rollouts writes real records but carries out nothing.
type rollouts struct{ db *store.DB }

func (r *rollouts) Begin(ctx context.Context, ro store.Rollout, nodeIDs []string) (store.Rollout, error) {
	ro.ID = protocol.NewID("rol")
	err := r.db.UpdateFor(ctx, func(tx *store.Tx) error { return tx.AddRollout(&ro, nodeIDs) })
	return ro, err
}

func (r *rollouts) Pause(ctx context.Context, id, by string) (store.Rollout, error) {
	return r.turn(ctx, id, store.RolloutPaused, by)
}

func (r *rollouts) Resume(ctx context.Context, id, by string) (store.Rollout, error) {
	return r.turn(ctx, id, store.RolloutRunning, by)
}

func (r *rollouts) Cancel(ctx context.Context, id, by string) (store.Rollout, error) {
	return r.turn(ctx, id, store.RolloutCancelled, by)
}

func (r *rollouts) turn(ctx context.Context, id string, state store.RolloutState, by string) (ro store.Rollout, err error) {
	err = r.db.UpdateFor(ctx, func(tx *store.Tx) error {
		if ro, err = tx.Rollout(id); err != nil {
			return err
		}
		if !ro.State.Active() {
			return refusal.ErrRolloutEnded
		}
		ro.State, ro.Reason = state, "by "+by
		return tx.PutRollout(ro)
	})
	return ro, err
}

type rolloutAnswer struct {
	RolloutID   string `json:"rollout_id"`
	ConfigID    string `json:"config_id"`
	Action      string
	RequestedBy string `json:"requested_by"`
	State       string
	Reason      string
	WaveSize    int `json:"wave_size"`
	MaxFailures int `json:"max_failures"`
	Waves       int
	Counts      map[string]int
	FinishedAt  any `json:"finished_at"`
	Nodes       []struct {
		NodeID   string `json:"node_id"`
		NodeName string `json:"node_name"`
		Wave     int
		Outcome  string
	}
}

// rollingOut returns an API with rollouts and a mesh of three nodes, in the order of their names.
// The first and the last have the tag "edge".
func rollingOut(t *testing.T) (a *api, cfg, batch string, ids []string) {
	t.Helper()
	var r rollouts
	a = newAPI(t, func(o *web.Options) { r.db = o.Store; o.Rollouts = &r })
	cfg = a.addConfig("home")
	for i := range 3 {
		id := a.addNode(cfg, fmt.Sprintf("n%d", i))
		ids = append(ids, id)
		if i != 1 {
			a.put("/api/v1/nodes/"+id, object{"tags": []string{"edge"}}).ok(nil)
		}
	}
	return a, cfg, "/api/v1/configs/" + cfg + "/endpoint/control-batch", ids
}

func TestARolloutIsBegunWatchedAndChanged(t *testing.T) {
	a, cfg, batch, ids := rollingOut(t)
	var v rolloutAnswer
	a.post(batch, object{"action": "push_config", "node_ids": []string{ids[2], ids[0]}}).ok(&v)
	if v.ConfigID != cfg || v.Action != "push_config" || v.RequestedBy != "admin" || v.State != "running" ||
		v.WaveSize != 1 || v.MaxFailures != 1 || v.Waves != 2 || v.Counts["waiting"] != 2 || v.Counts["total"] != 2 || v.FinishedAt != nil {
		t.Errorf("%+v", v)
	}
	if len(v.Nodes) != 2 || v.Nodes[0].NodeID != ids[2] || v.Nodes[0].NodeName != "n2" || v.Nodes[1].Wave != 2 || v.Nodes[1].Outcome != "waiting" {
		t.Errorf("nodes, in the order they were named: %+v", v.Nodes)
	}
	one := "/api/v1/rollouts/" + v.RolloutID
	a.post(one+"/pause", nil).ok(&v)
	if v.State != "paused" || v.Reason != "by admin" {
		t.Errorf("%+v", v)
	}
	a.post(one+"/resume", nil).ok(&v)
	a.post(one+"/cancel", nil).ok(&v)
	a.get(one).ok(&v)
	if v.State != "cancelled" {
		t.Errorf("%+v", v)
	}
	for _, verb := range []string{"pause", "resume", "cancel"} {
		a.post(one+"/"+verb, nil).fails(409, "ROLLOUT_ENDED")
		a.post("/api/v1/rollouts/rol_none/"+verb, nil).fails(404, "ROLLOUT_NOT_FOUND")
	}
	a.get("/api/v1/rollouts/rol_none").fails(404, "ROLLOUT_NOT_FOUND")
}

func TestATagNamesTheNodesOfARollout(t *testing.T) {
	a, _, batch, ids := rollingOut(t)
	var v rolloutAnswer
	a.post(batch, object{"action": "start", "tag": "edge", "wave_size": 5, "max_failures": 2}).ok(&v)
	if len(v.Nodes) != 2 || v.Nodes[0].NodeID != ids[0] || v.Nodes[1].NodeID != ids[2] || v.WaveSize != 5 || v.MaxFailures != 2 || v.Waves != 1 {
		t.Errorf("%+v", v)
	}
}

func TestASecondRolloutOfAConfigIsRefusedAndNamesTheFirst(t *testing.T) {
	a, _, batch, ids := rollingOut(t)
	var v rolloutAnswer
	a.post(batch, object{"action": "start", "tag": "edge"}).ok(&v)
	r := a.post(batch, object{"action": "start", "node_ids": ids[:1]}).fails(409, "ROLLOUT_ACTIVE")
	if !strings.Contains(r.body, `"rollout_id":"`+v.RolloutID+`"`) || !strings.Contains(r.Error.Message, v.RolloutID) {
		t.Errorf("%s", r.body)
	}
}

func TestARolloutThatMakesNoSenseIsRefusedByName(t *testing.T) {
	a, cfg, batch, ids := rollingOut(t)
	elsewhere := a.addNode(a.addConfig("other"), "x")
	for _, tc := range []struct {
		field string
		body  object
	}{
		{"action", object{"node_ids": ids}},
		{"node_ids", object{"action": "start"}},
		{"node_ids", object{"action": "start", "node_ids": ids, "tag": "edge"}},
		{"node_ids", object{"action": "start", "node_ids": []string{}}},
		{"node_ids", object{"action": "start", "node_ids": []string{ids[0], ids[1], ids[0]}}},
		{"node_ids", object{"action": "start", "node_ids": []string{ids[0], "node_none"}}},
		{"node_ids", object{"action": "start", "node_ids": []string{elsewhere}}},
		{"node_ids", object{"action": "start", "node_ids": make([]string, 10_001)}},
		{"node_ids", object{"action": "start", "node_ids": 7}},
		{"tag", object{"action": "start", "tag": "nobody's"}},
		{"tag", object{"action": "start", "tag": ""}},
		{"wave_size", object{"action": "start", "tag": "edge", "wave_size": 0}},
		{"wave_size", object{"action": "start", "tag": "edge", "wave_size": 257}},
		{"max_failures", object{"action": "start", "tag": "edge", "max_failures": 0}},
	} {
		a.post(batch, tc.body).invalid(tc.field)
	}
	for _, action := range []string{"wg_show", "detect", "describe", "dance"} {
		a.post(batch, object{"action": action, "tag": "edge"}).fails(400, "INVALID_ACTION")
	}
	if r := a.post(batch, object{"action": "start", "node_ids": []string{ids[0], "node_none"}}); !strings.Contains(r.body, "entry 2") {
		t.Errorf("the entry that is wrong is not named: %s", r.body)
	}
	a.post("/api/v1/configs/cfg_none/endpoint/control-batch", object{"action": "start", "tag": "edge"}).fails(404, "CONFIG_NOT_FOUND")
	a.get("/api/v1/configs/cfg_none/rollouts").fails(404, "CONFIG_NOT_FOUND")
	a.put("/api/v1/configs/"+cfg, object{"enabled": false}).ok(nil)
	a.post(batch, object{"action": "start", "tag": "edge"}).fails(409, "NODE_DISABLED")
	var all []rolloutAnswer
	a.get("/api/v1/configs/" + cfg + "/rollouts").ok(&all)
	if len(all) != 0 {
		t.Errorf("a refused rollout began: %+v", all)
	}
}

func TestRolloutsAndTheirNodesAreReadPageByPage(t *testing.T) {
	a, cfg, batch, ids := rollingOut(t)
	var made []string
	for range 3 {
		var v rolloutAnswer
		a.post(batch, object{"action": "stop", "node_ids": ids}).ok(&v)
		a.post("/api/v1/rollouts/"+v.RolloutID+"/cancel", nil).ok(nil)
		made = append([]string{v.RolloutID}, made...)
	}
	var all []rolloutAnswer
	first := a.get("/api/v1/configs/" + cfg + "/rollouts?limit=2").ok(&all)
	rest := []rolloutAnswer{}
	a.get("/api/v1/configs/" + cfg + "/rollouts?limit=2&cursor=" + first.NextCursor).ok(&rest)
	all = append(all, rest...)
	if len(all) != 3 || all[0].RolloutID != made[0] || all[1].RolloutID != made[1] || all[2].RolloutID != made[2] || all[0].Nodes != nil {
		t.Errorf("%+v, want %v", all, made)
	}
	var page rolloutAnswer
	first = a.get("/api/v1/rollouts/" + made[0] + "?limit=2").ok(&page)
	if len(page.Nodes) != 2 || page.Nodes[1].NodeID != ids[1] {
		t.Errorf("%+v", page.Nodes)
	}
	last := a.get("/api/v1/rollouts/" + made[0] + "?limit=2&cursor=" + first.NextCursor).ok(&page)
	if len(page.Nodes) != 1 || page.Nodes[0].NodeID != ids[2] || last.NextCursor != "" {
		t.Errorf("%+v", page.Nodes)
	}
}

func TestARolloutsChangesAreStreamedWithoutItsNodes(t *testing.T) {
	a, cfg, batch, _ := rollingOut(t)
	s := a.stream("").greeted()
	var v rolloutAnswer
	a.post(batch, object{"action": "start", "tag": "edge"}).ok(&v)
	for _, state := range []string{"running", "paused"} {
		f := s.want("rollout.updated")
		got, _ := f.payload["rollout"].(map[string]any)
		if f.payload["config_id"] != cfg || got["rollout_id"] != v.RolloutID || got["state"] != state || got["nodes"] != nil || got["counts"] == nil {
			t.Errorf("want %s: %s", state, f.data)
		}
		if state == "running" {
			a.post("/api/v1/rollouts/"+v.RolloutID+"/pause", nil).ok(nil)
		}
	}
	a.del("/api/v1/configs/" + cfg).ok(nil)
	a.get("/api/v1/rollouts/"+v.RolloutID).fails(404, "ROLLOUT_NOT_FOUND")
}

func TestWithoutMQTTRolloutsAreOnlyShown(t *testing.T) {
	a, cfg, node := controlled(t, func(o *web.Options) { o.MQTTEnabled, o.Commands, o.Broker = false, nil, nil })
	a.post("/api/v1/configs/"+cfg+"/endpoint/control-batch", object{"action": "start", "node_ids": []string{node}}).fails(409, "MQTT_DISABLED")
	a.post("/api/v1/rollouts/rol_x/cancel", nil).fails(409, "MQTT_DISABLED")
	a.get("/api/v1/configs/" + cfg + "/rollouts").ok(nil)
}
