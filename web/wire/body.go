package wire

import (
	"strings"
)

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
