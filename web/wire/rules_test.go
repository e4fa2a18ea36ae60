package wire

import (
	"strings"
	"testing"
	"time"
)

func TestRetryAfterIsAtLeastASecondAndRoundedUp(t *testing.T) {
	for wait, want := range map[time.Duration]int{
		-time.Second: 1, 0: 1, 1: 1, time.Second: 1, time.Second + 1: 2, 5900 * time.Millisecond: 6, time.Minute: 60,
	} {
		if got := (&RateError{Wait: wait}).Seconds(); got != want {
			t.Errorf("%s: %d, want %d", wait, got, want)
		}
	}
}

func TestEachRuleSaysWhatIsWrongAtItsBounds(t *testing.T) {
	x := func(n int) string { return strings.Repeat("ü", n) }
	for name, tc := range map[string]struct {
		rule  Rule
		texts map[string]string // to the problem, "" for none
	}{
		"a line of one to four": {Line(1, 4), map[string]string{
			"": "must not be empty", "  ": "must not be empty", "a": "", " a ": "", x(4): "", x(5): "must have 1 to 4 characters",
			"a\nb": "must not contain control or invisible characters", "a\u202eb": "must not contain control or invisible characters",
		}},
		"a line of two to four": {
			Line(2, 4),
			map[string]string{"": "must have 2 to 4 characters", "a": "must have 2 to 4 characters", "ab": "", x(4): "", x(5): "must have 2 to 4 characters"},
		},
		"a line of none to four": {Line(0, 4), map[string]string{"": "", x(4): "", x(5): "must have 0 to 4 characters"}},
		"prose": {Prose(4), map[string]string{
			"": "", x(4): "", x(5): "must have at most 4 characters", "a\n\tb": "", "a\x00b": "must not contain control or invisible characters",
		}},
		"a choice":    {OneOf("a", "b"), map[string]string{"a": "", "b": "", "": "must be one of a, b", "c": "must be one of a, b"}},
		"a config":    {ConfText, map[string]string{"": "must not be empty", " ": "", "x\x00": ""}},
		"AWG version": {AWGVersion, map[string]string{"": "", "2.0": "", "9.9": "must be empty or a version of AmneziaWG: 1.5, 2.0 or 3.1"}},
		"an interface": {InterfaceName, map[string]string{
			"": "", "wg0": "", strings.Repeat("w", 15): "", strings.Repeat("w", 64): "", strings.Repeat("w", 65): LinuxInterface, "-w": LinuxInterface,
			"a b": LinuxInterface,
		}},
	} {
		for text, want := range tc.texts {
			clean, problem := tc.rule(text)
			if problem != want || problem != "" && clean != "" {
				t.Errorf("%s, %q: %q and %q, want %q", name, text, clean, problem, want)
			}
		}
	}
}
