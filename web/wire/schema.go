package wire

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"
)

// schemas describes Go types as encoding/json writes them. A struct is described once, under the
// name of its type, and allows no member that it does not have.
type schemas struct {
	named map[string]any
	types map[string]reflect.Type // by name, so that no two types get the same
}

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
)

// of returns the type's schema. It panics for a type that is no JSON; a test builds the whole
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

// nullable allows null too. Beside a reference OpenAPI 3.0 allows nothing, so one is wrapped.
func nullable(schema any) any {
	o := schema.(object)
	if _, isRef := o["$ref"]; isRef {
		return object{"allOf": []any{o}, "nullable": true}
	}
	o["nullable"] = true
	return o
}

// ref describes the struct, once, and refers to it.
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

// schemaName is the type's name without what only the code needs it for.
func schemaName(t reflect.Type) string {
	name := []rune(strings.TrimSuffix(t.Name(), "View"))
	if len(name) == 0 {
		panic(fmt.Sprintf("%s has no name of its own to describe it under", t))
	}
	name[0] = unicode.ToUpper(name[0])
	return string(name)
}

// jsonMember is one member of a struct's JSON object.
type jsonMember struct {
	name     string
	of       reflect.Type
	optional bool // left out when it has nothing to say
}

// members are what encoding/json makes of the struct; those of an embedded one stand beside its own,
// which win.
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
