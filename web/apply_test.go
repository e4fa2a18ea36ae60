package web_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"wfm/protocol"
	"wfm/store"
	"wfm/web"
)

type planNodeJSON struct {
	NodeID           string `json:"node_id"`
	NodeName         string `json:"node_name"`
	Fate, Code       string
	Reason           string
	DesiredVersion   int `json:"desired_version"`
	ConfirmedVersion int `json:"confirmed_version"`
	Restarts         bool
	Starts           bool
	Gateway          bool
	CutsOff          bool `json:"cuts_off"`
	Warnings         []struct{ Code string }
	LastFailure      string `json:"last_failure"`
	Diff             string
}

type planJSON struct {
	PlanHash  string `json:"plan_hash"`
	Message   string
	CanApply  bool `json:"can_apply"`
	Refusal   string
	Counts    map[string]int
	RolloutID string `json:"rollout_id"`
	Valid     bool
	Errors    []struct{ Code, Message string }
	Nodes     []planNodeJSON
}

type appliedJSON struct {
	Message   string
	RolloutID string `json:"rollout_id"`
	Rollout   *struct{ Counts map[string]int }
	Left      []planNodeJSON
}

// applied is a mesh of a gateway and two leaves with agents, and a phone, none of which has its config.
// Only the gateway's tunnel runs, b is away.
type applied struct {
	region
	phone meshNodeJSON
}

func newApplied(t *testing.T) applied {
	t.Helper()
	var r rollouts
	m := applied{region: region{api: newAPI(t, func(o *web.Options) {
		r.db = o.Store
		o.Rollouts, o.Networks, o.MQTTHost = &r, func() []netip.Prefix { return nil }, "203.0.113.9"
	})}}
	m.cfg = m.addMesh("region", nil)
	m.gate = m.addMeshNode(m.cfg, "gate", object{"ipv4_address": "192.0.2.1"})
	m.a, m.b = m.addMeshNode(m.cfg, "a", nil), m.addMeshNode(m.cfg, "b", nil)
	m.phone = m.addMeshNode(m.cfg, "phone", object{"node_type": "static"})
	m.post(m.path()+"/mesh/quick-generate", object{"mode": "hub_spoke"}).ok(nil)
	for _, n := range []meshNodeJSON{m.gate, m.a, m.b} {
		m.bind(n.ID)
	}
	m.online(m.gate.ID, true)
	m.online(m.a.ID, false)
	return m
}

func (a *api) online(nodeID string, running bool) {
	a.t.Helper()
	a.update(func(tx *store.Tx) error {
		return tx.UpdateEvidence(nodeID, func(e *store.Evidence) {
			e.ConnectionID, e.ConnectedAt, e.TunnelRunning = 1, tx.Now(), &running
		})
	})
}

// pushed gives the node a push of its desired config, and has it end in the state.
func (a *api) pushed(configID, nodeID string, state store.CommandState) {
	a.t.Helper()
	a.update(func(tx *store.Tx) error {
		n, err := tx.Node(nodeID)
		if err != nil {
			return err
		}
		s, err := tx.ConfState(nodeID)
		if err != nil {
			return err
		}
		payload, err := json.Marshal(protocol.Push{
			InterfaceName: n.InterfaceName, TunnelProtocol: "wireguard", ConfigVersion: s.Desired.Version, ConfigSHA256: s.Desired.SHA256,
		})
		if err != nil {
			return err
		}
		cmd := store.Command{
			RequestID: protocol.NewID("req"), ConfigID: configID, NodeID: nodeID, Action: protocol.ActionPush, Kind: protocol.KindPush,
			State: store.CommandQueued, Payload: payload,
		}
		if err := tx.AddCommand(&cmd); err != nil {
			return err
		}
		cmd.State, cmd.Detail, cmd.Attempts = state, "so it went", 1
		if state == store.CommandApplied {
			if _, err := tx.ConfirmApplied(nodeID, s.Desired, "wg", cmd.Seq); err != nil {
				return err
			}
		}
		return tx.PutCommand(cmd)
	})
}

func (m applied) plan() (p planJSON) {
	m.t.Helper()
	m.get(m.path() + "/apply").ok(&p)
	return p
}

