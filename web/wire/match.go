package wire

import (
	"slices"
	"strings"
)

// Matches reports whether path fits the route. Dots are not a parameter: browsers resolve them.
func Matches(route, path string) bool {
	parts := strings.Split(path, "/")
	want := strings.Split(route, "/")
	return slices.EqualFunc(want, parts, func(want, part string) bool {
		if strings.HasPrefix(want, ":") {
			return part != "" && part != "." && part != ".."
		}
		return part == want
	})
}
