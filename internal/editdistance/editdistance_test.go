package editdistance

import "testing"

func TestOfCountsInsertionsDeletionsAndReplacements(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"WFM_HTP_ADDR", "WFM_HTTP_ADDR", 1}, {"ab", "ba", 2}} {
		if got := Of(tc.a, tc.b); got != tc.want {
			t.Errorf("Of(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}
