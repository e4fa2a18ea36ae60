package download

import (
	"testing"
	"time"
)

func TestAGrantEndsAfterFiveMinutesAndTheOldestOneMakesRoom(t *testing.T) {
	var g grants[int]
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	first, expires := g.add(1, start)
	if want := start.Add(5 * time.Minute); !expires.Equal(want) {
		t.Errorf("expires %v, want %v", expires, want)
	}
	if v, ok := g.get(first, expires.Add(-1)); !ok || v != 1 {
		t.Errorf("%d %v", v, ok)
	}
	if _, ok := g.get(first, expires); ok || g.remove(first, expires) {
		t.Error("it is there after its end")
	}
	first, _ = g.add(1, start)
	for i := range mostGrants {
		g.add(i, start)
	}
	if _, ok := g.get(first, start); ok || len(g.all) != mostGrants {
		t.Errorf("%d grants, the first one %v", len(g.all), ok)
	}
	name, _ := g.add(7, start)
	if !g.remove(name, start) || g.remove(name, start) {
		t.Error("a grant is taken away twice, or never")
	}
}
