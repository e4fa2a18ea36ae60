package nodelist_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"wfm/web/view/nodelist"
)

func TestNamesAreInTheOrderInWhichPeopleCount(t *testing.T) {
	want := strings.Fields("a1 A2 a02 a10 a10b a0011 b Büro büro1 n1x2 n1x10 n2x1 z")
	for range 200 {
		got := slices.Clone(want)
		rand.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		slices.SortFunc(got, nodelist.Natural)
		if !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

func FuzzTheOrderOfNamesIsTotal(f *testing.F) {
	f.Add("a1", "A01", "b10")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if nodelist.Natural(a, b) != -nodelist.Natural(b, a) && (nodelist.Natural(a, b) < 0) == (nodelist.Natural(b, a) < 0) {
			t.Errorf("%q and %q", a, b)
		}
		if (nodelist.Natural(a, b) == 0) != (a == b) {
			t.Errorf("%q equals %q", a, b)
		}
		if nodelist.Natural(a, b) < 0 && nodelist.Natural(b, c) < 0 && nodelist.Natural(a, c) >= 0 {
			t.Errorf("%q, %q, %q", a, b, c)
		}
	})
}
