package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
)

// Times of a download, which may take longer than an answer.
const (
	downloadTimeout      = time.Hour        // for the whole of it
	downloadWriteTimeout = 30 * time.Second // for what is written at a time
)

var errDownloadTooSlow = errors.New("the client takes too long for a download")

// StartDownload begins the answer of a file with the name. size is in bytes, negative when not
// known; a client that gets less knows that something is missing. A request for the head gets no
// more than that. Once stopping ends, so does the download.
func StartDownload(stopping context.Context, c echo.Context, contentType, name string, size int64) io.Writer {
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, contentType)
	h.Set(echo.HeaderContentDisposition, fmt.Sprintf("attachment; filename=%q", name))
	if size >= 0 {
		h.Set(echo.HeaderContentLength, strconv.FormatInt(size, 10))
	}
	c.Response().WriteHeader(http.StatusOK)
	if c.Request().Method == http.MethodHead {
		return io.Discard
	}
	return &downloadWriter{
		stopping: stopping.Err, response: c.Response(), control: http.NewResponseController(c.Response()), until: time.Now().Add(downloadTimeout),
	}
}

// downloadWriter gives every write a deadline of its own, all of them together a limit, and none
// once the server stops.
type downloadWriter struct {
	stopping func() error // not nil once the server stops
	response io.Writer
	control  *http.ResponseController
	until    time.Time
}

func (w *downloadWriter) Write(p []byte) (int, error) {
	now := time.Now()
	switch err := w.stopping(); {
	case err != nil:
		return 0, err
	case now.After(w.until):
		return 0, errDownloadTooSlow
	}
	if err := w.control.SetWriteDeadline(now.Add(downloadWriteTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return w.response.Write(p)
}
