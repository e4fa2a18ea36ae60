package web

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

// failure is the body of every error.
type failure struct {
	Success bool `json:"success"`
	Error   struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail"`
	} `json:"error"`
}

// message is the data of an answer that has nothing else to tell.
type message struct {
	Message string `json:"message"`
}

func respond(c echo.Context, data any) error {
	return writeJSON(c, http.StatusOK, success{Success: true, Data: data})
}

func respondList[T any](c echo.Context, items []T, next string) error {
	if items == nil {
		items = []T{}
	}
	return writeJSON(c, http.StatusOK, success{Success: true, Data: items, NextCursor: next})
}

// writeJSON encodes before it writes, so that what cannot be encoded still gets a proper answer.
func writeJSON(c echo.Context, status int, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return c.JSONBlob(status, append(raw, '\n'))
}

// when is t in UTC, or nil (null) for the zero time: never.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