// fates are the fates of the plan's nodes.
func (p planJSON) fates() string {
	var all []string
	for _, n := range p.Nodes {
		all = append(all, n.NodeName+" "+n.Fate)
	}
	return strings.Join(all, ", ")
}

func (p planJSON) node(t *testing.T, name string) planNodeJSON {
	t.Helper()
	for _, n := range p.Nodes {
		if n.NodeName == name {
			return n
		}
	}
	t.Fatalf("%s is not in the plan: %s", name, p.fates())
	return planNodeJSON{}
}

func TestThePlanSaysWhatHappensToEachNodeThatIsNotUpToDate(t *testing.T) {
	m := newApplied(t)
	p := m.plan()
	if got := p.fates(); got != "a now, b later, gate now, phone hand_out" {
		t.Errorf("%s", got)
	}
	if p.Message != "3 nodes change, 1 tunnel restarts, 1 node is away and gets it when it is back, 1 static node gets its tunnel config by hand." ||
		!p.CanApply || !p.Valid || p.Refusal != "" || len(p.PlanHash) != 32 {
		t.Errorf("%+v", p)
	}
	gate, a := p.node(t, "gate"), p.node(t, "a")
	if !gate.Restarts || !gate.Gateway || a.Restarts || a.Gateway || a.ConfirmedVersion != 0 || a.DesiredVersion == 0 {
		t.Errorf("%+v\n%+v", gate, a)
	}
	for _, want := range []string{"+++ version ", "+PrivateKey = (hidden, new)\n", "+PublicKey = " + m.gate.PublicKey + "\n", "+Address = 10.66.0.2/32\n"} {
		if !strings.Contains(a.Diff, want) {
			t.Errorf("%q is not in\n%s", want, a.Diff)
		}
	}
	if strings.Contains(m.get(m.path()+"/apply").ok(nil).body, m.a.PrivateKey) {
		t.Error("the private key is in the plan")
	}

	m.pushed(m.cfg, m.a.ID, store.CommandApplied)
	m.pushed(m.cfg, m.gate.ID, store.CommandFailed)
	m.pushed(m.cfg, m.b.ID, store.CommandQueued)
	p = m.plan()
	if got := p.fates(); got != "b on_its_way, gate now, phone hand_out" || p.node(t, "gate").LastFailure != "failed: so it went" {
		t.Errorf("%s: %+v", got, p)
	}
	m.put("/api/v1/nodes/"+m.a.ID, object{"mtu": 1400}).ok(nil)
	if a := m.plan().node(t, "a"); !strings.Contains(a.Diff, "+MTU = 1400\n") || strings.Contains(a.Diff, "new)") || a.ConfirmedVersion == 0 {
		t.Errorf("%+v", a)
	}
}

func TestThePlanSaysWhyANodeCannotGetItsConfig(t *testing.T) {
	m := newApplied(t)
	m.addMeshNode(m.cfg, "fresh", nil)
	m.put("/api/v1/nodes/"+m.b.ID, object{"enabled": false}).ok(nil)
	m.update(func(tx *store.Tx) error {
		return tx.UpdateEvidence(m.a.ID, func(e *store.Evidence) {
			e.IdentityConflict = &store.IdentityConflict{TakenOverAt: tx.Now()}
		})
	})
	p := m.plan()
	for name, code := range map[string]string{"fresh": "CLIENT_NOT_INITIALIZED", "b": "NODE_DISABLED", "a": "IDENTITY_CONFLICT"} {
		if n := p.node(t, name); n.Fate != "blocked" || n.Code != code || n.Reason == "" {
			t.Errorf("%s: %+v", name, n)
		}
	}
	m.put("/api/v1/configs/"+m.cfg, object{"enabled": false}).ok(nil)
	if p := m.plan(); p.node(t, "gate").Code != "NODE_DISABLED" || p.CanApply || p.Counts["change"] != 0 {
		t.Errorf("%+v", p)
	}
	m.post(m.path()+"/apply", nil).fails(409, "NODE_DISABLED")
}

