package main

import (
	"strings"
	"testing"

	"wfm/internal/apptest"
)

// The whole first session, as a person has it: with nothing but the browser and the node's shell.
func TestFirstSessionInTheBrowser(t *testing.T) {
	apptest.NeedRoot(t)
	apptest.Need(t, "chromium", "wg", "wg-quick", "wireguard-go", "ip")
	for _, screen := range screens {
		t.Run(screen.name, func(t *testing.T) {
			a, link := apptest.StartNew(t)
			b := openBrowser(t, a.URL, screen.name, screen.width, screen.height)
			firstSession(t, a, b, link)
		})
	}
}

func firstSession(t *testing.T, a *apptest.Appliance, b *browser, link string) {
	t.Helper()
	// Set-up needs the link; the front page leads there, without the token.
	b.open("/")
	b.see("Set up the appliance", "Set-up token")
	b.inspect("setup")
	b.open(strings.TrimPrefix(link, a.URL))
	b.fill("input[name=password]", apptest.Password)
	b.click("#setup button")
	b.see("Overview", "No config yet.")
	b.inspect("overview-empty")

	b.click("[data-open=new-config]")
	b.fill("#new-config input[name=name]", "home")
	b.shot("new-config")
	b.click("#new-config .primary")
	b.see("No node yet.")
	b.inspect("config-empty")
	b.click("[data-open=new-node]")
	b.fill("#new-node input[name=name]", "router")
	b.fill("#new-node input[name=interface_name]", "wfmpage0")
	b.fill("#new-node input[name=tags]", "edge, attic")
	b.click("#new-node .primary")

	b.see("Bind an agent", "Make bind command")
	b.inspect("node-unbound")
	bindAndRun(t, a, b)
}

func bindAndRun(t *testing.T, a *apptest.Appliance, b *browser) {
	t.Helper()
	b.click("#bind-form button.primary")
	b.see("Valid for 4:5")
	b.until("document.querySelector('img.qr').naturalWidth > 0")
	b.inspect("node-bind")
	ids := strings.Split(b.eval("location.pathname").(string), "/")
	n := &apptest.Node{Appliance: a, ConfigID: ids[2], ID: ids[4], Interface: "wfmpage0", AgentDir: t.TempDir()}
	command := strings.Fields(b.text("#bind-command"))
	out, code := apptest.Run(t, apptest.Binary(command[0]), append(command[1:], "--dir", n.AgentDir)...)
	if code != 0 {
		t.Fatalf("%q: %s", command, out)
	}

	// The page follows by itself from here on.
	b.eval("window.notReloaded = true")
	b.see("Waiting for the first signal")
	b.inspect("node-waiting")
	apptest.Spawn(t, nil, apptest.Binary("wfm-agent"), "run", "--dir", n.AgentDir).Expect(t, "msg=connected")
	b.see("Control", "Online because its MQTT connection is open")

	writeConfig(t, b)
	b.eval("window.notReloaded = true")
	b.click("#sync button")
	b.see("Push config")
	b.click("[value=push_config]")
	b.see("the config stored")
	b.click("#confirm [value=yes]")
	b.until("document.querySelector('#log tbody tr')?.innerText.match(/push_config[^]*applied/)")
	b.until("document.querySelector('#conf').innerText.includes('latest')")
	b.click("#control [value=start]")
	b.until("document.querySelector('#log tbody tr').innerText.match(/start[^]*applied/)")
	b.until("document.querySelector('h1').innerText.includes('running')")
	b.click("#control [value=wg_show]")
	b.see("Tunnel as the node shows it", "wfmpage0")
	b.until("document.querySelector('#wg pre').textContent.includes('interface: wfmpage0')")
	b.inspect("node")
	b.click("#log tbody th a")
	b.see("Its life", "interface: wfmpage0")
	b.inspect("command")
	b.open("/")
	b.see("home")
	b.inspect("overview")
	b.open("/configs/" + n.ConfigID)
	b.see("router")
	b.inspect("config")
	b.click("#nodes tbody th a")
	b.see("Control")

	if b.eval("window.notReloaded") != nil {
		t.Error("the mark of a page outlives it") // or it would show nothing
	}
	b.eval("window.notReloaded = true")
	b.click("#control [value=stop]")
	b.click("#confirm [value=yes]")
	b.until("document.querySelector('h1').innerText.includes('stopped')")
	b.click("#reset button")
	b.see("loses its credentials")
	b.shot("node-reset")
	b.click("#confirm [value=yes]")
	b.see("Bind an agent", "Make bind command")
	if b.eval("window.notReloaded") != true {
		t.Error("the page was loaded anew")
	}
}

// writeConfig saves two versions of the node's config, after one that is refused, and restores none.
func writeConfig(t *testing.T, b *browser) {
	t.Helper()
	private, code := apptest.Run(t, "wg", "genkey")
	if code != 0 {
		t.Fatal(private)
	}
	public, _ := apptest.Run(t, "wg", "genkey") // any 32 bytes are somebody's
	text := "[Interface]\nPrivateKey = " + strings.TrimSpace(private) + "\nAddress = 10.98.0.1/24\n"
	node := b.eval("location.pathname").(string)
	b.click("#conf a.button")
	b.see("The first version")
	b.inspect("conf-empty")
	b.fill("#conf-form textarea", text+"Adress = 10.98.0.2/24\n")
	b.click("#conf-form button")
	b.see("not valid")
	if got := b.eval("getSelection().toString()"); got != "Adress = 10.98.0.2/24" {
		t.Errorf("the wrong line is not selected: %q", got)
	}
	b.shot("conf-refused")
	b.fill("#conf-form textarea", text)
	b.click("#conf-form button")
	b.see("Saved as version 1.")
	b.until("document.querySelector('#conf-form [name=base_version]').value === '1'")
	b.fill("#conf-form textarea", text+"\n[Peer]\nPublicKey = "+strings.TrimSpace(public)+"\nAllowedIPs = 10.98.0.2/32\n")
	b.fill("#conf-form [name=note]", "the first peer")
	b.click("#conf-form button")
	b.see("Saved as version 2.", "the first peer")
	b.click("#v-2 a")
	b.see("What it changed against version 1", "+AllowedIPs = 10.98.0.2/32")
	b.inspect("conf")
	b.open(node)
	b.see("Stage version 2")
}
