package web

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/wire"
)

func (s *streams) streamRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/events/stream", Access: wire.Session, Handle: s.eventStream,
			Summary: "Server-sent events: hints to read something anew. Last-Event-ID, or last_event_id, resumes.",
			Query:   "last_event_id", Bare: "text/event-stream", Codes: "RATE_LIMITED",
		},
	}
}

// Times of a stream.
const (
	// clockInterval is how often a stream tells the time, and how long at most the end of its
	// session may go unnoticed.
	clockInterval = 15 * time.Second
	// streamWriteTimeout is how long a client may take to read what is written at a time.
	streamWriteTimeout = 10 * time.Second
	// farewellTimeout is how long the end of a stream may take to be written.
	farewellTimeout = 250 * time.Millisecond
)

// writtenAtATime bounds the events that share a write and its deadline.
const writtenAtATime = 64

// streams serves the event stream.
type streams struct {
	hub          *hub
	db           *store.DB
	log          *slog.Logger
	guard        *guard
	reader       *reader
	watch        func() (release func())
	lastServices string // how the services were when the hub looked last
}

func newStreams(o Options, g *guard, r *reader, stopping <-chan struct{}) *streams {
	s := &streams{db: o.Store, log: o.Logger, guard: g, reader: r, watch: o.Watch}
	s.hub = newHub(o.Store, o.Logger, stopping, s.eventsOf, s.statusEvent)
	return s
}

type configRef struct {
	ConfigID string `json:"config_id"`
}

type nodeRef struct {
	ConfigID string `json:"config_id"`
	NodeID   string `json:"node_id"`
}

type statusPayload struct {
	nodeRef
	Status *endpointStatusView `json:"status"` // null: read it anew
}

// nodesChangedPayload tells that the nodes of a config were changed, and not the config itself.
type nodesChangedPayload struct {
	configRef
	NodesChanged bool `json:"nodes_changed"`
}

type logPayload struct {
	nodeRef
	Log logView `json:"log"`
}

// clockPayload tells the time, under the names of two generations of clients.
type clockPayload struct {
	Now       *time.Time `json:"now"`
	Timestamp *time.Time `json:"timestamp"`
	Timezone  string     `json:"timezone"`
}

func clockEvent() event {
	now := wire.When(time.Now())
	return event{eventClock, clockPayload{now, now, timezone}}
}

type resyncPayload struct {
	Reason string `json:"reason"`
}

// eventStream sends events until the client leaves, its session ends, it reads too slowly, or the
// server stops. It answers [wire.RateError] while too many streams are open.
func (s *streams) eventStream(c echo.Context) error {
	r, h := c.Request(), c.Response().Header()
	if r.Method == http.MethodHead {
		h.Set(echo.HeaderContentType, "text/event-stream")
		return c.NoContent(http.StatusOK)
	}
	ctx, end := context.WithCancelCause(r.Context())
	defer end(nil)
	l := loginOf(c)
	st := &stream{token: l.token, queue: make(chan frame, queueSize), check: make(chan struct{}, 1), end: end}
	begin, err := s.hub.attach(st, lastEventID(r))
	if err != nil {
		return err
	}
	defer s.hub.detach(st)
	if err := s.guard.sessionLives(l.token); err != nil { // may have ended before the hub knew of us
		return err
	}
	if s.watch != nil {
		defer s.watch()()
	}
	// The time to read a request has nothing to do with how long its stream is; once over, it would
	// end the request's context.
	if err := http.NewResponseController(c.Response()).SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	h.Set(echo.HeaderContentType, "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy that gathers events delays them
	if r.ProtoMajor == 1 {
		h.Set("Connection", "close")
	}
	c.Response().WriteHeader(http.StatusOK)
	w := newEventWriter(ctx, c)
	defer w.finish()
	err = s.sendEvents(ctx, w, st, begin, l.ExpiresAt)
	s.log.Debug("stream ended", "request_id", wire.RequestIDOf(c), "reason", errors.Join(context.Cause(ctx), err))
	return nil
}

// lastEventID is the id of the last event that the client has seen. A client that connects anew
// sends the header, with the address it began with: the header is the newer one.
func lastEventID(r *http.Request) string {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return id
	}
	return r.URL.Query().Get("last_event_id")
}

