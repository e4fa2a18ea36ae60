package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
)

// BodyLimit is the limit of most requests' bodies, in bytes.
const BodyLimit = 64 << 10

// Fields reads the members of a JSON object one by one, and gathers what is wrong with them, so
// that one answer names every fault. A member that is null counts as absent; members nobody asks
// for are ignored.
type Fields struct {
	route string // whose body it is
	raw   map[string]json.RawMessage
	bad   map[string]string // field → what is wrong with it; never the value
}

// OnAsk is set by tests alone. It is told what each route asks of its body: whether there must be one
// (no name), of which kind a member is, and that it is required. So the API's description is held
// to what the handlers read.
var OnAsk func(route, name, what string)

// What OnAsk is told besides the kinds.
const (
	AskBody     = "a body"
	AskRequired = "required"
)

func (f *Fields) ask(name, what string) {
	if OnAsk != nil {
		OnAsk(f.route, name, what)
	}
}

// ReadBody reads the request's JSON object.
func ReadBody(c echo.Context, limit int64) (*Fields, error) {
	f, err := ReadOptionalBody(c, limit)
	if err != nil {
		return nil, err
	}
	f.ask("", AskBody)
	if f.raw == nil {
		return nil, &InvalidError{Message: "The request has no body; send a JSON object."}
	}
	return f, nil
}

// ReadOptionalBody is ReadBody for requests that may come without one.
func ReadOptionalBody(c echo.Context, limit int64) (*Fields, error) {
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

func parseFields(body []byte) (*Fields, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return &Fields{}, nil
	}
	f := &Fields{raw: map[string]json.RawMessage{}}
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(body, &f.raw); {
	case errors.As(err, &syntax):
		return nil, &InvalidError{Message: fmt.Sprintf("The request body is no valid JSON (at byte %d).", syntax.Offset)}
	case err != nil || body[0] != '{':
		return nil, &InvalidError{Message: "The request body must be a JSON object."}
	case !utf8.Valid(body):
		return nil, &InvalidError{Message: "The request body is no valid UTF-8."}
	}
	return f, nil
}

// Reject notes what is wrong with a field; the first fault stays.
func (f *Fields) Reject(name, problem string) {
	if f.bad == nil {
		f.bad = map[string]string{}
	}
	if _, ok := f.bad[name]; !ok {
		f.bad[name] = problem
	}
}

// Given reports whether the object has the field, and not null.
func (f *Fields) Given(name string) bool {
	raw, ok := f.raw[name]
	return ok && string(raw) != "null"
}

// Faults are the fields that were rejected, and what is wrong with each.
func (f *Fields) Faults() map[string]string { return f.bad }

// Err is nil as long as no field was rejected.
func (f *Fields) Err() error {
	if len(f.bad) == 0 {
		return nil
	}
	return &InvalidError{Fields: f.bad}
}

// take reads a field, or returns nil when it is absent or of the wrong type.
func take[T any](f *Fields, name, kind string) *T {
	f.ask(name, kind)
	if !f.Given(name) {
		return nil
	}
	v := new(T)
	if err := json.Unmarshal(f.raw[name], v); err != nil {
		f.Reject(name, "must be "+kind)
		return nil
	}
	return v
}

// Text reads a string that passes check; nil when it is absent or wrong.
func (f *Fields) Text(name string, check Rule) *string {
	v := take[string](f, name, "a string")
	if v == nil {
		return nil
	}
	clean, problem := check(*v)
	if problem != "" {
		f.Reject(name, problem)
		return nil
	}
	return &clean
}

// Flag reads a boolean; nil when it is absent or wrong.
func (f *Fields) Flag(name string) *bool { return take[bool](f, name, "true or false") }

// Number reads a whole number from low to high; nil when it is absent or wrong.
func (f *Fields) Number(name string, low, high int) *int {
	kind := fmt.Sprintf("a whole number from %d to %d", low, high)
	v := take[int](f, name, kind)
	if v != nil && (*v < low || *v > high) {
		f.Reject(name, "must be "+kind)
		return nil
	}
	return v
}

