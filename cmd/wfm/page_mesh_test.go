package main

import (
	"testing"

	"wfm/internal/apptest"
)

// TestAMeshIsMadeChangedAndLinkedInTheBrowser goes through the pages of a mesh, with what a person does wrong
// on the way. Nothing is bound: other tests run meshes.
func TestAMeshIsMadeChangedAndLinkedInTheBrowser(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "chromium")
	for _, screen := range screens {
		t.Run(screen.name, func(t *testing.T) {
			t.Parallel()
			a := apptest.Start(t, "")
			a.AddConfig(t, "taken")
			b := openBrowser(t, a.URL, screen.name, screen.width, screen.height)
			b.login()
			makeMesh(b)
			at := b.eval("location.pathname").(string)
			changeSettings(b, at)
			ids := map[string]string{}
			for _, name := range []string{"amsterdam", "berlin", "copenhagen"} {
				ids[name] = a.Must(t, "POST", "/api/v1"+at+"/nodes", map[string]any{"name": name})["node_id"].(string)
			}
			makeQuickMesh(b, at, ids)
			changeLinks(b, at, ids)
			b.open(at + "/picture")
			b.until("document.querySelectorAll('.picture .mark').length === 3")
			b.eval("document.querySelector('#as-table').open = true")
			b.inspect("mesh-picture")
		})
	}
}

func makeMesh(b *browser) {
	b.t.Helper()
	b.click("[data-open=new-config]")
	b.fill("#new-config [name=name]", "taken")
	b.eval("document.querySelector('#new-config [name=tunnel_protocol]').value = 'amneziawg'")
	b.eval("document.querySelector('#new-config [name=tunnel_protocol]').dispatchEvent(new Event('input', {bubbles: true}))")
	b.until("!document.querySelector('#new-config [name=awg_version]').disabled")
	b.click("#new-config .primary")
	b.until("document.querySelector('#new-config [name=name] + .problem')?.innerText.includes('Another mesh has this name')")
	b.fill("#new-config [name=name]", "offices")
	b.fill("#new-config [name=virtual_subnet]", "10.77.0.1")
	b.click("#new-config .primary")
	b.until("document.querySelector('#new-config [name=virtual_subnet] + .problem')?.innerText.startsWith('Network')")
	if got := b.eval("document.querySelector('#new-config [name=name]').value"); got != "offices" {
		b.t.Errorf("the name became %q", got)
	}
	b.fill("#new-config [name=virtual_subnet]", "10.77.0.0/24")
	b.click("#new-config .primary")
	b.see("No node yet.", "AmneziaWG 2.0", "10.77.0.0/24")
}

func changeSettings(b *browser, at string) {
	b.t.Helper()
	b.open(at + "/settings")
	b.until("document.querySelector('#link')?.dataset.state === 'live'")
	b.fill("#form-mesh [name=default_mtu]", "7")
	b.click("#form-mesh .primary")
	b.until("document.querySelector('#form-mesh [name=default_mtu] + .problem')")
	b.fill("#form-mesh [name=default_mtu]", "1380")
	b.click("#form-mesh .primary")
	b.see("Saved.")
	const h1 = "document.querySelector('#form-awg [name=awg_h1]').value"
	before := b.eval(h1)
	b.click("#form-awg [data-fill]")
	b.until(h1 + " !== " + quote(before.(string)))
	b.click("#form-awg .primary")
	b.click("#confirm [value=yes]")
	b.until("document.querySelector('#form-awg [name=awg_h1]').defaultValue === " + h1)
	b.inspect("mesh-settings")
	b.click("[data-open=awg-convert]")
	b.click("#form-awg-convert .primary")
	b.until("document.querySelector('#awg-converted li')?.innerText.startsWith('H1 changes from')")
	b.shot("mesh-convert")
	b.click("#awg-converted .primary")
	b.see("AmneziaWG 1.5", "The version was changed.")
}

func makeQuickMesh(b *browser, at string, ids map[string]string) {
	b.t.Helper()
	b.open(at + "/quick")
	b.see("No node has a public address yet.")
	b.inspect("mesh-quick-none")
	b.eval("document.querySelector('#form-address select').value = " + quote(ids["amsterdam"]))
	b.fill("#form-address [name=ipv4_address]", "192.0.2.1")
	b.click("#form-address button")
	b.see("The node can be a gateway now.", "2 links made")
	b.click("#quick [value=full_mesh]")
	b.see("Connect them through amsterdam")
	b.inspect("mesh-quick")
	b.click("#plan a.button")
	b.see("The gateways", "2 links made")
	b.eval("document.querySelector('#quick [name=psk]').click()")
	b.until("document.querySelector('#form-quick [name=use_preshared_key]').value === 'true'")
	b.click("#form-quick button")
	b.until("!location.pathname.endsWith('/quick')")
	b.open(at + "/links")
	b.see("amsterdam – berlin", "amsterdam – copenhagen", "quick mesh")
	b.inspect("mesh-links")
}

func changeLinks(b *browser, at string, ids map[string]string) {
	b.t.Helper()
	b.open(at + "/links/new?a=" + ids["berlin"] + "&b=" + ids["amsterdam"])
	b.fill("#form-link [name=notes]", "about another pair")
	b.eval("document.querySelector('#choose-b').value = " + quote(ids["berlin"]))
	b.eval("document.querySelector('#choose-b').dispatchEvent(new Event('input', {bubbles: true}))")
	b.see("cannot have a link to itself")
	b.eval("document.querySelector('#choose-b').value = " + quote(ids["copenhagen"]))
	b.eval("document.querySelector('#choose-b').dispatchEvent(new Event('input', {bubbles: true}))")
	b.see("Neither of the two can reach the other.")
	b.eval("document.querySelector('#expert').open = true")
	b.eval("document.querySelector('[name=\"forward.endpoint_mode\"]').value = 'manual'")
	b.eval("document.querySelector('[name=\"forward.endpoint_mode\"]').dispatchEvent(new Event('input', {bubbles: true}))")
	b.fill("[name='forward.endpoint_manual_host']", "no host")
	b.inspect("mesh-link-new")
	b.click("section form[data-api] .primary")
	b.until("document.querySelector(\"[name='forward.endpoint_manual_host'] + .problem\")?.innerText.startsWith('Address or host name')")
	b.fill("[name='forward.endpoint_manual_host']", "198.51.100.7")
	b.click("section form[data-api] .primary")
	b.see("berlin – copenhagen", "berlin, to 198.51.100.7:51820", "by hand")
	b.until("document.querySelector('#link')?.dataset.state === 'live'")
	b.eval("[...document.querySelectorAll('#links tbody a')].find(a => a.innerText.startsWith('berlin')).click()")
	b.see("Delete link")
	b.fill("#form-link [name=notes]", "the old line")
	b.click("#form-link [data-fill]")
	b.until("document.querySelector('#form-link [name=preshared_key]').value.length === 44")
	b.click("#form-link .primary")
	b.see("Saved. 2 tunnel configs have changed.", "Remove the preshared key")
	b.inspect("mesh-link")
	b.click("#enable-link button")
	b.see("disabled")
	b.click("#delete-link button")
	b.click("#confirm [value=yes]")
	b.until("location.pathname.endsWith('/links')")
	b.see("1–2 of 2")
}
