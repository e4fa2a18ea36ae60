package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
)

// BodyLimit is the size limit of most request bodies, in bytes.
const BodyLimit = 64 << 10

// Fields reads the members of a JSON object one by one and collects the faults, so that one answer
// names them all. A null member counts as absent. Members that no caller reads are ignored.
type Fields struct {
	route string // of the request
	raw   map[string]json.RawMessage
	bad   map[string]string // the problem by field; never the value
}

// OnAsk is set by tests only. It is called for each read of a request's body: with no name and
// [AskBody] if the route needs a body, with a member and its kind, and with a member and
// [AskRequired]. With it a test checks that the API's description has exactly the members that
// handlers read.
var OnAsk func(route, name, what string)

// Values of OnAsk's what, besides the kinds.
const (
	AskBody     = "a body"
	AskRequired = "required"
)

func (f *Fields) ask(name, what string) {
	if OnAsk != nil {
		OnAsk(f.route, name, what)
	}
}

// ReadBody reads the JSON object in the request's body, of at most limit bytes. A missing body is
// an [*InvalidError].
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

// ReadOptionalBody is like ReadBody but accepts a missing body.
func ReadOptionalBody(c echo.Context, limit int64) (*Fields, error) {
	body, err := ReadText(c, limit)
	if err != nil {
		return nil, err
	}
	f, err := parseFields([]byte(body))
	if err != nil {
		return nil, err
	}
	f.route = c.Request().Method + " " + c.Path()
	return f, nil
}

// ReadText returns the request's body, of at most limit bytes.
func ReadText(c echo.Context, limit int64) (string, error) {
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return "", err
	case err != nil:
		return "", fmt.Errorf("%w: %w", errBodyBroken, err)
	}
	return string(body), nil
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
		return nil, &InvalidError{Message: fmt.Sprintf("The request body is not valid JSON (at byte %d).", syntax.Offset)}
	case err != nil || body[0] != '{':
		return nil, &InvalidError{Message: "The request body must be a JSON object."}
	case !utf8.Valid(body):
		return nil, &InvalidError{Message: "The request body is not valid UTF-8."}
	}
	return f, nil
}

// Reject records a problem of a field. Only the first problem of each field counts.
func (f *Fields) Reject(name, problem string) {
	if f.bad == nil {
		f.bad = map[string]string{}
	}
	if _, ok := f.bad[name]; !ok {
		f.bad[name] = problem
	}
}

// Given reports whether the object has the field and it is not null.
func (f *Fields) Given(name string) bool {
	raw, ok := f.raw[name]
	return ok && string(raw) != "null"
}

// Names returns the names of the object's members, in order.
func (f *Fields) Names() []string { return slices.Sorted(maps.Keys(f.raw)) }

// Null reports whether the object has the field and it is null.
func (f *Fields) Null(name string) bool { return string(f.raw[name]) == "null" }

// Faults returns the rejected fields, each with its problem.
func (f *Fields) Faults() map[string]string { return f.bad }

// Err returns an [*InvalidError] with the rejected fields, or nil if there are none.
func (f *Fields) Err() error {
	if len(f.bad) == 0 {
		return nil
	}
	return &InvalidError{Fields: f.bad}
}

// take reads a field. It returns nil if the field is absent or has the wrong type.
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

// Text reads a string that passes check. It returns nil if the field is absent or rejected.
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

// Flag reads a boolean. It returns nil if the field is absent or rejected.
func (f *Fields) Flag(name string) *bool { return take[bool](f, name, "true or false") }

// Number reads a whole number from low to high. It returns nil if the field is absent or rejected.
func (f *Fields) Number(name string, low, high int) *int {
	kind := fmt.Sprintf("a whole number from %d to %d", low, high)
	v := take[int](f, name, kind)
	if v != nil && (*v < low || *v > high) {
		f.Reject(name, "must be "+kind)
		return nil
	}
	return v
}

