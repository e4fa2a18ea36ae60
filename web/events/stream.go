package events

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

// Routes has the route of the event stream.
func (s *Streams) Routes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/events/stream", Access: wire.Session, Handle: s.eventStream,
			Summary: "Server-sent events, which tell clients to read something again. Last-Event-ID or last_event_id resumes a stream.",
			Query:   "last_event_id", Bare: "text/event-stream", Codes: "RATE_LIMITED",
		},
	}
}

// The times of a stream.
const (
	// clockInterval is how often a stream sends the time, and the longest time until it notices the
	// end of its session.
	clockInterval = 15 * time.Second
	// streamWriteTimeout is how long a client may take to read one write.
	streamWriteTimeout = 10 * time.Second
	// farewellTimeout bounds writing the end of a stream.
	farewellTimeout = 250 * time.Millisecond
)

// writtenAtATime bounds the number of events in one write.
const writtenAtATime = 64

// Streams serves the event stream.
type Streams struct {
	*hub
	db           *store.DB
	log          *slog.Logger
	guard        *access.Guard
	reader       *view.Reader
	watch        func() (release func())
	lastServices string // the services at the hub's last look
}

// Options configures New.
type Options struct {
	Store  *store.DB
	Logger *slog.Logger
	Guard  *access.Guard
	Reader *view.Reader
	// Watch is called whenever a stream opens, and its result once at the stream's end. May be nil.
	Watch func() (release func())
}

// New makes the event stream, which ends when stopping is closed.
func New(o Options, stopping <-chan struct{}) *Streams {
	s := &Streams{db: o.Store, log: o.Logger, guard: o.Guard, reader: o.Reader, watch: o.Watch}
	s.hub = newHub(o.Store, o.Logger, stopping, s.eventsOf, s.statusEvent)
	return s
}

// eventStream sends events until the client leaves, its session ends, it reads too slowly, or the
// server stops. It answers [wire.RateError] if too many streams are open.
func (s *Streams) eventStream(c echo.Context) error {
	r, h := c.Request(), c.Response().Header()
	if r.Method == http.MethodHead {
		h.Set(echo.HeaderContentType, "text/event-stream")
		return c.NoContent(http.StatusOK)
	}
	ctx, end := context.WithCancelCause(r.Context())
	defer end(nil)
	l := access.LoginOf(c)
	st := &stream{token: l.Token, queue: make(chan frame, queueSize), check: make(chan struct{}, 1), end: end}
	begin, err := s.attach(st, lastEventID(r))
	if err != nil {
		return err
	}
	defer s.detach(st)
	if err := s.guard.SessionLives(l.Token); err != nil { // it may have ended before the hub knew this stream
		return err
	}
	if s.watch != nil {
		defer s.watch()()
	}
	// The time for reading a request must not limit its stream: once over, it would end the
	// request's context.
	if err := http.NewResponseController(c.Response()).SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	h.Set(echo.HeaderContentType, "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy that buffers would delay events
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

// lastEventID returns the id of the last event that the client has seen. A client that reconnects
// sends the header, with the address it began with: the header is newer.
func lastEventID(r *http.Request) string {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return id
	}
	return r.URL.Query().Get("last_event_id")
}

// sendEvents sends events until the stream ends, and returns the reason.
func (s *Streams) sendEvents(ctx context.Context, w *eventWriter, st *stream, begin joined, expires time.Time) error {
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
	var expiry <-chan time.Time // never ready, for an API token that does not expire
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
			if err := s.guard.SessionLives(st.token); err != nil {
				return err
			}
		case <-expiry:
			if err := s.guard.SessionLives(st.token); err != nil {
				return err
			}
		case <-clock.C:
			if err := s.guard.SessionLives(st.token); err != nil {
				return err
			}
			f, err := own(clockEvent(), s.id(last))
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

// greet writes the beginning of every stream. These frames belong to this stream only: their id is
// that of the event before the next, so that a client that resumes after one of them misses
// nothing.
func (s *Streams) greet(w *eventWriter, begin joined) error {
	id := s.id(begin.seq)
	if begin.resync != "" {
		id = unknownID
	}
	status, err := s.reader.ReadStatus() // after the stream was attached, so that later changes arrive as events
	if err != nil {
		return err
	}
	var frames []frame
	for _, e := range []event{newStatusEvent(status), clockEvent()} {
		f, err := own(e, id)
		if err != nil {
			return err
		}
		frames = append(frames, f)
	}
	if begin.resync != "" {
		f, err := own(event{eventResync, resyncPayload{begin.resync}}, s.id(begin.seq))
		if err != nil {
			return err
		}
		frames = append(frames, f)
	}
	return w.write(frames...)
}

// own returns an event of one stream only, which has no number of its own.
func own(e event, id string) (frame, error) {
	data, err := e.data()
	return frame{bytes: frameOf(e.name, id, data)}, err
}

// waiting takes the frames queued behind f, up to the number written at a time.
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
