package hooks

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Each of the broker's own messages passes at most messagesLogged times a minute: outsiders decide
// how many there are.
const messagesLogged = 10

// BrokerLog wraps a handler for the broker's own logger. The broker logs whole packets, including
// passwords and payloads; BrokerLog passes only plain facts, and limits floods.
func BrokerLog(next slog.Handler) slog.Handler {
	return &brokerLog{next: next, flood: &flood{}}
}

type brokerLog struct {
	next  slog.Handler
	flood *flood
}

// allowed are the attributes of the broker's messages that contain nothing of a packet.
var allowed = map[string]bool{
	"error": true, "client": true, "listener": true, "remote": true, "hook": true,
	"version": true, "keepalive": true, "recommended": true, "address": true, "protocol": true,
}

func (h *brokerLog) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, ours(level))
}

// ours demotes the broker's information messages, which are about its internals.
func ours(level slog.Level) slog.Level {
	if level == slog.LevelInfo {
		return slog.LevelDebug
	}
	return level
}

// saidBetter are messages of the broker about events that the hook logs itself, with the node's id.
var saidBetter = map[string]bool{"publish packet error": true}

func (h *brokerLog) Handle(ctx context.Context, rec slog.Record) error {
	if saidBetter[rec.Message] {
		return nil
	}
	if !h.flood.take(rec.Message, rec.Time) {
		return nil
	}
	out := slog.NewRecord(rec.Time, ours(rec.Level), "broker: "+rec.Message, rec.PC)
	rec.Attrs(func(a slog.Attr) bool {
		if allowed[a.Key] {
			out.AddAttrs(slog.String(a.Key, clip(a.Value.String())))
		}
		return true
	})
	return h.next.Handle(ctx, out)
}

func (h *brokerLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	kept := make([]slog.Attr, 0, len(attrs))
	for _, a := range attrs {
		if allowed[a.Key] {
			kept = append(kept, a)
		}
	}
	return &brokerLog{next: h.next.WithAttrs(kept), flood: h.flood}
}

func (h *brokerLog) WithGroup(string) slog.Handler { return h }

// flood counts messages per text and minute. The texts are constants of the broker, so the map is
// bounded.
type flood struct {
	mu     sync.Mutex
	minute time.Time
	count  map[string]int
}

func (f *flood) take(message string, at time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if minute := at.Truncate(time.Minute); f.count == nil || !minute.Equal(f.minute) {
		f.minute, f.count = minute, make(map[string]int)
	}
	if len(f.count) > 1000 {
		return false
	}
	f.count[message]++
	return f.count[message] <= messagesLogged
}
