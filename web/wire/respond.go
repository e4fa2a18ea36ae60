package wire

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// success is the body of every answer that is no error.
type success struct {
	Success bool `json:"success"`
	Data    any  `json:"data"`
	// NextCursor, of a list, asks for the rest; absent at the end.
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

// Message is the data of an answer that has nothing else to tell.
type Message struct {
	Message string `json:"message"`
}

// Respond answers the request with the data.
func Respond(c echo.Context, data any) error {
	return WriteJSON(c, http.StatusOK, success{Success: true, Data: data})
}

// RespondPage answers data that has a page of a list in it; next asks for the rest.
func RespondPage(c echo.Context, data any, next string) error {
	return WriteJSON(c, http.StatusOK, success{Success: true, Data: data, NextCursor: next})
}

// RespondList answers the request with a page of a list; next asks for the rest, and is empty at the end.
func RespondList[T any](c echo.Context, items []T, next string) error {
	if items == nil {
		items = []T{}
	}
	return RespondPage(c, items, next)
}

// WriteJSON encodes before it writes, so that what cannot be encoded still gets a proper answer.
func WriteJSON(c echo.Context, status int, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return c.JSONBlob(status, append(raw, '\n'))
}

// When is t in UTC, or nil (null) for the zero time: never.
func When(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
