package certs

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestCertmagicsErrorsReachTheLogAndNothingElseOfIt(t *testing.T) {
	var log strings.Builder
	z := zap.New(&zapCore{slog.New(slog.NewTextHandler(&log, nil))}).Named("x").With(zap.String("account_key", "secret-1"))
	z.Info("chatter")
	z.Error("no luck", zap.String("identifier", "a.test"), zap.Error(errors.New("refused")), zap.String("key", "secret-2"))
	got := log.String()
	for _, want := range []string{"level=WARN", "no luck", "a.test", "err=refused"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
	if strings.Contains(got, "secret") || strings.Contains(got, "chatter") {
		t.Errorf("too much: %s", got)
	}
}
