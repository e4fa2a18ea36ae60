package presence

import (
	"testing"
	"time"

	"wfm/store"
)

func TestTwoMachinesAreToldFromOneThatReconnects(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	// Each letter is a machine's address, instance or boot id; "-" is none.
	for name, tc := range map[string]struct {
		address, instance, boot string
		every                   time.Duration
		want                    bool
	}{
		"two addresses":                          {"abab", "----", "----", 5 * time.Second, true},
		"two addresses, boot ids as deployed":    {"abab", "----", "1234", 5 * time.Second, true},
		"three addresses":                        {"abcabc", "------", "------", 5 * time.Second, true},
		"two takeovers only":                     {"aba", "---", "---", 5 * time.Second, false},
		"too slow":                               {"abababab", "--------", "--------", 70 * time.Second, false},
		"one address":                            {"aaaaaaaa", "--------", "12345678", 5 * time.Second, false},
		"one address, more often than one agent": {"aaaaaaaaaa", "----------", "1234567890", 5 * time.Second, true},
		"one agent of ours, as often":            {"aaaaaaaaaa", "xxxxxxxxxx", "1234567890", 5 * time.Second, false},
		"one address, two boot ids":              {"aaaaa", "-----", "1212-", 5 * time.Second, true},
		"one address, rebooting":                 {"aaaaaa", "------", "112233", 5 * time.Second, false},
		"a new address each time":                {"abcdef", "------", "------", 5 * time.Second, false},
		"one move":                               {"aabb", "----", "----", 5 * time.Second, false},
		"there and back":                         {"abaa", "----", "----", 5 * time.Second, false},
		"two agents at one address":              {"aaaa", "xyxy", "1111", 5 * time.Second, true},
		"one agent with two uplinks":             {"ababab", "xxxxxx", "111111", 5 * time.Second, false},
		"one agent that restarts":                {"aaaa", "wxyz", "1111", 5 * time.Second, false},
		"one agent that restarts, two addresses": {"abab", "wxyz", "1111", 5 * time.Second, false},
		"one says what it is":                    {"abab", "x-x-", "1-1-", 5 * time.Second, true},
	} {
		var all []Arrival
		value := func(s string, i int) string {
			if s[i] == '-' {
				return ""
			}
			return s[i : i+1]
		}
		for i := range tc.address {
			all = append(all, Arrival{
				At: start.Add(time.Duration(i) * tc.every), Address: value(tc.address, i), Instance: value(tc.instance, i), BootID: value(tc.boot, i),
			})
		}
		if got := TwoMachines(all, all[len(all)-1].At); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestConflictEndsByItself(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	e := store.Evidence{IdentityConflict: &store.IdentityConflict{Since: at, TakenOverAt: at.Add(time.Minute)}}
	if Conflict(e, at.Add(10*time.Minute)) == nil || Conflict(e, at.Add(11*time.Minute)) != nil || Conflict(store.Evidence{}, at) != nil {
		t.Error("a conflict does not last for ten minutes after the last takeover")
	}
}