// sessionLives returns why nobody is logged in with the token any more. Errors: wire.ErrInvalidToken,
// wire.ErrTokenExpired.
func (g *guard) sessionLives(token string) error {
	return g.db.View(func(tx *store.Tx) error {
		_, err := findLogin(tx, token)
		return err
	})
}

// sendEvents returns the error that ended the stream.
func (s *streams) sendEvents(ctx context.Context, w *eventWriter, st *stream, begin joined, expires time.Time) error {
	last := begin.seq
	if err := s.greet(w, begin); err != nil {
		return err
	}
	for missed := begin.missed; len(missed) > 0; {
		n := min(len(missed), writtenAtATime)
		if err := w.write(missed[:n]...); err != nil {
			return err
		}
		last, missed = missed[n-1].seq, missed[n:]
	}
	clock := time.NewTicker(clockInterval)
	defer clock.Stop()
	var expiry <-chan time.Time // never, for an API token without an end
	if !expires.IsZero() {
		timer := time.NewTimer(time.Until(expires))
		defer timer.Stop()
		expiry = timer.C
	}
	for {
		var out []frame
		select {
		case <-ctx.Done():
			return nil
		case f := <-st.queue:
			out = waiting(f, st.queue)
			last = out[len(out)-1].seq
		case <-st.check:
			if err := s.guard.sessionLives(st.token); err != nil {
				return err
			}
		case <-expiry:
			if err := s.guard.sessionLives(st.token); err != nil {
				return err
			}
		case <-clock.C:
			if err := s.guard.sessionLives(st.token); err != nil {
				return err
			}
			f, err := own(clockEvent(), s.hub.id(last))
			if err != nil {
				return err
			}
			out = []frame{f}
		}
		if err := w.write(out...); err != nil {
			return err
		}
	}
}

// greet writes what every stream begins with. These frames are this stream's own: their id is that
// of the event before the next, so that whoever resumes after one of them misses nothing.
func (s *streams) greet(w *eventWriter, begin joined) error {
	id := s.hub.id(begin.seq)
	if begin.resync != "" {
		id = unknownID
	}
	status, err := s.reader.readStatus() // after the stream was attached, so that later changes come as events
	if err != nil {
		return err
	}
	var frames []frame
	for _, e := range []event{{eventSystemStatus, status}, clockEvent()} {
		f, err := own(e, id)
		if err != nil {
			return err
		}
		frames = append(frames, f)
	}
	if begin.resync != "" {
		f, err := own(event{eventResync, resyncPayload{begin.resync}}, s.hub.id(begin.seq))
		if err != nil {
			return err
		}
		frames = append(frames, f)
	}
	return w.write(frames...)
}

// own is an event of one stream alone, which has no number of its own.
func own(e event, id string) (frame, error) {
	data, err := e.data()
	return frame{bytes: frameOf(e.name, id, data)}, err
}

// waiting takes what is queued behind f already, up to what is written at a time.
func waiting(f frame, queue <-chan frame) []frame {
	out := []frame{f}
	for len(out) < writtenAtATime {
		select {
		case next := <-queue:
			out = append(out, next)
		default:
			return out
		}
	}
	return out
}

// eventWriter writes frames with a deadline each time. The end of its context ends a write that is
// under way.
type eventWriter struct {
	response http.ResponseWriter
	control  *http.ResponseController
	ended    func() error // the context's error
	release  func()       // stops to watch the context
}

func newEventWriter(ctx context.Context, c echo.Context) *eventWriter {
	w := &eventWriter{response: c.Response(), control: http.NewResponseController(c.Response()), ended: ctx.Err}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = w.control.SetWriteDeadline(time.Now())
	})
	w.release = func() {
		if !stop() {
			<-interrupted // the connection must not be touched after the handler
		}
	}
	return w
}

