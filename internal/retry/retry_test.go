package retry

import (
	"math"
	"testing"
	"time"
)

func TestPauseGrowsToTheMostAndStays(t *testing.T) {
	tests := []struct {
		first, most  time.Duration
		failedBefore int
		want         time.Duration
	}{
		{time.Second, time.Minute, -1, time.Second},
		{time.Second, time.Minute, 0, time.Second},
		{time.Second, time.Minute, 5, 32 * time.Second},
		{time.Second, time.Minute, 6, time.Minute},
		{time.Second, 64 * time.Second, 6, 64 * time.Second},
		{time.Second, time.Minute, math.MaxInt, time.Minute},
		{time.Nanosecond, math.MaxInt64, math.MaxInt, math.MaxInt64},
		{time.Minute, time.Second, 0, time.Second},
		{3, 7, 1, 6},
		{3, 7, 2, 7},
		{0, time.Minute, math.MaxInt, 0},
	}
	for _, tt := range tests {
		if got := Pause(tt.first, tt.most, tt.failedBefore); got != tt.want {
			t.Errorf("Pause(%s, %s, %d) = %s, want %s", tt.first, tt.most, tt.failedBefore, got, tt.want)
		}
	}
}
