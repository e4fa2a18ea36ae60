package events

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"wfm/store"
	"wfm/web/wire"
)

// The sizes of the hub's buffers.
const (
	feedBuffer = 8192 // changes waiting for the hub, at most
	hubBatch   = 256  // changes turned into events by one read of the store
	ringSize   = 1024 // events kept for streams that resume
	queueSize  = 256  // events waiting for one stream, at most

	maxStreams           = 1100
	maxStreamsPerSession = 32
)

// overviewDelay is the time in which the changes of a mesh are combined into one event of a kind.
const overviewDelay = 250 * time.Millisecond

// statusInterval is the time between checks for changes of the system's status while there are
// streams. Changes within it are combined into one event.
const statusInterval = 5 * time.Second

// resubscribeDelay keeps the hub from spinning on a feed that ends immediately.
const resubscribeDelay = 50 * time.Millisecond

// The types of event.
const (
	eventConfigList   = "config.list.updated"
	eventOverview     = "config.overview.updated"
	eventNode         = "node.workspace.updated"
	eventApply        = "node.apply.updated"
	eventStatus       = "endpoint.status.updated"
	eventLogCreated   = "control.log.created"
	eventLogUpdated   = "control.log.updated"
	eventRollout      = "rollout.updated"
	eventSettings     = "settings.mqtt.updated"
	eventSystemStatus = "system.status.updated"
	eventClock        = "system.clock.sync"
	eventResync       = "system.resync"
)

// The reasons for which a client must read everything again.
const (
	resyncUnknownID = "unknown_id" // of a former process, or of none
	resyncTooOld    = "too_old"    // the events since are no longer kept
	resyncOverrun   = "overrun"    // the hub could not keep up with the changes
	resyncInternal  = "internal"   // a change could not be read; the log has the error
)

// unknownID is the id of frames before a resync. A client that resumes after one gets the resync
// again. No epoch is "0".
const unknownID = "0-0"

// The reasons for which the hub ends a stream.
var (
	errSlowStream = errors.New("the client reads too slowly")
	errHubStopped = errors.New("the hub has stopped")
)

// event tells clients to read something again.
type event struct {
	name    string
	payload any
}

// data returns the body of the event's frame.
func (e event) data() ([]byte, error) {
	raw, err := json.Marshal(struct {
		Type    string `json:"type"`
		Payload any    `json:"payload"`
	}{e.name, e.payload})
	if err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.name, err)
	}
	return raw, nil
}

// frameOf returns an event in wire form. JSON has no line breaks, so one data line is enough.
func frameOf(name, id string, data []byte) []byte {
	return fmt.Appendf(nil, "event: %s\nid: %s\ndata: %s\n\n", name, id, data)
}

// frame is a numbered event in wire form, which is the same for every stream.
type frame struct {
	seq   uint64
	bytes []byte
}

// stream is the hub's connection to one client.
type stream struct {
	token string
	queue chan frame    // if it is full, the stream is ended
	check chan struct{} // the session may have ended
	end   func(cause error)
}

// joined is the position at which a stream begins.
type joined struct {
	seq    uint64  // of the event before the first one in missed or in the queue
	resync string  // why the client must read everything again; "" if it need not
	missed []frame // the events since the last one that the client has seen
}

// configChanges holds the meshes whose overview has changed. The value reports whether nodes were
// made, changed or deleted: this also changes the list of meshes, which counts them.
type configChanges map[string]bool

// add adds a changed mesh. node reports whether a node's record has changed.
func (c configChanges) add(configID string, node bool) { c[configID] = c[configID] || node }

// hub turns committed changes into numbered events and hands them to the streams. Its goroutine
// runs from the first stream or live page until the server or the store stops, so that even the
// only client can leave for a moment and get the events it missed. Neither the store's writer nor
// the hub ever waits for a stream.
type hub struct {
	db       *store.DB
	log      *slog.Logger
	events   func([]store.Change) (events []event, configs configChanges, err error)
	status   func(nodesChanged bool) (e event, changed bool, err error) // the system's
	stopping <-chan struct{}
	epoch    string        // of this process, part of each event's id
	done     chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	started  bool
	stopped  bool
	seq      uint64          // of the newest event
	ring     [ringSize]frame // event n is at n modulo the size
	streams  map[*stream]struct{}
	sessions map[string]int // streams by session token
}

func newHub(db *store.DB, log *slog.Logger, stopping <-chan struct{},
	events func([]store.Change) ([]event, configChanges, error), status func(bool) (event, bool, error),
) *hub {
	return &hub{
		db: db, log: log, events: events, status: status, stopping: stopping, epoch: rand.Text(), done: make(chan struct{}),
		streams: make(map[*stream]struct{}), sessions: make(map[string]int),
	}
}

func (h *hub) id(seq uint64) string { return h.epoch + "-" + strconv.FormatUint(seq, 10) }

// attach adds the stream. lastID is the last event that its client has seen, or "" for a new
// client. There is no gap between the missed events and those in the queue. Errors:
// [store.ErrClosed], *[wire.RateError].
func (h *hub) attach(s *stream, lastID string) (joined, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.stopping:
		return joined{}, store.ErrClosed
	default:
	}
	switch {
	case h.stopped:
		return joined{}, store.ErrClosed
	case len(h.streams) >= maxStreams:
		return joined{}, &wire.RateError{Wait: clockInterval, Message: "Too many event streams are open; close some, or try again later."}
	case h.sessions[s.token] >= maxStreamsPerSession:
		return joined{}, &wire.RateError{Wait: clockInterval, Message: "Too many event streams of this session are open; close some, or try again later."}
	}
	h.startLocked()
	h.streams[s] = struct{}{}
	h.sessions[s.token]++
	if lastID == "" {
		return joined{seq: h.seq}, nil
	}
	epoch, number, _ := strings.Cut(lastID, "-")
	seen, err := strconv.ParseUint(number, 10, 64)
	switch {
	case epoch != h.epoch || err != nil || seen > h.seq:
		return joined{seq: h.seq, resync: resyncUnknownID}, nil
	case h.seq-seen > ringSize:
		return joined{seq: h.seq, resync: resyncTooOld}, nil
	}
	j := joined{seq: seen}
	for seq := seen + 1; seq <= h.seq; seq++ {
		j.missed = append(j.missed, h.ring[seq%ringSize])
	}
	return j, nil
}

