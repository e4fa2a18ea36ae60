package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
)

func (s *Server) openapiRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: "/api/openapi.json", access: accessGuarded, handle: s.openAPI,
			summary: "This description.",
			bare:    "application/json",
		},
	}
}

// object is a JSON object of the API's description.
type object = map[string]any

// described reports whether the route is part of the API's description.
func (r route) described() bool { return r.summary != "" }

func (r route) key() string { return r.method + " " + r.path }

// openAPI is the description of the API for machines, OpenAPI 3.0.
func (s *Server) openAPI(c echo.Context) error {
	raw, err := s.document()
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, raw)
}

// describe builds the description from the table and the types it names.
func describe(table []route, version string) ([]byte, error) {
	known := &schemas{named: map[string]any{}, types: map[string]reflect.Type{}}
	known.named["Error"] = errorSchema()
	paths := map[string]object{}
	for _, r := range table {
		if !r.described() {
			continue
		}
		path := pathTemplate(r.path)
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path][strings.ToLower(r.method)] = operation(r, known)
	}
	raw, err := json.Marshal(object{
		"openapi": "3.0.3",
		"info": object{
			"title": "WFM Appliance", "version": version,
			"description": "Success is {success: true, data}, an error {success: false, error: {code, message, detail}}. " +
				"Members of a request's object that are not described are ignored, and null counts as absent.",
		},
		"paths": paths,
		"components": object{
			"schemas": known.named,
			"securitySchemes": object{
				"token":  object{"type": "http", "scheme": "bearer", "description": "A session's access_token, or an API token."},
				"cookie": object{"type": "apiKey", "in": "cookie", "name": cookieName, "description": "A session's. A write needs a matching Origin besides."},
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the API's description: %w", err)
	}
	return raw, nil
}

func errorSchema() object {
	return object{
		"type": "object", "required": []string{"code", "message", "detail"}, "additionalProperties": false,
		"properties": object{
			"code":    object{"type": "string"},
			"message": object{"type": "string", "description": "What is wrong and what to do about it."},
			"detail": object{
				"type": "object", "additionalProperties": true,
				"description": "Empty when there is nothing to add. With VALIDATION_ERROR, fields says what is wrong with each. " +
					"With INVALID_TUNNEL_CONFIG, faults is a list of line (0 for the whole text) and problem; line and problem of the first stand beside it.",
			},
		},
	}
}

func operation(r route, known *schemas) object {
	o := object{
		"operationId": strings.ToLower(r.method) + strings.NewReplacer("/", "_", ":", "", "-", "_", ".", "_").Replace(r.path),
		"summary":     r.summary,
		"responses":   responses(r, known),
		"security":    []any{},
	}
	if rest, ok := strings.CutPrefix(r.path, "/api/v1/"); ok {
		tag, _, _ := strings.Cut(rest, "/")
		o["tags"] = []string{tag}
	}
	if r.access >= accessSession {
		o["security"] = []any{object{"token": []string{}}, object{"cookie": []string{}}}
	}
	if p := parameters(r); len(p) > 0 {
		o["parameters"] = p
	}
	if r.body != "" {
		schema, optional := bodySchema(r.body, r.items)
		o["requestBody"] = object{"required": !optional, "content": object{"application/json": object{"schema": schema}}}
	}
	return o
}

func parameters(r route) (all []any) {
	for part := range strings.SplitSeq(r.path, "/") {
		if name, ok := strings.CutPrefix(part, ":"); ok {
			all = append(all, object{"name": name, "in": "path", "required": true, "schema": object{"type": "string"}})
		}
	}
	for name := range strings.FieldsSeq(r.query) {
		all = append(all, object{"name": name, "in": "query", "schema": object{"type": "string"}})
	}
	if r.paged {
		all = append(all,
			object{"name": "limit", "in": "query", "schema": object{"type": "integer", "minimum": 1, "maximum": maxPage, "default": defaultPage}},
			object{"name": "cursor", "in": "query", "schema": object{"type": "string"}, "description": "The next_cursor of the page before."})
	}
	return all
}

// bodyMember is one member of a request's object.
type bodyMember struct {
	name     string
	required bool
	kind     string // string, bool, strings, objects, or the range of a whole number
}

// bodyMembers reads the body of a route.
func bodyMembers(body string) (all []bodyMember, optional bool) {
	body, optional = strings.CutPrefix(body, "?")
	for text := range strings.SplitSeq(body, ",") {
		f := strings.Fields(text)
		if len(f) == 0 {
			continue
		}
		m := bodyMember{kind: "string"}
		m.name, m.required = strings.CutSuffix(f[0], "!")
		if len(f) > 1 {
			m.kind = f[1]
		}
		all = append(all, m)
	}
	return all, optional
}

func bodySchema(body, items string) (schema object, optional bool) {
	all, optional := bodyMembers(body)
	properties := object{}
	var required []string
	for _, m := range all {
		if m.required {
			required = append(required, m.name)
		}
		switch m.kind {
		case "string":
			properties[m.name] = object{"type": "string"}
		case "bool":
			properties[m.name] = object{"type": "boolean"}
		case "objects":
			item, _ := bodySchema(items, "")
			properties[m.name] = object{"type": "array", "items": item}
		case "strings":
			properties[m.name] = object{"type": "array", "items": object{"type": "string"}}
		default:
			low, high, _ := strings.Cut(m.kind, "..")
			properties[m.name] = object{"type": "integer", "minimum": json.Number(low), "maximum": json.Number(high)}
		}
		if !m.required {
			nullable(properties[m.name])
		}
	}
	schema = object{"type": "object", "properties": properties}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema, optional
}

func responses(r route, known *schemas) object {
	out := object{"200": object{"description": "Success.", "content": successContent(r, known)}}
	byStatus := map[int][]string{}
	for _, code := range codesOf(r) {
		status := statusOf(code)
		name, _, _ := strings.Cut(code, "/")
		byStatus[status] = append(byStatus[status], name)
	}
	for status, codes := range byStatus {
		slices.Sort(codes)
		codes = slices.Compact(codes)
		out[strconv.Itoa(status)] = object{
			"description": strings.Join(codes, ", "),
			"content": object{"application/json": object{"schema": object{
				"type": "object", "required": []string{"success", "error"}, "additionalProperties": false,
				"properties": object{
					"success": object{"type": "boolean", "enum": []bool{false}},
					"error":   object{"$ref": "#/components/schemas/Error"},
				},
				"x-codes": codes,
			}}},
		}
	}
	if r.access != accessOpen && r.method == http.MethodGet {
		out["308"] = object{"description": "The same with HTTPS, where that is served."}
	}
	if r.path == "/readyz" {
		out["503"] = object{"description": "Not ready; the text says why.", "content": object{r.bare: object{}}}
	}
	return out
}

func successContent(r route, known *schemas) object {
	if r.bare != "" {
		return object{r.bare: object{}}
	}
	properties := object{
		"success": object{"type": "boolean", "enum": []bool{true}},
		"data":    known.of(reflect.TypeOf(r.data)),
	}
	if r.paged {
		properties["next_cursor"] = object{"type": "string", "description": "Asks for the rest; absent at the end."}
	}
	return object{"application/json": object{"schema": object{
		"type": "object", "required": []string{"success", "data"}, "properties": properties, "additionalProperties": false,
	}}}
}

// codesOf are the errors the route may answer.
func codesOf(r route) []string {
	codes := strings.Fields(r.codes)
	add := func(when bool, more string) {
		if when {
			codes = append(codes, strings.Fields(more)...)
		}
	}
	loggedIn := r.access >= accessSession
	writes := r.method != http.MethodGet
	add(true, codeInternal+"/500 SHUTTING_DOWN REQUEST_CANCELLED STORE_DAMAGED STORE_MOVED")
	add(r.access != accessOpen, "PUBLIC_HOST_REJECTED PUBLIC_ORIGIN_REJECTED")
	add(r.access != accessOpen && writes, "HTTPS_REQUIRED")
	add(loggedIn, "AUTH_REQUIRED AUTH_SETUP_REQUIRED INVALID_TOKEN TOKEN_EXPIRED")
	add(loggedIn && (writes || r.access > accessSession), "FORBIDDEN")
	add(writes || r.audited(), "STORE_FULL STORE_READ_ONLY STORE_DISK_ERROR")
	add(r.body != "" || r.paged, "VALIDATION_ERROR")
	add(r.body != "", "BAD_REQUEST PAYLOAD_TOO_LARGE/413")
	add(strings.Contains(r.path, ":config_id"), "CONFIG_NOT_FOUND")
	add(strings.Contains(r.path, ":node_id"), "NODE_NOT_FOUND")
	add(strings.HasPrefix(r.path, pathNode), "NODE_CONFIG_MISMATCH")
	return codes
}

// statusOf is the status that the code comes with; 0 for an unknown one.
func statusOf(code string) int {
	if _, status, ok := strings.Cut(code, "/"); ok {
		n, _ := strconv.Atoi(status)
		return n
	}
	for _, known := range answers {
		if known.code == code {
			return known.status
		}
	}
	return 0
}
