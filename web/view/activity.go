package view

import (
	"slices"
	"sync"
	"time"

	"wfm/web/wire"
)

// What is kept of the recent past, in memory alone: an hour.
const (
	ActivityInterval = 10 * time.Second
	ActivityKept     = 360
)

// Gauges is what the appliance has done since its start, and holds now.
type Gauges struct {
	In, Out, Refused, Commands, Requests uint64
	Connections, Streams                 int
}

// ActivitySample is what happened in one interval, and how much there was at its end.
type ActivitySample struct {
	At              *time.Time `json:"at"` // the end
	MessagesIn      uint64     `json:"messages_in"`
	MessagesOut     uint64     `json:"messages_out"`
	MessagesRefused uint64     `json:"messages_refused"`
	Commands        uint64     `json:"commands"`      // given
	HTTPRequests    uint64     `json:"http_requests"` // answered
	Connections     int        `json:"connections"`   // MQTT sessions, at the end
	Streams         int        `json:"streams"`       // event streams, at the end
}

// Activity is the recent past.
type Activity struct {
	mu      sync.Mutex
	samples []ActivitySample // oldest first
}

// Run takes a sample each interval until stop is closed.
func (a *Activity) Run(stop <-chan struct{}, read func() Gauges) {
	ticks := time.NewTicker(ActivityInterval)
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

func (a *Activity) add(now time.Time, last, next Gauges) {
	s := ActivitySample{
		At: wire.When(now), MessagesIn: since(last.In, next.In), MessagesOut: since(last.Out, next.Out),
		MessagesRefused: since(last.Refused, next.Refused), Commands: since(last.Commands, next.Commands),
		HTTPRequests: since(last.Requests, next.Requests), Connections: next.Connections, Streams: next.Streams,
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.samples) == ActivityKept {
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

// Recent returns the samples, oldest first.
func (a *Activity) Recent() []ActivitySample {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]ActivitySample{}, a.samples...)
}