// Texts reads a list of at most limit strings, each of which passes check.
func (f *Fields) Texts(name string, limit int, check Rule) []string {
	v := take[[]string](f, name, "a list of strings")
	if v == nil {
		return nil
	}
	if len(*v) > limit {
		f.Reject(name, fmt.Sprintf("must have at most %d entries", limit))
		return nil
	}
	out := make([]string, 0, len(*v))
	for _, entry := range *v {
		clean, problem := check(entry)
		if problem != "" {
			f.Reject(name, "each entry "+problem)
			return nil
		}
		out = append(out, clean)
	}
	return out
}

// Objects reads a list of 1 to limit JSON objects, whose members are then read like the request's own.
// See [fields.absorb]. An entry that is no object is rejected by its place, and nil.
func (f *Fields) Objects(name string, limit int) []*Fields {
	v := take[[]json.RawMessage](f, name, "a list of objects")
	f.Require(name, v != nil)
	if v == nil {
		return nil
	}
	if len(*v) == 0 || len(*v) > limit {
		f.Reject(name, fmt.Sprintf("must have 1 to %d entries", limit))
		return nil
	}
	rows := make([]*Fields, len(*v))
	for i, entry := range *v {
		row := &Fields{}
		if err := json.Unmarshal(entry, &row.raw); err != nil || row.raw == nil {
			f.Reject(Indexed(name, i), "must be an object")
			continue
		}
		rows[i] = row
	}
	return rows
}

// Absorb notes what is wrong with the row at index i of the list, under names like nodes[3].name.
func (f *Fields) Absorb(list string, i int, row map[string]string) {
	for name, problem := range row {
		f.Reject(Indexed(list, i)+"."+name, problem)
	}
}

// Indexed is how an entry of a list is named in detail.fields.
func Indexed(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

// Need is text for a field that must be there; "" when it is not or is wrong.
func (f *Fields) Need(name string, check Rule) string {
	v := f.Text(name, check)
	f.Require(name, v != nil)
	return Or(v, "")
}

// Require rejects a field that must be there and is not.
func (f *Fields) Require(name string, there bool) {
	f.ask(name, AskRequired)
	if !there {
		f.Reject(name, "is required")
	}
}

// Or is what v points at, or otherwise if v is nil.
func Or[T any](v *T, otherwise T) T {
	if v == nil {
		return otherwise
	}
	return *v
}

// Sizes of a page of a list.
const (
	DefaultPage = 100
	MaxPage     = 500
)

// ReadPage reads ?limit and ?cursor.
func ReadPage(c echo.Context) (limit int, cursor string, err error) {
	f := &Fields{}
	limit = DefaultPage
	if raw := c.QueryParam("limit"); raw != "" {
		limit, err = strconv.Atoi(raw)
		if err != nil || limit < 1 || limit > MaxPage {
			f.Reject("limit", fmt.Sprintf("must be a whole number from 1 to %d", MaxPage))
		}
	}
	key, err := base64.RawURLEncoding.DecodeString(c.QueryParam("cursor"))
	if err != nil {
		f.Reject("cursor", "must be the next_cursor of a former answer")
	}
	return limit, string(key), f.Err()
}

// ReadCountedPage is ReadPage for lists that are ordered by a counter, newest first.
func ReadCountedPage(c echo.Context) (limit int, before uint64, err error) {
	limit, key, err := ReadPage(c)
	if err != nil || key == "" {
		return limit, 0, err
	}
	before, err = strconv.ParseUint(key, 10, 64)
	if err != nil || before == 0 {
		f := &Fields{}
		f.Reject("cursor", "must be the next_cursor of a former answer")
		return limit, 0, f.Err()
	}
	return limit, before, nil
}

// Cut shortens items, read with one more than limit, to the page, and makes the cursor of the rest.
func Cut[T any](items []T, limit int, key func(T) string) (page []T, next string) {
	if len(items) <= limit {
		return items, ""
	}
	page = items[:limit]
	return page, CursorOf(key(page[limit-1]))
}

// CursorOf is the next_cursor after the key, see [ReadPage].
func CursorOf(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

// Ignored returns a sentence for each of the members that the request's object has. Null and an
// empty string ask for nothing.
func (f *Fields) Ignored(members []string) []string {
	sentences := []string{}
	for name, raw := range f.raw {
		if v := string(raw); slices.Contains(members, name) && v != "null" && v != `""` {
			sentences = append(sentences, name+": ignored, it has no meaning here; the node's tunnel config (PUT applied-conf) decides")
		}
	}
	slices.SortFunc(sentences, strings.Compare)
	return sentences
}
