package main

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"wfm/internal/apptest"
)

// The whole first session, as a person has it: with nothing but the browser and the node's shell.
func TestFirstSessionInTheBrowser(t *testing.T) {
	t.Parallel()
	apptest.NeedRoot(t)
	apptest.Need(t, "chromium", "wg", "wg-quick", "wireguard-go", "ip")
	for _, screen := range screens {
		t.Run(screen.name, func(t *testing.T) {
			t.Parallel()
			a, link := apptest.StartNew(t)
			b := openBrowser(t, a.URL, screen.name, screen.width, screen.height)
			firstSession(t, a, b, link, apptest.Interface())
		})
	}
}

func firstSession(t *testing.T, a *apptest.Appliance, b *browser, link, iface string) {
	t.Helper()
	// Set-up needs the link. The front page leads there, without the token.
	b.open("/")
	b.see("Set up the appliance", "Set-up token")
	b.inspect("setup")
	b.open("/setup#%")
	b.see("The link is incomplete.")
	b.open(strings.TrimPrefix(link, a.URL))
	b.fill("input[name=password]", apptest.Password)
	b.click("#setup button")
	b.see("Overview", "No mesh yet.")
	b.inspect("overview-empty")

	b.click("[data-open=new-config]")
	b.fill("#new-config input[name=name]", "home")
	b.click("#new-config [value=hand]") // this session writes its tunnel configs
	b.until("document.querySelector('#new-config [name=virtual_subnet]').disabled")
	b.shot("new-config-by-hand")
	b.click("#new-config [value=mesh]")
	b.click("#new-config [name=_ipv6]")
	b.inspect("new-config")
	b.click("#new-config [value=hand]")
	b.click("#new-config .primary")
	b.see("No node yet.")
	b.inspect("config-empty")
	b.click("[data-open=new-node]")
	b.fill("#new-node input[name=name]", "router")
	b.click("#new-node summary")
	b.fill("#new-node input[name=interface_name]", iface)
	b.fill("#new-node input[name=tags]", "edge, attic")
	b.click("#new-node .primary")

	b.see("Bind an agent", "Create bind command")
	b.inspect("node-unbound")
	bindAndRun(t, a, b, iface)
}

func bindAndRun(t *testing.T, a *apptest.Appliance, b *browser, iface string) {
	t.Helper()
	b.click("#bind-form button.primary")
	b.see("Valid for 4:5")
	b.until("document.querySelector('img.qr').naturalWidth > 0")
	b.see("is the node itself") // the page was opened at a loopback address
	b.eval("document.querySelector('#bind-wfmctl').open = true")
	if c := b.text("#bind-wfmctl-command"); !strings.HasPrefix(c, `wfmctl bind --server "`+a.URL+`" --token "`) {
		t.Errorf("for the other client: %s", c)
	}
	b.inspect("node-bind")
	ids := strings.Split(b.eval("location.pathname").(string), "/")
	n := &apptest.Node{Appliance: a, ConfigID: ids[2], ID: ids[4], Interface: iface, AgentDir: t.TempDir()}
	command := strings.Fields(b.text("#bind-command"))
	out, code := apptest.Run(t, apptest.Binary(command[0]), append(command[1:], "--dir", n.AgentDir)...)
	if code != 0 {
		t.Fatalf("%q: %s", command, out)
	}

	// The page updates itself from here on.
	b.eval("window.notReloaded = true")
	b.see("Waiting for the first signal")
	b.inspect("node-waiting")
	apptest.Spawn(t, nil, apptest.Binary("wfm-agent"), "run", "--dir", n.AgentDir).Expect(t, "msg=connected")
	b.see("Actions", "Online because its MQTT connection is open")

	writeConfig(t, b)
	b.eval("window.notReloaded = true")
	b.click("[value=push_config]")
	b.see("stores the tunnel config")
	b.click("#confirm [value=yes]")
	b.until("document.querySelector('.notice.ok')?.innerText.includes('of version 2: done')")
	b.until("document.querySelector('#log tbody tr')?.innerText.match(/Push[^]*applied/)")
	b.until("document.querySelector('#conf').innerText.includes('up to date')")
	b.click("#control [value=start]")
	b.until("document.querySelector('#log tbody tr').innerText.match(/Start[^]*applied/)")
	b.until("document.querySelector('h1').innerText.includes('running')")
	b.click("#control [value=wg_show]")
	b.until("document.querySelector('#wg h2')")
	b.see(iface)
	b.until("document.querySelector('#wg pre').textContent.includes('interface: " + iface + "')")
	b.inspect("node")
	b.click("#log tbody th a")
	b.see("Progress", "interface: "+iface)
	b.inspect("command")
	b.open("/")
	b.see("home")
	b.inspect("overview")
	b.open("/configs/" + n.ConfigID)
	b.see("router")
	b.inspect("config")
	rollOut(b)
	useSettings(t, b)
	b.open("/configs/" + n.ConfigID + "/nodes/" + n.ID)
	b.see("Actions")

	b.eval("window.notReloaded = true")
	b.click("#control [value=stop]")
	b.click("#confirm [value=yes]")
	b.until("document.querySelector('h1').innerText.includes('stopped')")
	b.click("#reset button")
	b.see("loses its credentials")
	b.shot("node-reset")
	b.click("#confirm [value=yes]")
	b.see("Bind an agent", "Create bind command")
	if b.eval("window.notReloaded") != true {
		t.Error("the page was loaded anew")
	}
}

