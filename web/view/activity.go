package view

import (
	"slices"
	"sync"
	"time"

	"wfm/web/wire"
)

// The interval and the number of the samples. They cover an hour and are only in memory.
const (
	ActivityInterval = 10 * time.Second
	ActivityKept     = 360
)

// Gauges has the appliance's counters since its start, and its present figures.
type Gauges struct {
	In, Out, Refused, Commands, Requests uint64
	Connections, Streams                 int
}

// ActivitySample has the counts of one interval, and the figures at its end.
type ActivitySample struct {
	At              *time.Time `json:"at"` // the end
	MessagesIn      uint64     `json:"messages_in"`
	MessagesOut     uint64     `json:"messages_out"`
	MessagesRefused uint64     `json:"messages_refused"`
	Commands        uint64     `json:"commands"`      // new ones
	HTTPRequests    uint64     `json:"http_requests"` // answered
	Connections     int        `json:"connections"`   // MQTT sessions, at the end
	Streams         int        `json:"streams"`       // event streams, at the end
}

// Activity keeps the samples of the last hour.
type Activity struct {
	mu      sync.Mutex
	samples []ActivitySample // oldest first
}

// Run adds a sample after each interval until stop is closed.
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

// since returns the growth of a counter. A counter that started again has grown by its value.
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
