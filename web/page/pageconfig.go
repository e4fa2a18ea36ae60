package page

import (
	"net/url"

	"wfm/apply"
	"wfm/store"
	"wfm/web/ui"
)

// meshTab is one of the pages of a mesh, by the last part of its address.
type meshTab string

const (
	tabNodes    meshTab = ""
	tabLinks    meshTab = "/links"
	tabPicture  meshTab = "/picture"
	tabSettings meshTab = "/settings"
)

// meshTabs are the tabs in their order.
var meshTabs = []struct {
	tab  meshTab
	name string
}{{tabNodes, "Nodes"}, {tabLinks, "Links"}, {tabPicture, "Picture"}, {tabSettings, "Settings"}}

// meshHead has the values that all pages of a mesh share.
type meshHead struct {
	Config    store.Config
	Tab       meshTab
	NodeCount int
	LinkCount int
	ToApply   int // nodes that get another tunnel config when the mesh is applied
}

// tabLink leads to a tab.
type tabLink struct {
	Name, Path string
	Here       bool
	Count      int // of what the tab lists; 0 is not shown
}

func readMeshHead(tx *store.Tx, configID string, tab meshTab) (h meshHead, err error) {
	h.Tab = tab
	if h.Config, err = tx.Config(configID); err != nil {
		return h, err
	}
	h.NodeCount, h.LinkCount = len(tx.NodeIDs(configID)), tx.LinkCount(configID)
	h.ToApply, err = apply.Pending(tx, h.Config)
	return h, err
}

// Tabs returns the tabs of the mesh.
func (h meshHead) Tabs() []tabLink {
	links := make([]tabLink, len(meshTabs))
	count := map[meshTab]int{tabNodes: h.NodeCount, tabLinks: h.LinkCount}
	for i, t := range meshTabs {
		links[i] = tabLink{t.name, h.Path() + string(t.tab), t.tab == h.Tab, count[t.tab]}
	}
	return links
}

// HasNetwork reports whether tunnel configs are made from the mesh.
func (h meshHead) HasNetwork() bool {
	return h.Config.VirtualSubnet.IsValid() || h.Config.VirtualSubnet6.IsValid()
}

// Next returns what a person is likely to do next: apply, link or add.
func (h meshHead) Next() string {
	apart := h.HasNetwork() && h.LinkCount < h.NodeCount-1 // too few links for all nodes to reach each other
	switch {
	case apart && h.LinkCount == 0: // tunnel configs without peers are of no use yet
		return "link"
	case h.ToApply > 0:
		return "apply"
	case apart:
		return "link"
	}
	return "add"
}

// Path returns the address of the mesh's first page.
func (h meshHead) Path() string { return "/configs/" + url.PathEscape(h.Config.ID) }

// show returns the page with the body, which has the head in it.
func (h meshHead) show(template, title string, body any) show {
	if title != "" {
		title = " · " + title
	}
	return show{template: template, Page: ui.Page{Title: h.Config.Name + title, Nav: "Overview", LiveConfig: h.Config.ID, Body: body}}
}
