package certs

import (
	"log/slog"
	"slices"

	"go.uber.org/zap/zapcore"
)

// zapCore passes certmagic's errors to our log. Its other messages are for its own developers. Of
// the fields, only these pass, so that none can carry more than a name.
type zapCore struct{ log *slog.Logger }

var zapFields = []string{"identifier", "identifiers", "subject", "issuer", "error", "attempt"}

var _ zapcore.Core = (*zapCore)(nil)

// Enabled, With, Check, Write and Sync implement [zapcore.Core].
func (c *zapCore) Enabled(level zapcore.Level) bool { return level >= zapcore.ErrorLevel }

func (c *zapCore) With(fields []zapcore.Field) zapcore.Core {
	return &zapCore{c.log.With(attrs(fields)...)}
}
func (c *zapCore) Sync() error { return nil }

// Check adds the core to entries of an enabled level.
func (c *zapCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write logs the entry as a warning: certmagic retries by itself.
func (c *zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.Warn("certmagic reports", append([]any{"report", e.Message}, attrs(fields)...)...)
	return nil
}

func attrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	var out []any
	for _, f := range fields {
		if slices.Contains(zapFields, f.Key) {
			f.AddTo(enc)
		}
	}
	for _, key := range zapFields {
		v, ok := enc.Fields[key]
		if key == "error" {
			key = "err"
		}
		if ok {
			out = append(out, key, v)
		}
	}
	return out
}