func TestThePlanIsReadPageByPage(t *testing.T) {
	m := newApplied(t)
	var names []string
	for next, pages := "", 0; pages == 0 || next != ""; pages++ {
		var p planJSON
		r := m.get(fmt.Sprintf("%s/apply?limit=3&cursor=%s", m.path(), next)).ok(&p)
		for _, n := range p.Nodes {
			names = append(names, n.NodeName)
		}
		if next = r.NextCursor; p.Counts["change"] != 3 {
			t.Errorf("%+v", p.Counts)
		}
	}
	if got := strings.Join(names, " "); got != "a b gate phone" {
		t.Errorf("%s", got)
	}
	m.get(m.path() + "/apply?limit=0").invalid("limit")
}

// rollout is the rollout with its nodes.
func (a *api) rollout(id string) (r store.Rollout, order []string) {
	a.t.Helper()
	if err := a.db.View(func(tx *store.Tx) (err error) {
		if r, err = tx.Rollout(id); err != nil {
			return err
		}
		nodes, err := tx.RolloutNodes(id, 0, 0)
		for _, n := range nodes {
			order = append(order, fmt.Sprintf("%s@%d", n.Name, n.Wave))
		}
		return err
	}); err != nil {
		a.t.Fatal(err)
	}
	return r, order
}

func TestApplyingStagesAllAndBeginsOneRolloutWithTheGatewaysLast(t *testing.T) {
	m := newApplied(t)
	var v appliedJSON
	m.post(m.path()+"/apply", object{"plan_hash": m.plan().PlanHash, "wave_size": 5, "max_failures": 2}).ok(&v)
	r, order := m.rollout(v.RolloutID)
	if got := strings.Join(order, " "); got != "a@1 b@1 gate@2" || r.WaveSize != 5 || r.MaxFailures != 2 || !r.Staged || !r.Later || r.Force || r.Waves != 2 ||
		r.RequestedBy != "admin" {
		t.Errorf("%s: %+v", got, r)
	}
	if v.Message != "The rollout to 3 nodes has begun." || len(v.Left) != 1 || v.Left[0].NodeName != "phone" || v.Rollout.Counts["total"] != 3 {
		t.Errorf("%+v", v)
	}
	var entries []struct {
		Action string
		IDs    map[string]string
	}
	m.get("/api/v1/audit?limit=1").ok(&entries)
	if entries[0].Action != "POST /api/v1/configs/{config_id}/apply" || entries[0].IDs["rollout_id"] != v.RolloutID {
		t.Errorf("%+v", entries)
	}
	m.update(func(tx *store.Tx) error {
		for _, n := range []meshNodeJSON{m.gate, m.a, m.b, m.phone} {
			s, err := tx.ConfState(n.ID)
			if staged := s.Staged == s.Desired; err != nil || staged == (n.ID == m.phone.ID) {
				t.Errorf("%s: %+v (%v)", n.Name, s, err)
			}
		}
		return nil
	})
	if p := m.plan(); p.RolloutID != v.RolloutID || p.CanApply || !strings.Contains(p.Refusal, v.RolloutID) {
		t.Errorf("%+v", p)
	}
	m.post(m.path()+"/apply", nil).fails(409, "ROLLOUT_ACTIVE")
	m.post(m.path()+"/apply", object{"plan_hash": "the one before"}).fails(409, "ROLLOUT_ACTIVE") // as the second click of two sends
	m.post("/api/v1/rollouts/"+v.RolloutID+"/cancel", nil).ok(nil)

	m.pushed(m.cfg, m.a.ID, store.CommandApplied)
	m.post(m.path()+"/apply", object{"node_ids": []string{m.a.ID, m.b.ID}}).ok(&v)
	if _, order := m.rollout(v.RolloutID); strings.Join(order, " ") != "b@1" || v.Message != "The rollout to 1 node has begun." {
		t.Errorf("%v: %+v", order, v)
	}
	m.post("/api/v1/rollouts/"+v.RolloutID+"/cancel", nil).ok(nil)
	m.post(m.path()+"/apply", object{"node_ids": []string{m.a.ID}}).ok(&v)
	if v.RolloutID != "" || v.Rollout != nil {
		t.Errorf("%+v", v)
	}
}