// Value reads a string, or a number as a string, that passes check. It returns nil if the field is
// absent or rejected.
func (f *Fields) Value(name string, check Rule) *string {
	v := take[scalar](f, name, kindValue)
	if v == nil {
		return nil
	}
	clean, problem := check(string(*v))
	if problem != "" {
		f.Reject(name, problem)
		return nil
	}
	return &clean
}

const kindValue = "a string or a whole number"

// scalar is a string, or the digits of a whole number.
type scalar string

// UnmarshalJSON takes both.
func (s *scalar) UnmarshalJSON(raw []byte) error {
	var n int64
	if err := json.Unmarshal(raw, &n); err == nil {
		*s = scalar(strconv.FormatInt(n, 10))
		return nil
	}
	return json.Unmarshal(raw, (*string)(s))
}

// Object reads a JSON object. The caller reads its members like the request's own and passes the
// faults to [Fields.AbsorbObject]. It returns nil if the field is absent or rejected.
func (f *Fields) Object(name string) *Fields {
	v := take[map[string]json.RawMessage](f, name, "an object")
	if v == nil {
		return nil
	}
	return &Fields{raw: *v}
}

// AbsorbObject records the faults of an object's members, under names like forward.allowed_ips.
func (f *Fields) AbsorbObject(name string, members map[string]string) {
	for member, problem := range members {
		f.Reject(name+"."+member, problem)
	}
}

// Texts reads a list of at most limit strings, each of which has to pass check.
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

// Objects reads a list of 1 to limit JSON objects. The caller reads their members like the
// request's own and passes the faults to [Fields.Absorb]. An entry that is not an object is
// rejected under its index and is nil.
func (f *Fields) Objects(name string, limit int) []*Fields {
	f.ask(name, AskRequired)
	if !f.Given(name) {
		f.Reject(name, "is required")
	}
	return f.objects(name, 1, limit)
}

// OptionalObjects is like Objects for a list that may be absent or empty.
func (f *Fields) OptionalObjects(name string, limit int) []*Fields { return f.objects(name, 0, limit) }

func (f *Fields) objects(name string, least, limit int) []*Fields {
	v := take[[]json.RawMessage](f, name, "a list of objects")
	if v == nil {
		return nil
	}
	if len(*v) < least || len(*v) > limit {
		f.Reject(name, fmt.Sprintf("must have %d to %d entries", least, limit))
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

// Absorb records the faults of the row at index i of the list, under names like nodes[3].name.
func (f *Fields) Absorb(list string, i int, row map[string]string) {
	for name, problem := range row {
		f.Reject(Indexed(list, i)+"."+name, problem)
	}
}

// Indexed returns the name of a list's entry in detail.fields.
func Indexed(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

// Need is Text for a required field. It returns "" if the field is absent or rejected.
func (f *Fields) Need(name string, check Rule) string {
	v := f.Text(name, check)
	f.Require(name, v != nil)
	return Or(v, "")
}

// Require rejects a required field unless it is there.
func (f *Fields) Require(name string, there bool) {
	f.ask(name, AskRequired)
	if !there {
		f.Reject(name, "is required")
	}
}

// Or returns *v, or otherwise if v is nil.
func Or[T any](v *T, otherwise T) T {
	if v == nil {
		return otherwise
	}
	return *v
}

// The sizes of a page of a list.
const (
	DefaultPage = 100
	MaxPage     = 500
)

// ReadPage reads the query parameters limit and cursor. An error is an [*InvalidError].
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

// ReadCountedPage is ReadPage for lists in descending order of a counter. before is 0 for the first
// page.
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

// Cut splits items into a page of at most limit items and a rest. next is the cursor of the rest,
// or "" if there is none. Callers read limit+1 items to find out.
func Cut[T any](items []T, limit int, key func(T) string) (page []T, next string) {
	if len(items) <= limit {
		return items, ""
	}
	page = items[:limit]
	return page, CursorOf(key(page[limit-1]))
}

// CursorOf returns the cursor of the items after key, for [ReadPage].
func CursorOf(key string) string { return base64.RawURLEncoding.EncodeToString([]byte(key)) }

// Ignored returns a sentence for each of the members that the object has, to say that it was
// ignored. Null and "" count as absent.
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