// writeConfig saves two versions of the node's config after a refused one, and restores the first.
func writeConfig(t *testing.T, b *browser) {
	t.Helper()
	private, code := apptest.Run(t, "wg", "genkey")
	if code != 0 {
		t.Fatal(private)
	}
	public, _ := apptest.Run(t, "wg", "genkey") // any 32 bytes are a valid public key
	text := "[Interface]\nPrivateKey = " + strings.TrimSpace(private) + "\nAddress = 10.98.0.1/24\n"
	node := b.eval("location.pathname").(string)
	b.click("#conf a.button")
	b.see("The first version")
	b.inspect("conf-empty")
	b.fill("#conf-form textarea", text+"Adr = 10.98.0.2/24\n")
	b.click("#save")
	b.see("the tunnel config has a fault", "is not a key of a WireGuard config")
	if got := b.eval("getSelection().toString()"); got != "Adr = 10.98.0.2/24" {
		t.Errorf("the wrong line is not selected: %q", got)
	}
	b.shot("conf-refused")
	b.fill("#conf-form textarea", text)
	b.click("#save")
	b.see("Saved as version 1.")
	b.until("document.querySelector('#conf-form [name=base_version]').value === '1'")
	b.fill("#conf-form textarea", text+"\n[Peer]\nPublicKey = "+strings.TrimSpace(public)+"\nAllowedIPs = 10.98.0.2/32\n")
	b.fill("#conf-form [name=note]", "the first peer")
	b.click("#save-push")
	b.until("document.querySelector('[data-outcome=ok]')?.textContent === 'Saved as version 2. Push of version 2: done.'")
	b.see("the first peer")
	b.click("#v-2 a")
	b.see("Changes since version 1", "+AllowedIPs = 10.98.0.2/32")
	b.inspect("conf")
	b.open(node)
	b.see("Push version 2 again")
}

// rollOut begins a rollout from the list of nodes and follows it to its end.
func rollOut(b *browser) {
	b.t.Helper()
	b.click("#nodes a[href*=rollout]")
	b.see("Command 1 node of home")
	b.inspect("rollout-new")
	b.click("#form-rollout .primary")
	b.click("#confirm [value=yes]")
	b.see("Push", "1 skipped", "already has version 2")
	b.until("document.querySelector('h1').innerText.includes('done')")
	b.inspect("rollout")
	b.open("/rollouts")
	b.see("0 done, 0 failed, 1 skipped of 1")
	b.inspect("rollouts")
}

