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

// Time limits of a download. It may take longer than other answers.
const (
	downloadTimeout      = time.Hour        // for the whole download
	downloadWriteTimeout = 30 * time.Second // for each write
)

var errDownloadTooSlow = errors.New("the client takes too long for a download")

// StartDownload starts the download of a file called name and returns the writer of its content.
// size is in bytes, or negative if unknown; it lets the client notice a file that broke off. For a
// HEAD request the writer discards everything. Writes fail once stopping is done.
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

// downloadWriter limits the time of each write and of the whole download. Its writes fail once the
// server stops.
type downloadWriter struct {
	stopping func() error // returns an error once the server stops
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