func (w *eventWriter) write(frames ...frame) error {
	if len(frames) == 0 {
		return nil
	}
	if err := w.control.SetWriteDeadline(time.Now().Add(streamWriteTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	// Asked after the deadline is set: if the context ends later than this, its deadline comes after ours.
	if err := w.ended(); err != nil {
		return err
	}
	var all bytes.Buffer
	for _, f := range frames {
		all.Write(f.bytes)
	}
	if _, err := w.response.Write(all.Bytes()); err != nil {
		return err
	}
	return w.control.Flush()
}

// finish leaves the server a moment to write the end of the answer.
func (w *eventWriter) finish() {
	w.release()
	_ = w.control.SetWriteDeadline(time.Now().Add(farewellTimeout))
}

// eventsOf turns committed changes into events, as the store is now, and names the configs whose
// overview has changed. What is gone already makes no event of its own.
func (s *streams) eventsOf(changes []store.Change) (events []event, configs configChanges, err error) {
	r := changeReader{s: s, told: make(map[string]bool), configs: configChanges{}}
	if s.hub.count() > 0 {
		mqtt := s.reader.mqttService()
		r.mqtt = &mqtt
	}
	err = s.db.View(func(tx *store.Tx) error {
		for _, c := range changes {
			if err := r.read(tx, c); err != nil && !gone(err) {
				return err
			}
		}
		return nil
	})
	return r.events, r.configs, err
}

// changeReader makes the events of some changes with one read of the store.
type changeReader struct {
	s       *streams
	mqtt    *mqttServiceView // nil while nobody listens
	told    map[string]bool  // rollouts and nodes whose state is among events
	events  []event
	configs configChanges
}

func (r *changeReader) add(name string, payload any) {
	r.events = append(r.events, event{name, payload})
}

// once reports whether the state of that thing is not among the events yet. Events tell the state as
// it is now, so that one is enough for several changes.
func (r *changeReader) once(thing string) bool {
	again := r.told[thing]
	r.told[thing] = true
	return !again
}

func (r *changeReader) read(tx *store.Tx, c store.Change) error {
	ref := nodeRef{c.ConfigID, c.NodeID}
	switch c.Kind {
	case store.ChangeConfig:
		r.add(eventConfigList, configRef{c.ConfigID})
		r.configs.add(c.ConfigID, false)
	case store.ChangeNode:
		r.add(eventNode, ref)
		r.configs.add(c.ConfigID, true)
	case store.ChangeApply:
		r.add(eventApply, ref)
		r.configs.add(c.ConfigID, false)
	case store.ChangePresence:
		r.configs.add(c.ConfigID, false)
		return r.readStatus(tx, ref)
	case store.ChangeCommand:
		cmd, err := tx.Command(c.RequestID)
		if err != nil {
			return err
		}
		name := eventLogUpdated
		if c.Created {
			name = eventLogCreated
		}
		r.add(name, logPayload{ref, viewLog(cmd)})
	case store.ChangeRollout:
		rollout, err := tx.Rollout(c.RolloutID)
		if err == nil && r.once(c.RolloutID) {
			r.add(eventRollout, rolloutPayload{configRef{c.ConfigID}, viewRollout(rollout)})
		}
		return err
	case store.ChangeSettings:
		r.add(eventSettings, struct{}{})
	case store.ChangeEvidence, store.ChangeJournal:
		// A heartbeat changes nothing that anybody sees.
	}
	return nil
}

// readStatus adds the status of the node. While nobody listens it is left out: whoever resumes reads
// it anew.
func (r *changeReader) readStatus(tx *store.Tx, ref nodeRef) error {
	if !r.once(ref.NodeID) {
		return nil
	}
	if r.mqtt == nil {
		r.add(eventStatus, statusPayload{nodeRef: ref})
		return nil
	}
	f, err := r.s.reader.nodeFacts(tx, ref.NodeID)
	if err != nil {
		return err
	}
	v, err := r.s.reader.viewStatus(tx, f, *r.mqtt)
	if err != nil {
		return err
	}
	r.add(eventStatus, statusPayload{ref, &v})
	return nil
}

func gone(err error) bool {
	return errors.Is(err, store.ErrConfigNotFound) || errors.Is(err, store.ErrNodeNotFound) ||
		errors.Is(err, store.ErrCommandNotFound) || errors.Is(err, store.ErrRolloutNotFound)
}
