package web

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/web/wire"
)

func (a *systemAPI) activityRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/system/activity", Access: wire.Session, Handle: a.systemActivity,
			Summary: "The last hour in samples: messages, commands, requests, connections. It is forgotten at a restart.",
			Data:    activityView{},
		},
	}
}

// What is kept of the recent past, in memory alone: an hour.
const (
	activityInterval = 10 * time.Second
	activityKept     = 360
)

// gauges is what the appliance has done since its start, and holds now.
type gauges struct {
	in, out, refused, commands, requests uint64
	connections, streams                 int
}

// activitySample is what happened in one interval, and how much there was at its end.
type activitySample struct {
	At              *time.Time `json:"at"` // the end
	MessagesIn      uint64     `json:"messages_in"`
	MessagesOut     uint64     `json:"messages_out"`
	MessagesRefused uint64     `json:"messages_refused"`
	Commands        uint64     `json:"commands"`      // given
	HTTPRequests    uint64     `json:"http_requests"` // answered
	Connections     int        `json:"connections"`   // MQTT sessions, at the end
	Streams         int        `json:"streams"`       // event streams, at the end
}

// activity is the recent past.
type activity struct {
	mu      sync.Mutex
	samples []activitySample // oldest first
}

// run takes a sample each interval until stop is closed.
func (a *activity) run(stop <-chan struct{}, read func() gauges) {
	ticks := time.NewTicker(activityInterval)
	defer ticks.Stop()
	last := read()
	for {
		select {
		case <-stop:
			return
		case now := <-ticks.C:
			next := read()
			a.add(now, last, next)
			last = next
		}
	}
}

func (a *activity) add(now time.Time, last, next gauges) {
	s := activitySample{
		At: wire.When(now), MessagesIn: since(last.in, next.in), MessagesOut: since(last.out, next.out),
		MessagesRefused: since(last.refused, next.refused), Commands: since(last.commands, next.commands),
		HTTPRequests: since(last.requests, next.requests), Connections: next.connections, Streams: next.streams,
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.samples) == activityKept {
		a.samples = slices.Delete(a.samples, 0, 1)
	}
	a.samples = append(a.samples, s)
}

// since is how much a counter has grown; one that began anew has grown by what it shows.
func since(last, next uint64) uint64 {
	if next < last {
		return next
	}
	return next - last
}

func (a *activity) recent() []activitySample {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]activitySample{}, a.samples...)
}

func (s *Server) readGauges() gauges {
	b := s.reader.brokerStatus()
	return gauges{
		in: b.MessagesIn, out: b.MessagesOut, refused: b.MessagesRefused, commands: s.opts.Store.CommandCounts().Added,
		requests: s.counts.total(), connections: b.Sessions, streams: s.hub.count(),
	}
}

type activityView struct {
	IntervalSeconds int              `json:"interval_seconds"`
	Samples         []activitySample `json:"samples"` // oldest first, an hour at most
}

func (a *systemAPI) systemActivity(c echo.Context) error {
	return wire.Respond(c, activityView{int(activityInterval / time.Second), a.recent.recent()})
}
