package retry

import "time"

// Pause returns the pause after an attempt that failed: first, doubled for each failure before that
// one, and at most most.
func Pause(first, most time.Duration, failedBefore int) time.Duration {
	for range min(failedBefore, 63) { // no duration can be doubled more often
		if first > most/2 {
			return most
		}
		first *= 2
	}
	return min(first, most)
}
