package environ

import (
	"slices"
	"strings"

	"wfm/internal/editdistance"
)

// Variable is a variable that is set but unknown to the program.
type Variable struct {
	Name string
	// Nearest is the known name closest to Name, or "" if none is close.
	Nearest string
}

// Set returns the names, sorted, of the variables in environ (as [os.Environ] returns them) that
// begin with prefix and have a value.
func Set(environ []string, prefix string) (names []string) {
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if value != "" && strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Unknown returns those of the names that are not known, each with the known name nearest to it.
func Unknown(names, known []string) (unknown []Variable) {
	for _, name := range names {
		if !slices.Contains(known, name) {
			unknown = append(unknown, Variable{name, nearest(name, known)})
		}
	}
	return unknown
}

// nearest returns the known name with the fewest edits from name, or "" if none is close enough for
// a name of that length.
func nearest(name string, known []string) (best string) {
	limit := max(2, len(name)/5)
	for _, k := range known {
		if d := editdistance.Of(strings.ToUpper(name), k); d <= limit {
			best, limit = k, d-1
		}
	}
	return best
}