// Newest returns the id of the newest event. A client that reads the store after this call and
// resumes after the id misses no change.
func (h *hub) Newest() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.stopping:
	default:
		h.startLocked()
	}
	return h.id(h.seq)
}

func (h *hub) startLocked() {
	if !h.started {
		h.started = true
		go h.run(h.db.Subscribe(feedBuffer))
	}
}

// detach removes the stream. It may be called more than once.
func (h *hub) detach(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.removeLocked(s)
}

func (h *hub) removeLocked(s *stream) {
	if _, ok := h.streams[s]; !ok {
		return
	}
	delete(h.streams, s)
	if h.sessions[s.token]--; h.sessions[s.token] == 0 {
		delete(h.sessions, s.token)
	}
}

// Recheck makes every stream check at once that its session still exists.
func (h *hub) Recheck() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		select {
		case s.check <- struct{}{}:
		default: // a check is already due
		}
	}
}

// Count returns the number of open streams.
func (h *hub) Count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.streams)
}

// Wait blocks until the hub's goroutine has ended. Call it only after stopping is closed.
func (h *hub) Wait() {
	h.mu.Lock()
	started := h.started
	h.mu.Unlock()
	if started {
		<-h.done
	}
}

func (h *hub) run(sub *store.Subscription) {
	defer close(h.done)
	defer h.endAll()
	defer func() {
		if sub != nil {
			sub.Close()
		}
	}()
	gathered := configChanges{}
	var due <-chan time.Time
	looks := time.NewTicker(statusInterval)
	defer looks.Stop()
	nodesChanged := false
	for {
		select {
		case <-h.stopping:
			return
		case <-looks.C:
			if h.Count() > 0 {
				h.publishStatus(nodesChanged)
				nodesChanged = false
			}
		case <-due:
			due = nil
			for _, id := range slices.Sorted(maps.Keys(gathered)) {
				if gathered[id] {
					h.publish(event{eventConfigList, nodesChangedPayload{configRef{id}, true}})
				}
				h.publish(event{eventOverview, configRef{id}})
			}
			clear(gathered)
		case c, ok := <-sub.C:
			if !ok {
				if sub = h.resubscribe(); sub == nil {
					return
				}
				// Only after the new subscription, so that a client which then reads everything
				// misses no change.
				h.publish(event{eventResync, resyncPayload{resyncOverrun}})
				continue
			}
			events, configs := h.read(gather(c, sub.C))
			for _, e := range events {
				h.publish(e)
			}
			for id, nodes := range configs {
				gathered[id], nodesChanged = gathered[id] || nodes, true
			}
			if due == nil && len(gathered) > 0 {
				due = time.After(overviewDelay)
			}
		}
	}
}

// publishStatus publishes the system's status if it has changed.
func (h *hub) publishStatus(nodesChanged bool) {
	e, changed, err := h.status(nodesChanged)
	if err != nil {
		h.log.Error("cannot read the system's status", "err", err)
		return
	}
	if changed {
		h.publish(e)
	}
}

// gather returns first and the changes that already wait in c.
func gather(first store.Change, c <-chan store.Change) []store.Change {
	batch := []store.Change{first}
	for len(batch) < hubBatch {
		select {
		case next, ok := <-c:
			if !ok {
				return batch
			}
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// read turns changes into events. An unreadable record must end neither the hub nor the process.
func (h *hub) read(changes []store.Change) (events []event, configs configChanges) {
	defer func() {
		if p := recover(); p != nil {
			h.log.Error("reading changes panicked", "err", fmt.Sprint(p))
			events = []event{{eventResync, resyncPayload{resyncInternal}}}
		}
	}()
	events, configs, err := h.events(changes)
	if err != nil {
		h.log.Error("cannot read changes", "err", err)
		events = append(events, event{eventResync, resyncPayload{resyncInternal}})
	}
	return events, configs
}

// resubscribe subscribes again after the feed has ended. It returns nil if the feed has ended for
// good.
func (h *hub) resubscribe() *store.Subscription {
	pause := time.NewTimer(resubscribeDelay)
	defer pause.Stop()
	select {
	case <-h.stopping:
		return nil
	case <-pause.C:
	}
	if err := h.db.View(func(*store.Tx) error { return nil }); errors.Is(err, store.ErrClosed) {
		return nil
	}
	return h.db.Subscribe(feedBuffer)
}

// publish numbers the event, keeps it, and hands it to every stream that has room. It ends the
// other streams; their clients may resume.
func (h *hub) publish(e event) {
	data, err := e.data()
	if err != nil {
		h.log.Error("event lost", "err", err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++
	f := frame{h.seq, frameOf(e.name, h.id(h.seq), data)}
	h.ring[h.seq%ringSize] = f
	for s := range h.streams {
		select {
		case s.queue <- f:
		default:
			h.removeLocked(s)
			s.end(errSlowStream)
		}
	}
}

func (h *hub) endAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	for s := range h.streams {
		h.removeLocked(s)
		s.end(errHubStopped)
	}
}
