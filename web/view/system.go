package view

import (
	"errors"
	"sync"
	"time"

	"wfm/presence"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/wire"
)

// Timezone is the zone of every time in the API's answers.
const Timezone = "UTC"

// StoreProblem returns the text of the store's sentinels without their wrapped errors, which name
// paths.
func StoreProblem(err error) string {
	for _, known := range []error{
		store.ErrDamaged, store.ErrMoved, store.ErrHangs, store.ErrFull, store.ErrReadOnly, store.ErrDisk, store.ErrClosed,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "the data file cannot be written; look at the appliance's log"
}

// SystemSummary counts meshes, and nodes by state.
type SystemSummary struct {
	Configs int `json:"configs"`
	Nodes   int `json:"nodes"`
	// DynamicNodes and OnlineNodes count dynamic nodes that are not disabled.
	DynamicNodes int `json:"dynamic_nodes"`
	OnlineNodes  int `json:"online_nodes"`
	// Presence counts the nodes of all meshes by state.
	Presence map[State]int `json:"presence"`
	// TunnelsUnwanted counts the nodes whose tunnel differs from the wanted state.
	TunnelsUnwanted int `json:"tunnels_unwanted"`
	// tunnels counts the nodes by wanted and found state, for the metrics.
	tunnels map[[2]string]int
	// IdentityConflicts counts the nodes with an identity that two machines use.
	IdentityConflicts int `json:"identity_conflicts"`
}

// add counts the node by its states.
func (s *SystemSummary) add(f Facts) {
	s.Presence[f.State()]++
	s.tunnels[[2]string{string(f.Wanted), string(f.Presence.Tunnel)}]++
	if f.Conflict != nil {
		s.IdentityConflicts++
	}
	if f.Unwanted() != "" {
		s.TunnelsUnwanted++
	}
}

// Tunnels returns the number of nodes with this wanted and this found state of the tunnel.
func (s *SystemSummary) Tunnels(wanted protocol.WantedState, found presence.Tunnel) int {
	return s.tunnels[[2]string{string(wanted), string(found)}]
}

// StoreService is how the data file is.
type StoreService struct {
	Status    string `json:"status"` // ok or error
	Error     string `json:"error"`
	SizeBytes int64  `json:"size_bytes"`
}

// HTTPService is how the HTTP server is.
type HTTPService struct {
	Status  string `json:"status"`
	Streams int    `json:"streams"` // event streams that are open
}

// SystemServices is how the services are.
type SystemServices struct {
	Store StoreService `json:"store"`
	MQTT  MQTTService  `json:"mqtt"`
	HTTP  HTTPService  `json:"http"`
	TLS   TLSService   `json:"tls"`
}

// SystemStatus is how the whole appliance is.
type SystemStatus struct {
	Summary   SystemSummary  `json:"summary"`
	Services  SystemServices `json:"services"`
	Sync      SyncSummary    `json:"sync"`
	Timestamp *time.Time     `json:"timestamp"`
	Timezone  string         `json:"timezone"`
}

// SyncSummary counts the nodes of all meshes by their sync state, and lists those that lack their latest
// tunnel config. Disabled ones are no issues.
type SyncSummary struct {
	Latest     int         `json:"latest"`
	Pending    int         `json:"pending"`
	Drifted    int         `json:"drifted"`
	IssueCount int         `json:"issue_count"`
	Issues     []SyncIssue `json:"issues"` // the first 100
}

// SyncIssue is a node that lacks its latest tunnel config.
type SyncIssue struct {
	ConfigID   string           `json:"config_id"`
	ConfigName string           `json:"config_name"`
	NodeID     string           `json:"node_id"`
	NodeName   string           `json:"node_name"`
	Status     store.SyncStatus `json:"status"`
	Message    string           `json:"message"`
}

func (s *SyncSummary) add(f Facts) {
	state := f.Sync()
	switch state {
	case store.SyncLatest:
		s.Latest++
		return
	case store.SyncPending:
		s.Pending++
	case store.SyncDrifted:
		s.Drifted++
	}
	if !f.Node.Enabled || !f.Config.Enabled {
		return
	}
	const listed = 100
	if s.IssueCount++; s.IssueCount <= listed {
		s.Issues = append(s.Issues, SyncIssue{f.Config.ID, f.Config.Name, f.Node.ID, f.Node.Name, state, f.SyncDetail()})
	}
}

// statusReader shares one reading of the system's status among the requests that arrive while the
// last reading runs: after a restart, every page asks at once. No request gets a reading that began
// before it.
type statusReader struct {
	running sync.Mutex // held while a request reads

	mu   sync.Mutex
	next *statusReading // has not begun yet; nil if no request waits
}

type statusReading struct {
	once  sync.Once
	value SystemStatus
	err   error
}

// ReadStatus reads how the whole appliance is, once for all who ask at the same time.
func (r *Reader) ReadStatus() (SystemStatus, error) {
	q := &r.statuses
	q.mu.Lock()
	if q.next == nil {
		q.next = &statusReading{err: wire.ErrPanic} // unless it completes
	}
	mine := q.next
	q.mu.Unlock()

	q.running.Lock()
	defer q.running.Unlock()
	mine.once.Do(func() {
		q.mu.Lock()
		q.next = nil // later requests wait for the next one
		q.mu.Unlock()
		mine.value, mine.err = r.computeStatus()
	})
	return mine.value, mine.err
}

// StoreService says how the data file is.
func (r *Reader) StoreService() StoreService {
	v := StoreService{Status: "ok", SizeBytes: r.DB.Size()}
	if err := r.DB.WriteError(); err != nil {
		v.Status, v.Error = "error", StoreProblem(err)
	}
	return v
}

func (r *Reader) computeStatus() (SystemStatus, error) {
	v := SystemStatus{
		Summary: SystemSummary{
			Presence: NoStates(), tunnels: map[[2]string]int{},
		},
		Sync: SyncSummary{Issues: []SyncIssue{}},
	}
	err := r.DB.View(func(tx *store.Tx) error {
		v.Timestamp = wire.When(tx.Now())
		configs, err := tx.Configs("", 0)
		if err != nil {
			return err
		}
		v.Summary.Configs = len(configs)
		v.Timezone = Timezone
		var counts NodeCounts
		for _, cfg := range configs {
			if err := r.EachFacts(tx, cfg, func(f Facts) {
				counts.Add(f)
				v.Summary.add(f)
				v.Sync.add(f)
			}); err != nil {
				return err
			}
		}
		v.Summary.Nodes, v.Summary.DynamicNodes, v.Summary.OnlineNodes = counts.NodeCount, counts.DynamicNodeCount, counts.OnlineNodeCount
		return nil
	})
	if err != nil {
		return SystemStatus{}, err
	}
	v.Services = r.Services()
	return v, nil
}

// Services says how the services are.
func (r *Reader) Services() SystemServices {
	return SystemServices{
		Store: r.StoreService(),
		MQTT:  r.MQTTService(),
		HTTP:  HTTPService{Status: "running", Streams: r.Streams()},
		TLS:   r.TLSService(),
	}
}
