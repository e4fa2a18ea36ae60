package wire

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// object is a JSON object of the API's description.
type object = map[string]any

// Describe returns the OpenAPI description of the routes, as JSON.
func Describe(table []Route, version string) ([]byte, error) {
	known := &schemas{named: map[string]any{}, types: map[string]reflect.Type{}}
	known.named["Error"] = errorSchema()
	paths := map[string]object{}
	for _, r := range table {
		if !r.Described() {
			continue
		}
		path := PathTemplate(r.Path)
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path][strings.ToLower(r.Method)] = operation(r, known)
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
				"cookie": object{"type": "apiKey", "in": "cookie", "name": CookieName, "description": "A session's. A write needs a matching Origin besides."},
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

func operation(r Route, known *schemas) object {
	o := object{
		"operationId": strings.ToLower(r.Method) + strings.NewReplacer("/", "_", ":", "", "-", "_", ".", "_").Replace(r.Path),
		"summary":     r.Summary,
		"responses":   responses(r, known),
		"security":    []any{},
	}
	if rest, ok := strings.CutPrefix(r.Path, "/api/v1/"); ok {
		tag, _, _ := strings.Cut(rest, "/")
		o["tags"] = []string{tag}
	}
	if r.Access >= Session {
		o["security"] = []any{object{"token": []string{}}, object{"cookie": []string{}}}
	}
	if p := parameters(r); len(p) > 0 {
		o["parameters"] = p
	}
	if r.Body != "" {
		schema, optional := r.bodySchema(r.Body)
		o["requestBody"] = object{"required": !optional, "content": object{"application/json": object{"schema": schema}}}
	}
	return o
}

func parameters(r Route) (all []any) {
	for part := range strings.SplitSeq(r.Path, "/") {
		if name, ok := strings.CutPrefix(part, ":"); ok {
			all = append(all, object{"name": name, "in": "path", "required": true, "schema": object{"type": "string"}})
		}
	}
	for name := range strings.FieldsSeq(r.Query) {
		all = append(all, object{"name": name, "in": "query", "schema": object{"type": "string"}})
	}
	if r.Paged {
		all = append(all,
			object{"name": "limit", "in": "query", "schema": object{"type": "integer", "minimum": 1, "maximum": MaxPage, "default": DefaultPage}},
			object{"name": "cursor", "in": "query", "schema": object{"type": "string"}, "description": "The next_cursor of the page before."})
	}
	return all
}

// BodyMember describes one member of a request's object.
type BodyMember struct {
	Name     string
	Required bool
	Kind     string // string, bool, strings, value, object, objects, or the range of a whole number
}

// BodyMembers parses [Route.Body].
func BodyMembers(body string) (all []BodyMember, optional bool) {
	body, optional = strings.CutPrefix(body, "?")
	for text := range strings.SplitSeq(body, ",") {
		f := strings.Fields(text)
		if len(f) == 0 {
			continue
		}
		m := BodyMember{Kind: "string"}
		m.Name, m.Required = strings.CutSuffix(f[0], "!")
		if len(f) > 1 {
			m.Kind = f[1]
		}
		all = append(all, m)
	}
	return all, optional
}

func (r Route) bodySchema(body string) (schema object, optional bool) {
	all, optional := BodyMembers(body)
	properties := object{}
	var required []string
	for _, m := range all {
		if m.Required {
			required = append(required, m.Name)
		}
		switch m.Kind {
		case "string":
			properties[m.Name] = object{"type": "string"}
		case "bool":
			properties[m.Name] = object{"type": "boolean"}
		case "objects":
			item, _ := r.bodySchema(r.Items)
			properties[m.Name] = object{"type": "array", "items": item}
		case "object":
			properties[m.Name], _ = r.bodySchema(r.Objects[m.Name])
		case "value":
			properties[m.Name] = object{"oneOf": []any{object{"type": "string"}, object{"type": "integer"}}}
		case "strings":
			properties[m.Name] = object{"type": "array", "items": object{"type": "string"}}
		default:
			low, high, _ := strings.Cut(m.Kind, "..")
			properties[m.Name] = object{"type": "integer", "minimum": json.Number(low), "maximum": json.Number(high)}
		}
		if !m.Required {
			nullable(properties[m.Name])
		}
	}
	schema = object{"type": "object", "properties": properties}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema, optional
}

func responses(r Route, known *schemas) object {
	out := object{"200": object{"description": "Success.", "content": successContent(r, known)}}
	byStatus := map[int][]string{}
	for _, code := range r.ErrorCodes() {
		status := StatusOf(code)
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
	if r.Access != Open && r.Method == http.MethodGet {
		out["308"] = object{"description": "The same with HTTPS, where that is served."}
	}
	if r.Path == "/readyz" {
		out["503"] = object{"description": "Not ready; the text says why.", "content": object{r.Bare: object{}}}
	}
	return out
}

func successContent(r Route, known *schemas) object {
	if r.Bare != "" {
		return object{r.Bare: object{}}
	}
	properties := object{
		"success": object{"type": "boolean", "enum": []bool{true}},
		"data":    known.of(reflect.TypeOf(r.Data)),
	}
	if r.Paged {
		properties["next_cursor"] = object{"type": "string", "description": "Asks for the rest; absent at the end."}
	}
	return object{"application/json": object{"schema": object{
		"type": "object", "required": []string{"success", "data"}, "properties": properties, "additionalProperties": false,
	}}}
}

// ErrorCodes returns the codes of the errors that the route may answer.
func (r Route) ErrorCodes() []string {
	codes := strings.Fields(r.Codes)
	add := func(when bool, more string) {
		if when {
			codes = append(codes, strings.Fields(more)...)
		}
	}
	loggedIn := r.Access >= Session
	writes := r.Method != http.MethodGet
	add(true, CodeInternal+"/500 SHUTTING_DOWN REQUEST_CANCELLED STORE_DAMAGED STORE_MOVED")
	add(r.Access != Open, "PUBLIC_HOST_REJECTED PUBLIC_ORIGIN_REJECTED")
	add(r.Access != Open && writes, "HTTPS_REQUIRED")
	add(loggedIn, "AUTH_REQUIRED AUTH_SETUP_REQUIRED INVALID_TOKEN TOKEN_EXPIRED")
	add(loggedIn && (writes || r.Access > Session), "FORBIDDEN")
	add(writes || r.Audited(), "STORE_FULL STORE_READ_ONLY STORE_DISK_ERROR")
	add(r.Body != "" || r.Paged, "VALIDATION_ERROR")
	add(r.Body != "", "BAD_REQUEST PAYLOAD_TOO_LARGE/413")
	add(strings.Contains(r.Path, ":config_id"), "CONFIG_NOT_FOUND")
	add(strings.Contains(r.Path, ":node_id"), "NODE_NOT_FOUND")
	add(strings.HasPrefix(r.Path, PathNode), "NODE_CONFIG_MISMATCH")
	return codes
}

// Codes returns the codes in answers. Errors with fields of their own have other codes.
func Codes() []string {
	all := make([]string, len(answers))
	for i, known := range answers {
		all[i] = known.code
	}
	return all
}

// StatusOf returns the status of a code, or 0 if the code is unknown.
func StatusOf(code string) int {
	if _, status, ok := strings.Cut(code, "/"); ok {
		n, _ := strconv.Atoi(status)
		return n
	}
	for _, known := range answers {
		if known.code == code {
			return known.status
		}
	}
	return meshStatuses[code]
}