func useSettings(t *testing.T, b *browser) {
	t.Helper()
	b.open("/settings")
	b.see("No API token.")
	b.click("[data-test]")
	b.see("A node can log in there")
	b.fill("#mqtt-form [name=host]", "no such host")
	b.click("#mqtt-form .primary")
	b.until("document.querySelector('#mqtt-form [name=host][aria-invalid] + .problem')")
	b.fill("#mqtt-form [name=host]", "")
	b.click("[data-open=new-token]")
	b.fill("#new-token [name=name]", "backup script")
	b.click("#new-token .primary")
	b.see("The token backup script. It is shown only once:")
	if token := b.text("#token-text"); len(token) < 40 {
		t.Errorf("no token: %q", token)
	}
	b.until("document.querySelector('#tokens tbody th').innerText === 'backup script'")
	b.inspect("settings")
	b.open("/audit")
	b.see("Create an API token")
	b.inspect("audit")
}

// hostile is a text that acts as soon as a page treats it as markup.
const hostile = `<img src=x onerror=alert(1)>'"`

func TestWhatNodesAndPeopleWriteIsShownAsText(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "chromium", "mosquitto_pub", "mosquitto_sub", "stdbuf")
	a := apptest.Start(t, "")
	cfg := a.Must(t, "POST", "/api/v1/configs", map[string]any{"name": hostile, "virtual_subnet": nil, "description": hostile + "{{.}}"})["config_id"].(string)
	n := a.AddNode(t, cfg, hostile, "wg0")
	a.Must(t, "PUT", "/api/v1/nodes/"+n.ID, map[string]any{"tags": []string{hostile}})
	a.Must(t, "POST", "/api/v1/auth/tokens", map[string]any{"name": hostile, "scope": "read"})
	a.Must(t, "PUT", n.Path("applied-conf"), map[string]any{
		"content": "# </textarea>" + hostile + "\n[Interface]\nPrivateKey = " + strings.Repeat("A", 42) + "E=\nAddress = 10.1.1.1/24\n", "note": hostile,
	})

	apptest.Spawn(t, nil, "stdbuf", append([]string{"-oL", "mosquitto_sub"}, mosquitto(n, "5", "-d", "-q", "1", "-t", n.Topic("info"))...)...).Expect(t,
		"Subscribed")
	n.Await(t, "online")
	text := quote(hostile)
	command := n.Must(t, "POST", n.Path("endpoint/control"), map[string]any{"action": "wg_show"})["request_id"].(string)
	output := envelope(n, "event", command,
		`{"level":"info","event":"command_output","request_id":"`+command+`","action":"wg_show","stream":"stdout","message":`+text+`,"output":`+text+`}`)
	publish(t, n, "event", output)
	publish(t, n, "event", envelope(n, "event", "", `{"level":`+text+`,"event":`+text+`,"message":`+text+`}`))
	publish(t, n, "info/ack", envelope(n, "info/ack", command, `{"status":"applied","action":"wg_show","message":`+text+`}`))

	b := openBrowser(t, a.URL, "hostile", 1280, 800)
	b.login()
	for path, times := range map[string]int{
		"/": 2, "/configs/" + cfg: 4, "/configs/" + cfg + "/nodes/" + n.ID: 9, "/configs/" + cfg + "/nodes/" + n.ID + "/conf?version=1": 4,
		"/commands/" + command: 6, "/configs/" + cfg + "/rollout": 2, "/settings": 1, "/audit": 0,
	} {
		b.open(path)
		b.until("document.readyState === 'complete'")
		if got := strings.Count(b.eval("document.body.innerText").(string), hostile); got < times {
			t.Errorf("%s shows it %d times, want %d:\n%s", path, got, times, b.eval("document.body.innerText"))
		}
		if b.eval("document.querySelector('img[src=x]') !== null") == true {
			t.Errorf("%s takes it for markup", path)
		}
	}
}

// login logs in like a person.
func (b *browser) login() {
	b.t.Helper()
	b.open("/")
	b.until("document.readyState === 'complete' && document.querySelector('#login')") // with the script that sends the form
	b.fill("#login [name=password]", apptest.Password)
	b.click("#login button")
	b.until("location.pathname === '/'")
}

