package web

import (
	"context"
	"errors"
	"testing"
)

func TestLoginsWaitOnlyUpToABound(t *testing.T) {
	h := newHasher()
	for range cap(h.slots) {
		h.slots <- struct{}{}
	}
	for range maxWaiting {
		h.waiting <- struct{}{}
	}
	if _, err := h.check(context.Background(), "", "password"); !errors.Is(err, errBusy) {
		t.Errorf("one more: %v, want errBusy", err)
	}
}
