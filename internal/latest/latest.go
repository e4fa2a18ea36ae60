package latest

import "time"

// Of returns the latest of the times, or the zero time without any.
func Of(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}
