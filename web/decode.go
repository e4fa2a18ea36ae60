package web

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
)

// Limits of a request's body in bytes.
const (
	bodyLimit     = 64 << 10
	bindBodyLimit = 16 << 10
)

// fields reads the members of a JSON object one by one, and gathers what is wrong with them, so
// that one answer names every fault. A member that is null counts as absent; members nobody asks
// for are ignored.
type fields struct {
	route string // whose body it is
	raw   map[string]json.RawMessage
	bad   map[string]string // field → what is wrong with it; never the value
}

// onAsk, which tests alone set, is told what each route asks of its body: whether there must be one
// (no name), of which kind a member is, and that it is required. So the API's description is held
// to what the handlers read.
var onAsk func(route, name, what string)

// What onAsk is told besides the kinds.
const (
	askBody     = "a body"
	askRequired = "required"
)

func (f *fields) ask(name, what string) {
	if onAsk != nil {
		onAsk(f.route, name, what)
	}
}

// readBody reads the request's JSON object.
func readBody(c echo.Context, limit int64) (*fields, error) {
	f, err := readOptionalBody(c, limit)
	if err != nil {
		return nil, err
	}
	f.ask("", askBody)
	if f.raw == nil {
		return nil, &invalidError{message: "The request has no body; send a JSON object."}
	}
	return f, nil
}

// readOptionalBody is readBody for requests that may come without one.
func readOptionalBody(c echo.Context, limit int64) (*fields, error) {
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errBodyBroken, err)
	}
	f, err := parseFields(body)
	if err != nil {
		return nil, err
	}
	f.route = c.Request().Method + " " + c.Path()
	return f, nil
}

func parseFields(body []byte) (*fields, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return &fields{}, nil
	}
	f := &fields{raw: map[string]json.RawMessage{}}
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(body, &f.raw); {
	case errors.As(err, &syntax):
		return nil, &invalidError{message: fmt.Sprintf("The request body is no valid JSON (at byte %d).", syntax.Offset)}
	case err != nil || body[0] != '{':
		return nil, &invalidError{message: "The request body must be a JSON object."}
	case !utf8.Valid(body):
		return nil, &invalidError{message: "The request body is no valid UTF-8."}
	}
	return f, nil
}

// reject notes what is wrong with a field; the first fault stays.
func (f *fields) reject(name, problem string) {
	if f.bad == nil {
		f.bad = map[string]string{}
	}
	if _, ok := f.bad[name]; !ok {
		f.bad[name] = problem
	}
}

// err is nil as long as no field was rejected.
func (f *fields) err() error {
	if len(f.bad) == 0 {
		return nil
	}
	return &invalidError{fields: f.bad}
}

// take reads a field, or returns nil when it is absent or of the wrong type.
func take[T any](f *fields, name, kind string) *T {
	f.ask(name, kind)
	raw, ok := f.raw[name]
	if !ok || string(raw) == "null" {
		return nil
	}
	v := new(T)
	if err := json.Unmarshal(raw, v); err != nil {
		f.reject(name, "must be "+kind)
		return nil
	}
	return v
}

func (f *fields) text(name string, check rule) *string {
	v := take[string](f, name, "a string")
	if v == nil {
		return nil
	}
	clean, problem := check(*v)
	if problem != "" {
		f.reject(name, problem)
		return nil
	}
	return &clean
}

func (f *fields) flag(name string) *bool { return take[bool](f, name, "true or false") }

func (f *fields) number(name string, low, high int) *int {
	kind := fmt.Sprintf("a whole number from %d to %d", low, high)
	v := take[int](f, name, kind)
	if v != nil && (*v < low || *v > high) {
		f.reject(name, "must be "+kind)
		return nil
	}
	return v
}

// texts reads a list of at most limit strings, each of which passes check.
func (f *fields) texts(name string, limit int, check rule) []string {
	v := take[[]string](f, name, "a list of strings")
	if v == nil {
		return nil
	}
	if len(*v) > limit {
		f.reject(name, fmt.Sprintf("must have at most %d entries", limit))
		return nil
	}
	out := make([]string, 0, len(*v))
	for _, entry := range *v {
		clean, problem := check(entry)
		if problem != "" {
			f.reject(name, "each entry "+problem)
			return nil
		}
		out = append(out, clean)
	}
	return out
}

// objects reads a list of 1 to limit JSON objects, whose members are then read like the request's own.
// See [fields.absorb]. An entry that is no object is rejected by its place, and nil.
func (f *fields) objects(name string, limit int) []*fields {
	v := take[[]json.RawMessage](f, name, "a list of objects")
	f.require(name, v != nil || f.bad[name] != "")
	if v == nil {
		return nil
	}
	if len(*v) == 0 || len(*v) > limit {
		f.reject(name, fmt.Sprintf("must have 1 to %d entries", limit))
		return nil
	}
	rows := make([]*fields, len(*v))
	for i, entry := range *v {
		row := &fields{}
		if err := json.Unmarshal(entry, &row.raw); err != nil || row.raw == nil {
			f.reject(indexed(name, i), "must be an object")
			continue
		}
		rows[i] = row
	}
	return rows
}

// absorb notes what is wrong with the row at index i of the list, under names like nodes[3].name.
func (f *fields) absorb(list string, i int, row map[string]string) {
	for name, problem := range row {
		f.reject(indexed(list, i)+"."+name, problem)
	}
}

// indexed is how an entry of a list is named in detail.fields.
func indexed(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

// need is text for a field that must be there; "" when it is not or is wrong.
func (f *fields) need(name string, check rule) string {
	v := f.text(name, check)
	f.require(name, v != nil)
	return or(v, "")
}

// require rejects a field that must be there and is not.
func (f *fields) require(name string, there bool) {
	f.ask(name, askRequired)
	if !there {
		f.reject(name, "is required")
	}
}

func or[T any](v *T, otherwise T) T {
	if v == nil {
		return otherwise
	}
	return *v
}

// Sizes of a page of a list.
const (
	defaultPage = 100
	maxPage     = 500
)

// readPage reads ?limit and ?cursor.
func readPage(c echo.Context) (limit int, cursor string, err error) {
	f := &fields{}
	limit = defaultPage
	if raw := c.QueryParam("limit"); raw != "" {
		limit, err = strconv.Atoi(raw)
		if err != nil || limit < 1 || limit > maxPage {
			f.reject("limit", fmt.Sprintf("must be a whole number from 1 to %d", maxPage))
		}
	}
	key, err := base64.RawURLEncoding.DecodeString(c.QueryParam("cursor"))
	if err != nil {
		f.reject("cursor", "must be the next_cursor of a former answer")
	}
	return limit, string(key), f.err()
}

// readCountedPage is readPage for lists that are ordered by a counter, newest first.
func readCountedPage(c echo.Context) (limit int, before uint64, err error) {
	limit, key, err := readPage(c)
	if err != nil || key == "" {
		return limit, 0, err
	}
	before, err = strconv.ParseUint(key, 10, 64)
	if err != nil || before == 0 {
		f := &fields{}
		f.reject("cursor", "must be the next_cursor of a former answer")
		return limit, 0, f.err()
	}
	return limit, before, nil
}

// cut shortens items, read with one more than limit, to the page, and makes the cursor of the rest.
func cut[T any](items []T, limit int, key func(T) string) (page []T, next string) {
	if len(items) <= limit {
		return items, ""
	}
	page = items[:limit]
	return page, cursorOf(key(page[limit-1]))
}

// cursorOf is the next_cursor after the key, see [readPage].
func cursorOf(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }
