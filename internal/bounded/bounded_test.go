package bounded

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitReturnsAtTheEndOrWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := Wait(ctx, "stop the part", func() {}); err != nil {
			t.Errorf("what ended in time: %v", err)
		}
		end := make(chan struct{})
		err := Wait(ctx, "stop the part", func() { <-end })
		if !errors.Is(err, context.DeadlineExceeded) || err.Error() != "stop the part: context deadline exceeded" {
			t.Errorf("what did not end: %v", err)
		}
		close(end)
	})
}
