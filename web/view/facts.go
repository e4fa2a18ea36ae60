package view

import (
	"errors"

	"github.com/labstack/echo/v4"

	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/wire"
)

// Reader reads the facts that both the API and the page show. Its fields are set before the first
// request and not changed after that.
type Reader struct {
	DB          *store.DB
	Audit       *access.Auditor
	Evidence    func(store.Evidence) store.Evidence
	Times       presence.Times
	MQTTEnabled bool
	Commanded   bool // commands can be given
	Broker      Broker
	Account     func(nodeID string) AccountState // nil with the embedded broker
	Certs       Certificates                     // nil while nothing is served with TLS
	HTTPSPort   int
	Streams     func() int              // event streams that are open
	Questions   func() *QuestionsStatus // nil if no EMQX asks
	statuses    statusReader
}

// Facts holds all facts of a node, read in one transaction.
type Facts struct {
	Config   store.Config
	Node     store.Node
	Evidence store.Evidence
	Presence presence.Status
	Conflict *store.IdentityConflict // nil if there is none
	Conf     store.ConfState
	Wanted   protocol.WantedState
}

// Facts reads everything known about the node.
func (r *Reader) Facts(tx *store.Tx, cfg store.Config, n store.Node) (Facts, error) {
	e, err := tx.Evidence(n.ID)
	if err != nil {
		return Facts{}, err
	}
	if r.Evidence != nil {
		e = r.Evidence(e)
	}
	w, err := tx.Wanted(n.ID)
	if err != nil {
		return Facts{}, err
	}
	conf, err := tx.ConfState(n.ID)
	now := tx.Now()
	return Facts{cfg, n, e, presence.Project(n, cfg.Enabled, e, now, r.Times), presence.Conflict(e, now), conf, w.State}, err
}

// State is the state of a node for people and in counts. [presence.State] says "offline" also of nodes
// that cannot be online; here these have states of their own.
type State string

// The states, in the order of their figures.
const (
	StateOnline   = State(presence.Online)
	StateDropped  = State(presence.Dropped)
	StateOffline  = State(presence.Offline)
	StateUnbound  = State("unbound")  // no agent is bound
	StateStatic   = State("static")   // it never has an agent
	StateDisabled = State("disabled") // of either type
)

// States returns all states.
func States() []State {
	return []State{StateOnline, StateDropped, StateOffline, StateUnbound, StateStatic, StateDisabled}
}

// State returns the node's state.
func (f Facts) State() State {
	switch {
	case !f.Node.Enabled:
		return StateDisabled
	case f.Node.Type == store.NodeStatic:
		return StateStatic
	case f.Node.Client == nil:
		return StateUnbound
	}
	return State(f.Presence.State)
}

// NoStates returns a count of nodes by state, with zero for each state.
func NoStates() map[State]int {
	none := make(map[State]int)
	for _, s := range States() {
		none[s] = 0
	}
	return none
}

// Unwanted describes a tunnel that is not in the wanted state. It is empty if the tunnel is, or if
// its state is not known.
func (f Facts) Unwanted() string {
	switch {
	case f.Wanted == protocol.WantedRunning && f.Presence.Tunnel == presence.TunnelStopped:
		return "should be running"
	case f.Wanted == protocol.WantedStopped && f.Presence.Tunnel == presence.TunnelRunning:
		return "should be stopped"
	}
	return ""
}

// NodeOf returns the node of the path, and its mesh. If the path also names a mesh, it must be the
// node's own. Errors: [store.ErrConfigNotFound], [store.ErrNodeNotFound], wire.ErrConfigMismatch.
func NodeOf(tx *store.Tx, c echo.Context) (store.Config, store.Node, error) {
	named := c.Param("config_id")
	if named != "" {
		if _, err := tx.Config(named); err != nil {
			return store.Config{}, store.Node{}, err
		}
	}
	n, err := tx.Node(c.Param("node_id"))
	if err != nil {
		return store.Config{}, n, err
	}
	if named != "" && named != n.ConfigID {
		return store.Config{}, n, wire.ErrConfigMismatch
	}
	cfg, err := tx.Config(n.ConfigID)
	return cfg, n, err
}

// PathFacts reads the facts of the path's node. more reads further records in the same transaction.
func (r *Reader) PathFacts(c echo.Context, more ...func(*store.Tx, Facts) error) (f Facts, err error) {
	err = r.DB.View(func(tx *store.Tx) error {
		cfg, n, err := NodeOf(tx, c)
		if err != nil {
			return err
		}
		if f, err = r.Facts(tx, cfg, n); err != nil {
			return err
		}
		for _, read := range more {
			if err := read(tx, f); err != nil {
				return err
			}
		}
		return nil
	})
	return f, err
}

// The stages of a node, which decide the content of its page. Another stage is another page.
const (
	stageStatic = "static" // it has no agent and never will
	stageBind   = "bind"   // no agent is bound
	stageWait   = "wait"   // an agent is bound but has sent nothing yet
	stageLive   = "live"
)

// Stage says which page the node has.
func (f Facts) Stage() string {
	switch {
	case f.Node.Type == store.NodeStatic:
		return stageStatic
	case f.Node.Client == nil:
		return stageBind
	case f.Evidence.ReachableAt.IsZero() && f.Evidence.ConnectedAt.IsZero():
		return stageWait
	}
	return stageLive
}

// EachFacts calls fn for every node of the mesh, in the order of their names.
func (r *Reader) EachFacts(tx *store.Tx, cfg store.Config, fn func(Facts)) error {
	nodes, err := tx.Nodes(cfg.ID, "", 0)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		f, err := r.Facts(tx, cfg, n)
		if err != nil {
			return err
		}
		fn(f)
	}
	return nil
}

// NoSyncYet returns a count with zero nodes in each sync state.
func NoSyncYet() map[store.SyncStatus]int {
	return map[store.SyncStatus]int{store.SyncLatest: 0, store.SyncPending: 0, store.SyncDrifted: 0}
}

// ConfigFacts reads everything known about the nodes of a mesh, by name.
func (r *Reader) ConfigFacts(configID string) (all []Facts, err error) {
	err = r.DB.View(func(tx *store.Tx) error {
		cfg, err := tx.Config(configID)
		if err != nil {
			return err
		}
		return r.EachFacts(tx, cfg, func(f Facts) { all = append(all, f) })
	})
	return all, err
}

// NodeFacts reads everything known about the node with the id.
func (r *Reader) NodeFacts(tx *store.Tx, nodeID string) (Facts, error) {
	n, err := tx.Node(nodeID)
	if err != nil {
		return Facts{}, err
	}
	cfg, err := tx.Config(n.ConfigID)
	if err != nil {
		return Facts{}, err
	}
	return r.Facts(tx, cfg, n)
}

// NamedNodes returns the config's nodes with the ids, each once and in that order. Errors:
// [store.ErrConfigNotFound]; *[wire.InvalidError], which lists every id that is not one of the
// config's.
func NamedNodes(tx *store.Tx, configID string, ids []string) (nodes []store.Node, cfg store.Config, err error) {
	if cfg, err = tx.Config(configID); err != nil {
		return nil, cfg, err
	}
	faults := &wire.Fields{}
	seen := make(map[string]bool, len(ids))
	for i, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		n, err := tx.Node(id)
		switch {
		case err == nil && n.ConfigID == configID:
			nodes = append(nodes, n)
		case err == nil || errors.Is(err, store.ErrNodeNotFound):
			faults.Reject(wire.Indexed("node_ids", i), "is not a node of this mesh")
		default:
			return nil, cfg, err
		}
	}
	return nodes, cfg, faults.Err()
}
