package main

import (
	"os"
	"os/exec"
	"strings"

	"github.com/chromedp/chromedp"

	"wfm/internal/apptest"
)

// operator makes and changes a mesh with nothing but the page.
type operator struct {
	*browser
	s *meshSite
}

func (s *meshSite) operator() *operator {
	s.t.Helper()
	o := &operator{openBrowser(s.t, s.URL, "mesh", 1280, 900), s}
	o.login()
	return o
}

// makeMesh makes a mesh of IPv4 and IPv6 in the networks that the page offers.
func (o *operator) makeMesh(name string) {
	o.t.Helper()
	o.open("/")
	o.live()
	o.click("[data-open=new-config]")
	o.fill("#new-config [name=name]", name)
	o.click("#new-config [name=_ipv6]")
	o.click("#new-config .primary")
	o.see("No node yet.")
	o.s.configID = strings.Split(o.eval("location.pathname").(string), "/")[2]
}

// addNode makes a node and gives it a machine. The browser is at the node's page after that.
func (o *operator) addNode(m *apptest.Machine, name, kind string) *member {
	o.t.Helper()
	o.open("/configs/" + o.s.configID)
	o.live()
	o.click("[data-open=new-node]")
	o.fill("#new-node [name=name]", name)
	o.click("#new-node [name=node_type][value=" + kind + "]")
	o.click("#new-node .primary")
	o.until("document.querySelector('h1')?.innerText.includes(" + quote(name) + ") && location.pathname.includes('/nodes/')")
	id := strings.Split(o.eval("location.pathname").(string), "/")[4]
	return o.s.member(m, o.s.Must(o.t, "GET", "/api/v1/nodes/"+id, nil))
}

// choose selects an option of a field.
func (b *browser) choose(selector, value string) {
	b.t.Helper()
	b.eval("{ const e = document.querySelector(" + quote(selector) + "); e.value = " + quote(value) + "; e.dispatchEvent(new Event('change', {bubbles: true})) }")
}

// bind runs the command that the node's page gives, and the agent, until the page shows the node online.
func (o *operator) bind(n *member) {
	o.t.Helper()
	o.click("#bind-form button.primary")
	o.see("Valid for 4:5")
	o.s.bindAgent(n, o.text("#bind-command"))
	o.see("Online because its MQTT connection is open")
}

// openNode opens the node's page.
func (o *operator) openNode(n *member) {
	o.t.Helper()
	o.open("/configs/" + n.ConfigID + "/nodes/" + n.ID)
	o.live()
}

// reachAt says at which public address others reach the node.
func (o *operator) reachAt(n *member, address string) {
	o.t.Helper()
	o.openNode(n)
	o.eval("document.querySelector('#reach').open = true")
	o.fill("#form-reach [name=ipv4_address]", address)
	o.click("#form-reach .primary")
	o.see("Saved.")
}

// putBehind says which networks are behind the node, whose hosts know no way to the mesh.
func (o *operator) putBehind(n *member, networks string) {
	o.t.Helper()
	o.openNode(n)
	o.click("[data-open=edit-node]")
	o.fill("#edit-node [name=routes]", networks)
	o.click("#edit-node [name=masquerade]")
	o.click("#edit-node .primary")
	o.see("Saved.")
}

// fetch gets the file of a static node with the command of a one-time link, which does not work again.
// state is what the page says about the file before.
func (o *operator) fetch(n *member, state string) {
	o.t.Helper()
	o.openNode(n)
	o.see(state)
	o.click("#download-form button")
	o.see("Valid for 4:5")
	command := "cd " + n.AgentDir + " && umask 077 && " + o.text("#download-command")
	o.s.inside(n.Machine, "sh", "-c", command)
	if out, code := n.Run(o.t, "sh", "-c", command); code == 0 {
		o.t.Errorf("the link gives the file twice: %s", out)
	}
	o.see("Handed out version")
}

// scan checks that the QR code on the page of a static node has the bytes of its file.
func (o *operator) scan(n *member) {
	o.t.Helper()
	o.openNode(n)
	o.click("[data-picture]")
	o.until("document.querySelector('#config-qr img').naturalWidth > 0")
	picture, err := act(o.browser, chromedp.Screenshot(chromedp.CSS("#config-qr img")))
	if err != nil {
		o.t.Fatal(err)
	}
	image := apptest.WriteFile(o.t, "code.png", string(picture))
	text, err := exec.CommandContext(o.t.Context(), "zbarimg", "--quiet", "--raw", image).Output()
	if err != nil {
		o.t.Fatalf("zbarimg: %v %s", err, text)
	}
	file, err := os.ReadFile(n.file())
	if err != nil || string(text) != string(file)+"\n" { // zbarimg adds the end of a line
		o.t.Errorf("the code has %q, the file %q (%v)", text, file, err)
	}
}

// forward leads a port of the entry to a port of the service's node, for TCP and UDP.
func (o *operator) forward(entry *member, port string, service *member, servicePort string) {
	o.t.Helper()
	o.openNode(entry)
	o.click("[data-open=new-forward]")
	o.choose("#new-forward [name=to_node_id]", entry.ID)
	o.fill("#new-forward [name=to_port]", port)
	o.choose("#new-forward [name=from_node_id]", service.ID)
	o.fill("#new-forward [name=from_port]", servicePort)
	o.choose("#new-forward [name=protocol]", "all")
	o.click("#new-forward .primary")
	o.see("The port forward was added.")
}

// link makes a quick mesh with one gateway and preshared keys, after a look at the plan.
func (o *operator) link(changes string) {
	o.t.Helper()
	o.open("/configs/" + o.s.configID + "/quick")
	o.live()
	if !o.eval("document.querySelector('#quick [name=psk]').checked").(bool) {
		o.click("#quick [name=psk]")
	}
	o.until("document.querySelector('#form-quick [name=use_preshared_key]')?.value === 'true'")
	o.see(changes)
	o.click("#form-quick .primary")
	o.until("location.pathname.endsWith('/apply')")
}

// rotate gives the node a new key pair.
func (o *operator) rotate(n *member) {
	o.t.Helper()
	o.openNode(n)
	o.click("#rotate-key button")
	o.click("#confirm [value=yes]")
	o.see("The node has a new key pair")
}

// apply looks at what will change, presses the button, and waits until the page shows that the rollout is done.
func (o *operator) apply() {
	o.t.Helper()
	o.open("/configs/" + o.s.configID + "/apply")
	o.live()
	const id = "document.querySelector('#rollout a[href^=\"/rollouts/\"]')?.pathname.split('/')[2]"
	former := o.eval(id + " ?? ''").(string)
	o.until("document.querySelectorAll('#form-apply .changes li').length > 0")
	o.eval("for (const e of document.querySelectorAll('.changes details')) e.open = true")
	if wide := o.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth"); wide != 0.0 {
		o.t.Errorf("with the differences, the page is %v pixels wider than the screen", wide)
	}
	o.click("#form-apply .primary")
	o.until(id + " && " + id + " !== " + quote(former))
	o.s.awaitRollout(o.eval(id).(string))
	o.until("document.querySelector('#rollout h2').innerText.match(/Last rollout\\s+done/)")
}
