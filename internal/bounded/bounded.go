package bounded

import (
	"context"
	"fmt"
)

// Wait calls wait, and returns when that has returned or when ctx ends, with an error that names what
// was waited for. wait must return at some time, also if Wait has not waited for it.
func Wait(ctx context.Context, what string, wait func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
}
