package openapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"wfm/web/wire"
)

// object is a JSON object of the API's description.
type object = map[string]any

// Describe returns the OpenAPI description of the routes, as JSON.
func Describe(table []wire.Route, version string) ([]byte, error) {
	known := &schemas{named: map[string]any{}, types: map[string]reflect.Type{}}
	known.named["Error"] = errorSchema()
	paths := map[string]object{}
	for _, r := range table {
		if !r.Described() {
			continue
		}
		path := wire.PathTemplate(r.Path)
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
				"cookie": object{"type": "apiKey", "in": "cookie", "name": wire.CookieName, "description": "A session's. A write needs a matching Origin besides."},
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
				"description": "Empty when there is nothing to add. With VALIDATION_ERROR, fields has the problem of each field. " +
					"With INVALID_TUNNEL_CONFIG, faults is a list of line (0 for the whole text) and problem; line and problem of the first stand beside it.",
			},
		},
	}
}

func operation(r wire.Route, known *schemas) object {
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
	if r.Access >= wire.Session {
		o["security"] = []any{object{"token": []string{}}, object{"cookie": []string{}}}
	}
	if p := parameters(r); len(p) > 0 {
		o["parameters"] = p
	}
	if r.Body != "" {
		schema, optional := bodySchema(r, r.Body)
		content := object{"application/json": object{"schema": schema}}
		if r.TextBody != "" {
			content[r.TextBody] = object{"schema": object{"type": "string"}}
		}
		o["requestBody"] = object{"required": !optional, "content": content}
	}
	return o
}

func parameters(r wire.Route) (all []any) {
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
			object{"name": "limit", "in": "query", "schema": object{"type": "integer", "minimum": 1, "maximum": wire.MaxPage, "default": wire.DefaultPage}},
			object{"name": "cursor", "in": "query", "schema": object{"type": "string"}, "description": "The next_cursor of the page before."})
	}
	return all
}

func bodySchema(r wire.Route, body string) (schema object, optional bool) {
	all, optional := wire.BodyMembers(body)
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
			item, _ := bodySchema(r, r.Items)
			properties[m.Name] = object{"type": "array", "items": item}
		case "object":
			properties[m.Name], _ = bodySchema(r, r.Objects[m.Name])
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

func responses(r wire.Route, known *schemas) object {
	out := object{"200": object{"description": "Success.", "content": successContent(r, known)}}
	byStatus := map[int][]string{}
	for _, code := range r.ErrorCodes() {
		status := wire.StatusOf(code)
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
	if r.Access != wire.Open && r.Method == http.MethodGet {
		out["308"] = object{"description": "The same with HTTPS, where that is served."}
	}
	if r.Path == "/readyz" {
		out["503"] = object{"description": "Not ready; the text says why.", "content": object{r.Bare: object{}}}
	}
	return out
}

func successContent(r wire.Route, known *schemas) object {
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
