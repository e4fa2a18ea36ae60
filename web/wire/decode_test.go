package wire

import (
	"errors"
	"strings"
	"testing"
)

// FuzzFields checks that no body makes the readers panic, and that a refused body is refused with
// an InvalidError.
func FuzzFields(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `[]`, `{"name":"a","tags":["b"],"wait":3,"enabled":true}`, `{"name":null}`,
		`{"name":7,"tags":[1],"wait":"x","enabled":0}`, "{\"name\":\"\xff\"}", `{"wait":1e99}`, `{"name"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fields, err := parseFields(body)
		if err != nil {
			if _, ok := errors.AsType[*InvalidError](err); !ok {
				t.Fatalf("%q: %v is not an InvalidError", body, err)
			}
			return
		}
		name := fields.Text("name", Line(1, 32))
		fields.Need("interface_name", InterfaceName)
		fields.Texts("tags", 16, Line(1, 32))
		fields.Number("wait", 0, 60)
		fields.Flag("enabled")
		if name != nil && (*name == "" || strings.TrimSpace(*name) != *name) {
			t.Errorf("%q: name %q was taken", body, *name)
		}
	})
}