func TestApplyingStartsTunnelsThatWereNeverStartedIfItIsAskedTo(t *testing.T) {
	m := newApplied(t)
	m.update(func(tx *store.Tx) error {
		return tx.SetWanted(store.Command{RequestID: "req_a", NodeID: m.b.ID, Action: protocol.ActionStop})
	})
	if p := m.plan(); p.Counts["start"] != 1 || !p.Nodes[0].Starts || p.Nodes[0].NodeName != "a" {
		t.Errorf("the tunnel of the gateway runs, and that of b was stopped: %+v", p)
	}
	m.browse("/configs/" + m.cfg + "/apply").shows(`name="start" checked> Start 1 tunnel that was never started`)
	starts := func(body any) (starts bool) {
		var v appliedJSON
		m.post(m.path()+"/apply", body).ok(&v)
		m.update(func(tx *store.Tx) error {
			r, err := tx.Rollout(v.RolloutID)
			starts = r.Starts
			return err
		})
		m.post("/api/v1/rollouts/"+v.RolloutID+"/cancel", nil).ok(nil)
		return starts
	}
	if starts(nil) || !starts(object{"start": true}) {
		t.Error("tunnels are started without start, or not with it")
	}
}

func TestNothingIsAppliedIfThePlanWasAnotherOne(t *testing.T) {
	m := newApplied(t)
	seen := m.plan().PlanHash
	m.put("/api/v1/nodes/"+m.a.ID, object{"mtu": 1400}).ok(nil)
	m.post(m.path()+"/apply", object{"plan_hash": seen}).fails(409, "PLAN_CHANGED")
	seen = m.plan().PlanHash
	m.online(m.b.ID, true) // changes what happens, and no text
	m.post(m.path()+"/apply", object{"plan_hash": seen}).ok(nil)
}

func TestAMeshThatIsNotValidIsNotApplied(t *testing.T) {
	m := newApplied(t)
	m.put("/api/v1/nodes/"+m.b.ID, object{"ipv4_address": "192.0.2.1"}).ok(nil)
	r := m.post(m.path()+"/apply", nil).fails(409, "TOPOLOGY_INVALID")
	if !strings.Contains(r.Error.Message, "are both reached at 192.0.2.1:51820") {
		t.Errorf("%s", r.Error.Message)
	}
	if p := m.plan(); p.Valid || p.CanApply || p.Refusal != r.Error.Message || len(p.Errors) == 0 {
		t.Errorf("%+v", p)
	}
	m.post(m.path()+"/apply", object{"force": true}).fails(409, "TOPOLOGY_INVALID")
}

func TestAConfigThatMayCutItsNodeOffIsAppliedByForceOnly(t *testing.T) {
	m := newApplied(t)
	var rows []struct {
		LinkGroupID string `json:"link_group_id"`
		LocalNodeID string `json:"local_node_id"`
	}
	m.get(m.path() + "/peer-links").ok(&rows)
	for _, l := range rows {
		if l.LocalNodeID == m.a.ID {
			m.put("/api/v1/peer-links/"+l.LinkGroupID, object{
				"forward": object{"local_node_id": m.a.ID, "peer_node_id": m.gate.ID, "allowed_ips": "0.0.0.0/1, 128.0.0.0/1"},
			}).ok(nil)
		}
	}
	p := m.plan()
	if a := p.node(t, "a"); !a.CutsOff || len(a.Warnings) == 0 || p.Counts["cut_off"] != 1 || p.CanApply {
		t.Errorf("%+v\n%+v", a, p)
	}
	r := m.post(m.path()+"/apply", nil).fails(409, "CONFIG_WOULD_CUT_OFF")
	if !strings.Contains(r.Error.Message, "a: ") {
		t.Errorf("%s", r.Error.Message)
	}
	var v appliedJSON
	m.post(m.path()+"/apply", object{"node_ids": []string{m.b.ID}}).ok(&v) // another node
	m.post("/api/v1/rollouts/"+v.RolloutID+"/cancel", nil).ok(nil)
	m.post(m.path()+"/apply", object{"force": true}).ok(&v)
	m.update(func(tx *store.Tx) error {
		for id, want := range map[string]bool{m.a.ID: true, m.gate.ID: false} {
			s, err := tx.ConfState(id)
			if err != nil {
				return err
			}
			if version, err := tx.ConfVersion(id, s.Staged.Version); err != nil || version.Forced != want {
				t.Errorf("%+v (%v), want forced %v", version, err, want)
			}
		}
		return nil
	})
	if r, _ := m.rollout(v.RolloutID); r.Force {
		t.Error("the rollout pushes to nodes that have the version")
	}
}

