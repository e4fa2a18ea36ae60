package openapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"
)

// schemas builds the schemas of Go types, as encoding/json encodes them. A struct has one schema,
// under the name of its type, which allows no other members.
type schemas struct {
	named map[string]any
	types map[string]reflect.Type // by name, to refuse two types of the same name
}

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
)

// of returns the type's schema. It panics if JSON cannot encode the type; a test builds the whole
// description.
func (s *schemas) of(t reflect.Type) any {
	switch t {
	case timeType:
		return object{"type": "string", "format": "date-time"}
	case rawType:
		return object{} // anything
	}
	switch t.Kind() {
	case reflect.Pointer:
		return nullable(s.of(t.Elem()))
	case reflect.Struct:
		return s.ref(t)
	case reflect.Slice, reflect.Array:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Interface:
		return object{}
	default:
		panic(fmt.Sprintf("no schema for %s", t))
	}
}

// nullable returns the schema with null allowed too. It wraps a reference, since OpenAPI 3.0 allows
// no other members beside one.
func nullable(schema any) any {
	o := schema.(object)
	if _, isRef := o["$ref"]; isRef {
		return object{"allOf": []any{o}, "nullable": true}
	}
	o["nullable"] = true
	return o
}

// ref returns a reference to the struct's schema, which it adds at the first call.
func (s *schemas) ref(t reflect.Type) any {
	name := schemaName(t)
	ref := object{"$ref": "#/components/schemas/" + name}
	if other, ok := s.types[name]; ok {
		if other != t {
			panic(fmt.Sprintf("%s and %s have one name in the API's description; rename one", other, t))
		}
		return ref
	}
	s.types[name] = t
	properties := object{}
	var required []string
	for _, m := range members(t) {
		properties[m.name] = s.of(m.of)
		if !m.optional {
			required = append(required, m.name)
		}
	}
	described := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		described["required"] = required
	}
	s.named[name] = described
	return ref
}

// schemaName returns the type's name, without the suffix View and with a capital letter.
func schemaName(t reflect.Type) string {
	name := []rune(strings.TrimSuffix(t.Name(), "View"))
	if len(name) == 0 {
		panic(fmt.Sprintf("%s has no name of its own to describe it under", t))
	}
	name[0] = unicode.ToUpper(name[0])
	// Initialisms at its beginning are words there: TLSService is described as TlsService.
	for i := 1; i+1 < len(name) && unicode.IsUpper(name[i]) && unicode.IsUpper(name[i+1]); i++ {
		name[i] = unicode.ToLower(name[i])
	}
	return string(name)
}

// jsonMember is one member of a struct's JSON object.
type jsonMember struct {
	name     string
	of       reflect.Type
	optional bool // omitted if empty
}

// members returns the members that encoding/json makes of the struct. Those of an embedded struct
// are promoted unless the struct has a member of the same name.
func members(t reflect.Type) []jsonMember {
	var own, embedded []jsonMember
	seen := map[string]bool{}
	for f := range t.Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" && opts == "":
			continue
		case f.Anonymous && name == "":
			embedded = append(embedded, members(f.Type)...)
			continue
		case !f.IsExported():
			continue
		case name == "":
			name = f.Name
		}
		seen[name] = true
		own = append(own, jsonMember{name, f.Type, strings.Contains(opts, "omit")})
	}
	for _, m := range embedded {
		if !seen[m.name] {
			own = append(own, m)
		}
	}
	return own
}