func TestKeyboardAloneIsEnough(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "chromium")
	a := apptest.Start(t, "")
	b := openBrowser(t, a.URL, "keyboard", 1280, 800)
	b.open("/")
	b.until("document.readyState === 'complete' && document.activeElement.name === 'password'")
	b.keys(apptest.Password + kb.Enter)
	b.see("No mesh yet.")
	b.until("document.querySelector('#link').dataset.state === 'live'")
	b.keys(kb.Tab)
	if got := b.focused(); got != "Skip to the content" {
		t.Fatalf("the first stop is %q", got)
	}
	b.keys(kb.Enter + kb.Tab)
	for range 20 {
		if b.focused() == "New mesh" {
			break
		}
		b.keys(kb.Tab)
	}
	b.keys(kb.Enter)
	b.until("document.querySelector('#new-config').open && document.activeElement.name === 'name'")
	b.keys(kb.Escape)
	b.until("!document.querySelector('#new-config').open")
	if got := b.focused(); got != "New mesh" {
		t.Errorf("after the dialog the focus is on %q", got)
	}
	b.keys(kb.Enter)
	b.keys("home" + kb.Enter)
	b.see("No node yet.")
	// An action that would lose something asks first, and Enter does not confirm it.
	b.open(b.eval("location.pathname").(string) + "/settings")
	b.until("document.querySelector('#link')?.dataset.state === 'live'")
	for range 60 {
		if b.focused() == "Delete mesh" {
			break
		}
		b.keys(kb.Tab)
	}
	b.keys(kb.Enter)
	b.until("document.querySelector('#confirm').open")
	if got := b.focused(); got != "Keep as it is" {
		t.Errorf("the dialog begins on %q", got)
	}
	b.keys(kb.Enter)
	b.until("!document.querySelector('#confirm').open")
	b.see("home")
}

func TestPageWorksOverTLSAndShowsTheCertificates(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "chromium")
	a := apptest.Start(t, "", "WFM_HTTPS_ADDR=127.0.0.1:"+apptest.FreePort(t), "WFM_MQTT_TLS_ENABLED=true", "WFM_MQTT_TLS_ADDR=127.0.0.1:"+apptest.FreePort(t))
	b := openBrowser(t, a.URL, "tls", 1280, 800)
	b.login()
	b.see("valid until")
	b.until("document.querySelector('#link').dataset.state === 'live'")
	a.AddConfig(t, "made meanwhile")
	b.see("made meanwhile")
	b.open("/settings")
	b.see("127.0.0.1:"+a.TLSPort, "with TLS", "root", "Renew now")
	b.click("#renew button")
	b.click("#confirm [value=yes]")
	b.see("Renewed.")
	b.inspect("settings-tls")
}

func TestPageFollowsWhatHappensElsewhere(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "chromium")
	a := apptest.Start(t, "")
	b := openBrowser(t, a.URL, "elsewhere", 1280, 800)
	b.login()
	b.until("document.querySelector('#link').dataset.state === 'live'")
	cfg := a.AddConfig(t, "made by a script")
	b.see("made by a script")
	b.open("/configs/" + cfg)
	b.until("document.querySelector('#link').dataset.state === 'live'")
	n := a.AddNode(t, cfg, "router", "wg0")
	b.see("router")

	// A text being typed survives events.
	b.click("[data-open=new-node]")
	b.fill("#new-node [name=name]", "not saved yet")
	a.Must(t, "PUT", "/api/v1/nodes/"+n.ID, map[string]any{"name": "renamed"})
	b.until("document.querySelector('#nodes').innerText.includes('renamed')")
	if got := b.eval("document.querySelector('#new-node [name=name]').value"); got != "not saved yet" {
		t.Errorf("what was typed became %q", got)
	}
	b.click("#new-node [data-close]")

	// A logged-in user is led past the login page.
	b.open("/login?next=%2Fconfigs%2F" + cfg)
	b.until("location.pathname === '/configs/" + cfg + "'")
	b.until("document.querySelector('#link').dataset.state === 'live'")

	// The appliance goes and comes back.
	a.Stop(t)
	b.see("Reconnecting")
	a.Restart(t)
	b.until("document.querySelector('#link').dataset.state === 'live'")

	// The login session ends.
	a.Must(t, "POST", "/api/v1/auth/password", map[string]any{"current_password": apptest.Password, "new_password": apptest.Password + "!"})
	b.until("location.pathname === '/login'")
	if got := b.eval("location.search"); got != "?next=%2Fconfigs%2F"+cfg {
		t.Errorf("login leads to %v", got)
	}
}
