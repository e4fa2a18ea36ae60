package floodlog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// PerMinute is how often each message text passes per minute.
const PerMinute = 30

// maxTexts limits the number of distinct texts. Texts are constants of the program, so the limit is
// only reached if one is not.
const maxTexts = 1000

// New wraps next. Only the message text counts, not its attributes.
func New(next slog.Handler) slog.Handler {
	return &handler{next: next, counter: &counter{texts: make(map[string]*count)}}
}

type handler struct {
	next    slog.Handler
	counter *counter
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, rec slog.Record) error {
	left, ok := h.counter.take(rec.Message, rec.Time)
	if !ok {
		return nil
	}
	if left > 0 {
		rec = rec.Clone()
		rec.AddAttrs(slog.Int("left_out", left))
	}
	return h.next.Handle(ctx, rec)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{next: h.next.WithAttrs(attrs), counter: h.counter}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{next: h.next.WithGroup(name), counter: h.counter}
}

type counter struct {
	mu    sync.Mutex
	texts map[string]*count
}

type count struct {
	minute  time.Time
	passed  int
	leftOut int
}

// take reports whether the message passes, and how many with the same text were dropped before.
func (c *counter) take(text string, at time.Time) (leftOut int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.texts[text]
	if n == nil {
		if len(c.texts) >= maxTexts {
			return 0, false
		}
		n = &count{}
		c.texts[text] = n
	}
	if minute := at.Truncate(time.Minute); !minute.Equal(n.minute) {
		n.minute, n.passed = minute, 0
	}
	if n.passed >= PerMinute {
		n.leftOut++
		return 0, false
	}
	n.passed++
	leftOut, n.leftOut = n.leftOut, 0
	return leftOut, true
}
