package main

import (
	"strings"
	"testing"

	"wfm/internal/apptest"
)

// A node of a mesh is changed, looked into and taken out of the mesh's hands on its own page.
func TestANodeOfAMeshOnItsPage(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "chromium")
	a := apptest.Start(t, "")
	cfg := a.Must(t, "POST", "/api/v1/configs", map[string]any{"name": "home", "virtual_subnet": "10.66.0.0/24"})["config_id"].(string)
	add := func(name string) (path string) {
		id := a.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": name})["node_id"].(string)
		return "/configs/" + cfg + "/nodes/" + id
	}
	gate, leaf := add("gateway"), add("leaf")
	node := func(path string) map[string]any { t.Helper(); return a.Must(t, "GET", "/api/v1"+path, nil) }
	b := openBrowser(t, a.URL, "meshnode", 390, 844)
	b.login()
	b.open(gate)
	b.live()

	b.click("#reach summary")
	b.fill("#form-reach [name=ipv4_address]", "no host!")
	b.click("#form-reach button")
	b.until("document.querySelector('#form-reach [name=ipv4_address][aria-invalid] + .problem')")
	b.fill("#form-reach [name=ipv4_address]", "198.51.100.9")
	b.click("#form-reach button")
	b.see("port 51820")
	if got := node(gate)["ipv4_address"]; got != "198.51.100.9" {
		t.Errorf("it is reached at %v", got)
	}

	b.click("[data-open=edit-node]")
	b.fill("#edit-node [name=routes]", "192.168.7.0/24, 192.168.8.0/24")
	b.click("#edit-node [name=auto_sync]")
	b.click("#edit-expert summary")
	b.fill("#edit-node [name=post_up]", "echo one, two\n\necho three")
	b.inspect("node-edit")
	b.click("#edit-node .primary")
	b.see("192.168.8.0/24")
	const want = `["echo one, two","echo three"]["192.168.7.0/24","192.168.8.0/24"]true`
	if got := asJSON(node(gate)["post_up"]) + asJSON(node(gate)["routes"]) + asJSON(node(gate)["auto_sync"]); got != want {
		t.Errorf("saved is %s", got)
	}
	forwards(t, b)
	keys(t, b, node(gate))

	b.open(leaf)
	b.live()
	b.eval("document.querySelector('#generated').open = true")
	b.inspect("node-mesh")
	b.click("#form-with-key [name=config_source]")
	b.see("From now on the text is yours.")
	b.click("#confirm [value=yes]")
	b.see("The next version")
	if got := node(leaf)["config_source"]; got != "text" {
		t.Errorf("the source is %v", got)
	}
	b.fill("#conf-form textarea", b.eval(confText).(string)+"MTU = 1300\nDNS = 9.9.9.9\n")
	b.click("#save")
	b.see("Saved as version 2.")
	b.open(leaf)
	b.live()
	b.click("#form-takeover button")
	b.see("This changes in the text.", "PrivateKey = (hidden)", "-DNS = 9.9.9.9")
	b.inspect("node-takeover")
	b.click("#form-take-over .primary")
	b.see("Made from the mesh.")
	if n := node(leaf); n["config_source"] != "mesh" || n["mtu"] != 1300.0 {
		t.Errorf("%v", n)
	}
}

// forwards adds, switches and deletes a port forward.
func forwards(t *testing.T, b *browser) {
	t.Helper()
	b.click("[data-open=new-forward]")
	b.fill("#new-forward [name=to_port]", "8443")
	b.fill("#new-forward [name=from_port]", "443")
	b.click("#new-forward .primary")
	b.until("document.querySelector('#new-forward .problem')") // from the node to itself
	b.eval("{ const s = document.querySelector('#new-forward [name=from_node_id]'); s.value = [...s.options].find(o => o.text === 'leaf').value }")
	b.inspect("node-forward")
	b.click("#new-forward .primary")
	b.see("this node, port 8443", "leaf, port 443")
	b.click("#forwards [data-api^=PUT] button")
	b.see("Switch on")
	b.click("#forwards [data-api^=DELETE] button")
	b.see("is not forwarded any more")
	b.click("#confirm [value=yes]")
	b.see("None. A port forward leads")
}

// keys shows the tunnel config with its key, hides it again, and rotates the key.
func keys(t *testing.T, b *browser, n map[string]any) {
	t.Helper()
	private := n["private_key"].(string)
	has := func() bool { return strings.Contains(b.eval("document.documentElement.outerHTML").(string), private) }
	if has() {
		t.Error("the page has the key")
	}
	b.click("#form-with-key button")
	b.see(private)
	b.click("[data-hide=with-key]")
	if has() {
		t.Error("the page has the key that was hidden")
	}
	b.click("#rotate-key button")
	b.see("gets a new key pair")
	b.click("#confirm [value=yes]")
	b.until("document.querySelector('#public-key') && document.querySelector('#public-key').textContent !== " + quote(n["public_key"].(string)))
}

func TestAStaticNodeIsHandedOutOnItsPage(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "chromium", "curl")
	a := apptest.Start(t, "")
	cfg := a.Must(t, "POST", "/api/v1/configs", map[string]any{"name": "home", "virtual_subnet": "10.66.0.0/24"})["config_id"].(string)
	n := a.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": "phone", "node_type": "static"})
	path := "/configs/" + cfg + "/nodes/" + n["node_id"].(string)
	b := openBrowser(t, a.URL, "static", 1280, 800)
	b.login()
	b.open(path)
	b.live()
	b.see("Not handed out yet")
	if got := b.eval("document.querySelector('#config-qr img').naturalWidth"); got != 0.0 {
		t.Error("the code is there before it is asked for")
	}
	b.click("[data-picture]")
	b.until("document.querySelector('#config-qr img').naturalWidth > 0")
	b.see("Handed out version 1")
	b.inspect("node-static")
	a.Must(t, "PUT", "/api/v1/nodes/"+n["node_id"].(string), map[string]any{"mtu": 1300})
	b.see("version 1 was handed out", "hand it out again")
	if got := b.eval("document.querySelector('#config-qr').hidden"); got != true {
		t.Error("the code of the former version is still there")
	}
	b.click("#download-form button")
	b.see("Valid for 4:5")
	command := b.text("#download-command")
	out, code := apptest.Run(t, "sh", "-c", "cd "+t.TempDir()+" && "+command+" && cat home-phone.conf")
	if code != 0 || !strings.Contains(out, "MTU = 1300") || !strings.Contains(out, n["private_key"].(string)) {
		t.Errorf("%s: %s", command, out)
	}
	b.see("Handed out version 2")
}
