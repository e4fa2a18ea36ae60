package page

import (
	"net/netip"
	"testing"

	"wfm/store"
)

func TestThePageOfAMeshLeadsToLinksBeforeItLeadsToApplying(t *testing.T) {
	subnet := netip.MustParsePrefix("10.66.0.0/24")
	for _, c := range []struct {
		name                  string
		subnet                netip.Prefix
		nodes, links, toApply int
		want                  string
	}{
		{"no node", subnet, 0, 0, 0, "add"},
		{"a node alone", subnet, 1, 0, 1, "apply"},
		{"no links, agents bound", subnet, 4, 0, 3, "link"},
		{"all linked, not applied", subnet, 4, 3, 3, "apply"},
		{"all linked and applied", subnet, 4, 3, 0, "add"},
		{"some without links, not applied", subnet, 24, 3, 1, "apply"},
		{"some without links", subnet, 24, 3, 0, "link"},
		{"without a network", netip.Prefix{}, 4, 0, 0, "add"},
	} {
		h := meshHead{Config: store.Config{}, NodeCount: c.nodes, LinkCount: c.links, ToApply: c.toApply}
		h.Config.VirtualSubnet = c.subnet
		if got := h.Next(); got != c.want {
			t.Errorf("%s: Next = %q, want %q", c.name, got, c.want)
		}
	}
}
