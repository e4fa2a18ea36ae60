package main

import (
	"strings"

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
	o.choose("#new-node [name=node_type]", kind)
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
