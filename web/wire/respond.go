package wire

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// success is the body of every answer except errors.
type success struct {
	Success bool `json:"success"`
	Data    any  `json:"data"`
	// NextCursor asks for the rest of a list. It is absent at the end.
	NextCursor string `json:"next_cursor,omitempty"`
}

// Failure is the body of every error.
type Failure struct {
	Success bool `json:"success"`
	Error   struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail"`
	} `json:"error"`
}

// Message is the data of an answer that holds only a message.
type Message struct {
	Message string `json:"message"`
}

// Respond answers the request with the data.
func Respond(c echo.Context, data any) error {
	return WriteJSON(c, http.StatusOK, success{Success: true, Data: data})
}

// RespondPage answers the request with data that contains a page of a list. next is the cursor of
// the rest.
func RespondPage(c echo.Context, data any, next string) error {
	return WriteJSON(c, http.StatusOK, success{Success: true, Data: data, NextCursor: next})
}

// RespondList answers the request with a page of a list. next is the cursor of the rest, or "" at
// the end.
func RespondList[T any](c echo.Context, items []T, next string) error {
	if items == nil {
		items = []T{}
	}
	return RespondPage(c, items, next)
}

// WriteJSON writes body as JSON. It encodes before it writes, so that a failure can still be
// answered.
func WriteJSON(c echo.Context, status int, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return c.JSONBlob(status, append(raw, '\n'))
}

// When returns t in UTC, or nil (null in JSON) for the zero time.
func When(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