func TestApplyingNeedsTheRightAndAPossibleBody(t *testing.T) {
	m := newApplied(t)
	read := as(m.addToken("looker", "read").Token)
	m.call("GET", m.path()+"/apply", nil, read).ok(nil)
	m.call("POST", m.path()+"/apply", nil, read).fails(403, "FORBIDDEN")
	for field, body := range map[string]object{
		"node_ids[0]": {"node_ids": []string{"node_none"}}, "wave_size": {"wave_size": 0}, "max_failures": {"max_failures": 0}, "force": {"force": 1},
		"plan_hash": {"plan_hash": strings.Repeat("x", 65)},
	} {
		m.post(m.path()+"/apply", body).invalid(field)
	}
	m.get("/api/v1/configs/cfg_none/apply").fails(404, "CONFIG_NOT_FOUND")
	m.post("/api/v1/configs/cfg_none/apply", nil).fails(404, "CONFIG_NOT_FOUND")
	off := newAPI(t, func(o *web.Options) { o.MQTTEnabled = false })
	off.post("/api/v1/configs/"+off.addConfig("x")+"/apply", nil).fails(409, "MQTT_DISABLED")
}

func TestNewNodesTakeTheAutoSyncOfTheirMesh(t *testing.T) {
	a := newAPI(t)
	var v struct {
		AutoSync bool `json:"auto_sync"`
	}
	cfg := a.addMesh("office", object{"auto_sync": true})
	a.get("/api/v1/configs/" + cfg).ok(&v)
	if !v.AutoSync {
		t.Error("the mesh does not have it")
	}
	follows, own := a.addMeshNode(cfg, "a", nil), a.addMeshNode(cfg, "b", object{"auto_sync": false})
	a.put("/api/v1/configs/"+cfg, object{"auto_sync": false}).ok(nil)
	for id, want := range map[string]bool{follows.ID: true, own.ID: false} {
		if a.get("/api/v1/nodes/" + id).ok(&v); v.AutoSync != want {
			t.Errorf("%s: %v", id, v.AutoSync)
		}
	}
	a.put("/api/v1/nodes/"+follows.ID, object{"auto_sync": false}).ok(&v)
	if v.AutoSync {
		t.Error("the node still has it")
	}
}

func TestThePageShowsThePlanAndThenTheRollout(t *testing.T) {
	m := newApplied(t)
	page := "/configs/" + m.cfg + "/apply"
	m.browse("/configs/" + m.cfg).shows(`href="` + page + `">3 changes not applied</a>`)
	m.browse(page).shows(
		"3 nodes change, 1 tunnel restarts, 1 node is away", `value="`+m.plan().PlanHash+`"`, `name="node_ids" data-each value="`+m.a.ID+`" checked`,
		"changes now, and its tunnel restarts", "is away, and gets it when it is back", "to hand out", "PrivateKey = (hidden, new)",
		`<button class="primary">Apply</button>`,
	).hides(m.a.PrivateKey, "Apply anyway", `id="rollout"`)
	m.put("/api/v1/nodes/"+m.b.ID, object{"ipv4_address": "192.0.2.1"}).ok(nil)
	m.browse(page).shows("are both reached at", "Correct what is wrong first").hides(`<button class="primary">Apply</button>`)
	m.put("/api/v1/nodes/"+m.b.ID, object{"ipv4_address": ""}).ok(nil)

	var v appliedJSON
	m.post(m.path()+"/apply", nil).ok(&v)
	m.browse(page).shows("The rollout that runs has to end first.", `data-api="POST /api/v1/rollouts/`+v.RolloutID+`/pause"`, "3 waiting")
	m.post("/api/v1/rollouts/"+v.RolloutID+"/cancel", nil).ok(nil)
	for _, n := range []meshNodeJSON{m.gate, m.a} {
		m.pushed(m.cfg, n.ID, store.CommandApplied)
	}
	m.pushed(m.cfg, m.b.ID, store.CommandQueued)
	m.browse(page).shows("Nothing to apply now: 1 push is on its way").hides("data-each")
	m.browse("/configs/" + m.cfg).hides("not applied</a>")
	m.pushed(m.cfg, m.b.ID, store.CommandApplied)
	m.update(func(tx *store.Tx) error {
		s, err := tx.ConfState(m.phone.ID)
		if err != nil {
			return err
		}
		return tx.NoteHandedOut(m.phone.ID, s.Desired)
	})
	m.browse(page).shows("Everything is applied.")
}

