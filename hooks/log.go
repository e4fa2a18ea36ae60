package hooks

import (
	"context"
	"log/slog"
)

// BrokerLog wraps a handler for the broker's own logger. The broker logs whole packets, including
// passwords and payloads; BrokerLog passes only plain facts. Strangers decide how many messages there
// are, so next should limit floods.
func BrokerLog(next slog.Handler) slog.Handler { return &brokerLog{next} }

type brokerLog struct{ next slog.Handler }

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
	return &brokerLog{h.next.WithAttrs(kept)}
}

func (h *brokerLog) WithGroup(string) slog.Handler { return h }
