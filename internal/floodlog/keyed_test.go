package floodlog

import (
	"strconv"
	"testing"
	"time"
)

func TestRepetitionsAreSummedUp(t *testing.T) {
	k := NewKeyed(time.Hour)
	now := time.Unix(1_700_000_000, 0)
	lines, left := 0, 0
	for i := range 2 * 3600 / 5 { // every 5 s for two hours
		n, ok := k.Take("node_a", now.Add(time.Duration(i)*5*time.Second))
		if ok {
			lines++
			left += n
		}
	}
	if lines != 2 || left != 719 {
		t.Errorf("%d lines, %d left out; want 2 and 719", lines, left)
	}
	if _, ok := k.Take("node_b", now); !ok {
		t.Error("another key is held back too")
	}
	if _, ok := k.Take("node_a", now.Add(-24*time.Hour)); !ok {
		t.Error("nothing is logged after the clock was set back")
	}
}

func TestKeysAreBounded(t *testing.T) {
	k := NewKeyed(time.Hour)
	now := time.Unix(1_700_000_000, 0)
	for i := range 3 * maxKeys {
		if _, ok := k.Take(strconv.Itoa(i), now); !ok {
			t.Fatal("a new key is held back")
		}
	}
	if len(k.seen) > maxKeys {
		t.Errorf("%d keys are remembered", len(k.seen))
	}
}
