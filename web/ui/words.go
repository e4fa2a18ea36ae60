package ui

import (
	"cmp"
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"wfm/protocol"
)

// Ago is how long ago t was, in its largest unit: "5 s ago". wfm.js words it the same way, so that
// the page goes on counting.
func Ago(now, t time.Time) string {
	d := now.Sub(t)
	if d < 0 {
		return "in " + Duration(-d)
	}
	if d < 2*time.Second {
		return "just now"
	}
	return Duration(d) + " ago"
}

// Duration is d in the largest unit that it fills.
func Duration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// moment takes a time or a pointer to one; nil is the zero time.
func moment(v any) (time.Time, error) {
	switch v := v.(type) {
	case time.Time:
		return v, nil
	case *time.Time:
		if v == nil {
			return time.Time{}, nil
		}
		return *v, nil
	}
	return time.Time{}, fmt.Errorf("%T is no time", v)
}

// day is the date of a moment, see moment; never for the zero time.
func day(v any) (string, error) {
	t, err := moment(v)
	if err != nil || t.IsZero() {
		return "never", err
	}
	return t.UTC().Format("2006-01-02"), nil
}

// whenHTML is a moment, see moment, as people read it; the exact one is its title. The zero time is
// never.
func whenHTML(v any) (template.HTML, error) {
	t, err := moment(v)
	if err != nil || t.IsZero() {
		return "never", err
	}
	t = t.UTC()
	//nolint:gosec // made of a time alone
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`,
		t.Format(time.RFC3339), t.Format("2006-01-02 15:04:05 UTC"), Ago(time.Now(), t))), nil
}

// Size is a number of bytes for people.
func Size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v := float64(n)
	for _, name := range []string{"KiB", "MiB", "GiB"} {
		if v /= unit; v < unit {
			return fmt.Sprintf("%.1f %s", v, name)
		}
	}
	return fmt.Sprintf("%.1f TiB", v/unit)
}

// count is a number with its noun: "1 node", "2 nodes", "2 meshes".
func count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "sh"):
		return strconv.Itoa(n) + " " + noun + "es"
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// Action names the action of a command in words. An unknown one is returned unchanged.
func Action(a protocol.Action) string { return cmp.Or(a.Spec().Name, string(a)) }

// syncWords returns the words for a sync state: whether a node has the latest tunnel config.
func syncWords(state any) string {
	if s := fmt.Sprint(state); s != "latest" {
		return s
	}
	return "up to date"
}

// Capital returns s with its first letter in upper case.
func Capital(s string) string {
	if s == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(s)
	return strings.ToUpper(string(first)) + s[size:]
}

// short is the beginning of a long key or hash.
func short(s string) string {
	const kept = 12
	if len(s) <= kept {
		return s
	}
	return s[:kept] + "…"
}

// list is texts as forms.js reads a list that somebody edits: separated by commas, and one that would
// not come back as it is in quotation marks, which are doubled in it.
func list(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		if quoted[i] = t; strings.ContainsAny(t, `,"`) {
			quoted[i] = `"` + strings.ReplaceAll(t, `"`, `""`) + `"`
		}
	}
	return strings.Join(quoted, ", ")
}