func TestAMeshThatIsNotValidIsSaidWhereMeshesAreListed(t *testing.T) {
	m := newApplied(t)
	other := m.addConfig("hand-written")
	own := m.addNode(other, "own")
	m.save(nodePath(other, own), tunnelConf(1))
	type status struct {
		Topology struct {
			Valid              bool
			InvalidConfigCount int `json:"invalid_config_count"`
			InvalidNodeCount   int `json:"invalid_node_count"`
			InvalidConfigs     []struct {
				ConfigID   string `json:"config_id"`
				Name       string
				ErrorCount int `json:"error_count"`
				Message    string
			} `json:"invalid_configs"`
		}
		Sync struct {
			Latest, Pending int
			IssueCount      int `json:"issue_count"`
			Issues          []struct {
				NodeName string `json:"node_name"`
				Status   string
				Message  string
			}
		}
	}
	check := func(wrong int) (s status) {
		t.Helper()
		m.get("/api/v1/system/status").ok(&s)
		var list []struct {
			ID                 string
			TopologyInvalid    bool `json:"topology_invalid"`
			TopologyErrorCount int  `json:"topology_error_count"`
		}
		m.get("/api/v1/configs").ok(&list)
		for _, c := range list {
			want := 0
			if c.ID == m.cfg {
				want = wrong
			}
			if c.TopologyErrorCount != want || c.TopologyInvalid != (want > 0) {
				t.Errorf("%+v, want %d", c, want)
			}
		}
		return s
	}
	s := check(0)
	if !s.Topology.Valid || s.Topology.InvalidConfigCount != 0 || s.Sync.IssueCount != 5 || s.Sync.Pending != 5 || s.Sync.Issues[0].Status != "pending" ||
		s.Sync.Issues[0].Message == "" {
		t.Errorf("%+v", s)
	}
	m.put("/api/v1/nodes/"+m.b.ID, object{"ipv4_address": "192.0.2.1"}).ok(nil)
	s = check(1)
	if s.Topology.Valid || s.Topology.InvalidConfigCount != 1 || s.Topology.InvalidNodeCount != 1 || s.Topology.InvalidConfigs[0].Name != "region" ||
		s.Topology.InvalidConfigs[0].ErrorCount != 1 {
		t.Errorf("%+v", s.Topology)
	}
	type card struct {
		Name      string
		MeshError string `json:"mesh_error"`
	}
	var overview struct {
		NodeCards         []card `json:"node_cards"`
		DisabledNodeCards []card `json:"disabled_node_cards"`
		Topology          reportJSON
	}
	m.put("/api/v1/nodes/"+m.phone.ID, object{"enabled": false}).ok(nil)
	m.get(m.path() + "/overview").ok(&overview)
	if len(overview.NodeCards) != 3 || len(overview.DisabledNodeCards) != 1 || overview.Topology.Valid || overview.NodeCards[0].MeshError != "" ||
		!strings.Contains(overview.NodeCards[2].MeshError+overview.NodeCards[1].MeshError, "are both reached") {
		t.Errorf("%+v", overview)
	}

	m.post(nodePath(m.cfg, m.a.ID)+"/sync", nil).fails(409, "TOPOLOGY_INVALID")
	m.post(nodePath(m.cfg, m.a.ID)+"/sync", object{"force": true}).fails(409, "TOPOLOGY_INVALID")
	m.save(nodePath(m.cfg, m.a.ID), tunnelConf(1))
	m.post(nodePath(m.cfg, m.a.ID)+"/sync", nil).ok(nil) // its text is its own
	var all struct {
		SyncedCount int `json:"synced_count"`
		Failed      []struct{ Code string }
	}
	m.post(m.path()+"/sync-all", nil).ok(&all)
	if all.SyncedCount != 0 || len(all.Failed) < 2 || all.Failed[0].Code != "TOPOLOGY_INVALID" {
		t.Errorf("%+v", all)
	}
	m.put("/api/v1/nodes/"+m.b.ID, object{"ipv4_address": ""}).ok(nil)
	check(0)
	m.post(nodePath(m.cfg, m.b.ID)+"/sync", nil).ok(nil)
}
