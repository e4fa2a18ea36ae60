package events

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// eventWriter writes frames, each write with a deadline. The end of its context interrupts a write.
type eventWriter struct {
	response http.ResponseWriter
	control  *http.ResponseController
	ended    func() error // the context's error
	release  func()       // stops watching the context
}

func newEventWriter(ctx context.Context, c echo.Context) *eventWriter {
	w := &eventWriter{response: c.Response(), control: http.NewResponseController(c.Response()), ended: ctx.Err}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = w.control.SetWriteDeadline(time.Now())
	})
	w.release = func() {
		if !stop() {
			<-interrupted // nothing may touch the connection after the handler returns
		}
	}
	return w
}

func (w *eventWriter) write(frames ...frame) error {
	if len(frames) == 0 {
		return nil
	}
	if err := w.control.SetWriteDeadline(time.Now().Add(streamWriteTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	// Checked after the deadline is set: if the context ends later than this, its deadline comes
	// after ours.
	if err := w.ended(); err != nil {
		return err
	}
	var all bytes.Buffer
	for _, f := range frames {
		all.Write(f.bytes)
	}
	if _, err := w.response.Write(all.Bytes()); err != nil {
		return err
	}
	return w.control.Flush()
}

// finish gives the server a moment to write the end of the answer.
func (w *eventWriter) finish() {
	w.release()
	_ = w.control.SetWriteDeadline(time.Now().Add(farewellTimeout))
}
