package main

import (
	"fmt"
	"strings"
	"testing"

	"wfm/internal/apptest"
)

// Nodes are added, found, selected and changed by many at a time.
func TestManyNodesOnThePage(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, t.TempDir())
	cfg := a.Must(t, "POST", "/api/v1/configs", map[string]any{"name": "home", "virtual_subnet": "10.66.0.0/24"})["id"].(string)
	for _, screen := range screens {
		t.Run(screen.name, func(t *testing.T) {
			b := openBrowser(t, a.URL, screen.name, screen.width, screen.height)
			b.login()
			b.open("/configs/" + cfg)
			b.until("document.querySelector('#link').dataset.state === 'live'")
			if screen.name == "desktop" {
				addOneNode(b)
				addSeveral(t, b, cfg)
			}
			b.open("/configs/" + cfg)
			b.until("document.querySelector('#link').dataset.state === 'live'")
			b.inspect("nodes")
			selectNodes(t, b)
		})
	}
}

// addOneNode adds a phone with the dialog, which shows a refusal at the field.
func addOneNode(b *browser) {
	b.click("#nodes [data-open=new-node]")
	b.fill("#new-node [name=name]", "phone")
	b.click("#new-node [value=static]")
	b.click("#new-node summary")
	b.inspect("new-node")
	b.fill("#new-node [name=virtual_ip]", "10.66.0.255")
	b.click("#new-node .primary")
	b.see("is the broadcast address of 10.66.0.0/24")
	b.shot("new-node-refused")
	b.fill("#new-node [name=virtual_ip]", "10.66.0.7")
	b.click("#new-node .primary")
	b.until("location.pathname.includes('/nodes/') && document.querySelector('h1')?.innerText.includes('phone')")
}

// addSeveral imports a list after its faults were mended.
func addSeveral(t *testing.T, b *browser, cfg string) {
	t.Helper()
	b.open("/configs/" + cfg + "/import")
	b.until("document.readyState === 'complete'")
	b.click("#import-check")
	if b.eval("document.querySelector('#import-plan').hidden") != true {
		t.Error("nothing to check has a plan")
	}
	b.fill("#form-import textarea", "name,address,tags\nPhone\nb,10.66.0.7\nfar,10.99.0.1")
	b.click("#import-check")
	b.see(`Name differs from "phone"`, "Address 10.66.0.7 is taken by phone; choose a free one.", "is outside of the mesh's subnet", "Faults to mend: 2.")
	b.inspect("import-refused")
	if b.eval("document.querySelector('#import-add').offsetParent") != nil {
		t.Error("a list with faults can be added")
	}
	var names strings.Builder
	for i := range 60 {
		fmt.Fprintf(&names, "site %d\n", i)
	}
	b.fill("#form-import textarea", names.String())
	b.click("#import-check")
	b.see("60 nodes would be added.", "10.66.0.1 next free")
	b.inspect("import")
	b.click("#import-add")
	b.until("location.pathname === '/configs/" + cfg + "'")
	b.see("1–50 of 61")
}

// selectNodes keeps a selection through sorting and pages, and changes its nodes.
func selectNodes(t *testing.T, b *browser) {
	t.Helper()
	b.eval("window.notReloaded = true")
	pick := func(name string) {
		t.Helper()
		b.eval("document.querySelector('[aria-label=" + quote("Select "+name) + "]').click()") // the bar may cover it
	}
	pick("site 3")
	pick("site 4")
	b.see("2 selected")
	b.eval("document.querySelectorAll('[data-pick]')[9].dispatchEvent(new MouseEvent('click', {bubbles: true, shiftKey: true}))")
	b.see("6 selected") // with all between the last two
	b.eval("document.querySelectorAll('[data-pick]')[6].dispatchEvent(new MouseEvent('click', {bubbles: true, shiftKey: true}))")
	b.see("2 selected")
	b.eval("document.querySelector('#page-further').click()")
	b.see("51–61 of 61")
	pick("site 59")
	b.see("3 selected")
	b.shot("nodes-selected")
	b.click("#picked [data-open=tag-nodes]")
	b.fill("#tag-nodes [name=add_tags]", "edge, "+b.name)
	b.inspect("tag-nodes")
	b.click("#tag-nodes .primary")
	b.see("Changed 3 nodes.")
	b.click("#picked-disable button")
	b.see("The selected nodes lose their connection")
	b.click("#confirm [value=yes]")
	b.see("Changed 3 nodes.")
	b.until("document.querySelector('.figures').innerText.includes('disabled')")
	b.click("#picked-enable button")
	b.until("!document.querySelector('.figures').innerText.includes('disabled')")
	b.click("[data-bind-picked]")
	b.see("wfm-agent bind --server")
	if got := b.eval("document.querySelectorAll('#bind-picked-list pre').length"); got != 3.0 {
		t.Errorf("%v bind commands", got)
	}
	b.inspect("bind-picked")
	b.click("#bind-picked .primary")
	b.click("[data-pick-none]")
	b.until("document.querySelector('#picked').hidden")

	b.eval("history.back()")
	b.see("1–50 of 61")
	b.eval("[...document.querySelectorAll('[data-pick-page]')].find(e => e.offsetParent).click()")
	b.see("50 selected")
	b.click("[data-pick-matching]")
	b.see("61 selected")
	b.eval("document.querySelector('#sort-address, #filter-sort') && document.querySelector('#sort-address').click()")
	b.until("location.search === '?sort=address' && document.querySelector('[aria-sort=ascending]').innerText.includes('Address')")
	b.see("61 selected")
	if b.eval("window.notReloaded") != true {
		t.Error("the page was loaded anew")
	}
	b.eval("document.querySelector('[data-picked-link]').click()")
	b.see("Review and apply")
	b.until("location.pathname.endsWith('/apply') && location.search === ''")
}
