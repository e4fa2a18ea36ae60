package main

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"wfm/internal/apptest"
)

// tunnelText returns a config with the comment, which makes it unique.
func tunnelText(comment string) string {
	return "[Interface]\nPrivateKey = " + strings.Repeat("A", 42) + "E=\nAddress = 10.1.1.1/24\n# " + comment + "\n"
}

// editing opens a browser at the config editor of a node whose first version is saved.
func editing(t *testing.T) (*browser, *apptest.Node) {
	t.Helper()
	apptest.Need(t, "chromium")
	a := apptest.Start(t, "")
	n := a.AddNode(t, a.AddConfig(t, "home"), "router", "wg0")
	saveElsewhere(t, n, "one")
	b := openBrowser(t, a.URL, "editing", 1280, 800)
	b.login()
	b.open("/configs/" + n.ConfigID + "/nodes/" + n.ID + "/conf")
	b.live()
	return b, n
}

func saveElsewhere(t *testing.T, n *apptest.Node, comment string) {
	t.Helper()
	n.Must(t, "PUT", n.Path("applied-conf"), map[string]any{"content": tunnelText(comment)})
}

func savedText(t *testing.T, n *apptest.Node) string {
	t.Helper()
	return n.Must(t, "GET", n.Path("applied-conf"), nil)["content"].(string)
}

// live waits until the page receives events.
func (b *browser) live() {
	b.t.Helper()
	b.until("document.querySelector('#link').dataset.state === 'live'")
}

func asJSON(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// withoutKey returns the text as the editor shows it at first.
func withoutKey(text string) string {
	return strings.Replace(text, strings.Repeat("A", 42)+"E=", "(hidden)", 1)
}

const confText = "document.querySelector('#conf-form textarea').value"

func TestATextIsSavedOverNoVersionThatItsAuthorHasNotSeen(t *testing.T) {
	t.Parallel()
	b, n := editing(t)

	// A user who only put the cursor into the text has not changed it, and keeps its version.
	b.eval("document.querySelector('#conf-form textarea').focus()")
	saveElsewhere(t, n, "two")
	b.until("document.querySelector('#v-2')")
	if got := b.eval("document.querySelector('#conf-form [name=base_version]').value"); got != "1" {
		t.Errorf("the text of version 1 passes for one of version %v", got)
	}
	b.fill("#conf-form textarea", tunnelText("mine"))
	b.click("#save")
	b.see("saved version 2 since you began", "-# two", "+# mine")
	b.inspect("conf-conflict")
	if got := savedText(t, n); got != tunnelText("two") {
		t.Errorf("saved is %q", got)
	}

	// The saved text replaces the typed one.
	b.click("[data-theirs]")
	b.see("Your text is discarded")
	b.click("#confirm [value=yes]")
	b.until(confText + " === " + quote(withoutKey(tunnelText("two"))) + " && document.querySelector('#conf-form [name=base_version]').value === '2'")

	// The typed text replaces the saved one after a comparison of the two; a third text is asked
	// about anew.
	b.fill("#conf-form textarea", tunnelText("mine"))
	saveElsewhere(t, n, "three")
	b.click("#save")
	b.see("saved version 3 since you began", "-# three")
	saveElsewhere(t, n, "four")
	b.click("[data-conflict] [name=base_version]")
	b.see("saved version 4 since you began", "-# four", "+# mine")
	b.click("[data-conflict] [name=base_version]")
	b.see("Saved as version 5.", "based on version 5")
	if got := savedText(t, n); got != tunnelText("mine") {
		t.Errorf("saved is %q", got)
	}
}

func TestTheEditorNumbersTheLinesAndLeadsToEveryFault(t *testing.T) {
	t.Parallel()
	b, _ := editing(t)
	numbers := func() string {
		return b.eval("document.querySelector('.numbers').textContent.split('\\n').at(-1)").(string)
	}
	coloured := func() string { return b.eval("document.querySelector('.colours').innerText.trim()").(string) }
	if numbers() != "5" || coloured() != strings.TrimSpace(withoutKey(tunnelText("one"))) {
		t.Errorf("%s lines, coloured is %q", numbers(), coloured())
	}
	b.fill("#conf-form textarea", "[Interface]\nPrivateKey = nonsense\nListenPorts = 1\n\n[Peer]\nAllowedIPs = 10.0.0.0/33\n")
	b.click("#save")
	b.see("the tunnel config has 4 faults", "did you mean ListenPort?", "10.0.0.0/33")
	selected := func(want string) {
		t.Helper()
		b.until("getSelection().toString() === " + quote(want))
	}
	selected("PrivateKey = nonsense")
	b.click("[data-line='6']")
	selected("AllowedIPs = 10.0.0.0/33")
	if n := b.eval("document.querySelectorAll('.colours .wrong').length"); n != 4.0 {
		t.Errorf("%v lines are marked", n)
	}
	b.inspect("conf-faults")
	b.keys("x") // in place of the line
	marked := b.eval("[...document.querySelectorAll('.colours .wrong')].map(e => e.innerText).join()")
	if marked != "PrivateKey = nonsense,ListenPorts = 1,[Peer]" {
		t.Errorf("marked are %q", marked)
	}

	// A long text is not coloured.
	long := tunnelText(strings.Repeat("x", 70_000))
	b.fill("#conf-form textarea", long)
	if hidden := b.eval("document.querySelector('.colours').hidden"); hidden != true || numbers() != "5" {
		t.Errorf("hidden: %v, %s lines", hidden, numbers())
	}
	b.fill("#conf-form textarea", tunnelText("two"))
	b.click("#save")
	b.see("Saved as version 2.")
	b.until("document.querySelector('.colours').innerText.trim() === " + quote(strings.TrimSpace(withoutKey(tunnelText("two")))))
}

func TestSaveAndPushTellsInTheEditorHowThePushWent(t *testing.T) {
	t.Parallel()
	apptest.NeedRoot(t)
	apptest.Need(t, "wg", "wg-quick")
	b, n := editing(t)
	agent := n.StartAgent(t)
	b.open("/configs/" + n.ConfigID + "/nodes/" + n.ID + "/conf")
	b.live()
	b.fill("#conf-form textarea", tunnelText("pushed"))
	b.click("#save-push")
	b.until("document.querySelector('[data-outcome=ok]')?.textContent === 'Saved as version 2. Push of version 2: done.'")
	b.until("document.querySelector('#v-2').innerText.includes('applied')")
	if got := b.eval("document.querySelector('[data-outcome]').hidden"); got != false {
		t.Error("an update of the page takes the outcome away")
	}
	b.inspect("conf-pushed")

	// A push to a node that has just gone waits for it, in the same place.
	agent.Signal(t, syscall.SIGKILL)
	b.fill("#conf-form textarea", tunnelText("later"))
	b.click("#save-push")
	b.until("document.querySelector('[data-outcome=wait]')?.textContent.startsWith('Saved as version 3.')")
}

func TestThePrivateKeyIsInTheEditorOnlyWhenItIsAskedFor(t *testing.T) {
	t.Parallel()
	b, n := editing(t)
	key := strings.Repeat("A", 42) + "E="
	if html := b.eval("fetch(location).then(r => r.text())").(string); strings.Contains(html, key) {
		t.Error("the page has the key")
	}
	typed := withoutKey(tunnelText("typed"))
	b.fill("#conf-form textarea", typed)
	b.click("#save")
	b.see("Saved as version 2.")
	if got := savedText(t, n); got != tunnelText("typed") {
		t.Errorf("saved is %q", got)
	}

	// Typed text stays when the key is shown.
	b.fill("#conf-form textarea", typed+"# more\n")
	b.click("[data-show-key]")
	b.until(confText + " === " + quote(tunnelText("typed")+"# more\n"))
	b.click("#save")
	b.see("Saved as version 3.")
	b.eval("document.activeElement.blur()")
	b.click("[href$='/conf']:not([href^='?'])")
	b.until("!location.search && " + confText + " === " + quote(typed+"# more\n"))
}

func TestTextThatIsTypedWhileItIsSavedIsKept(t *testing.T) {
	t.Parallel()
	b, n := editing(t)
	b.fill("#conf-form textarea", tunnelText("two"))
	b.eval("{ const real = fetch; fetch = (path, o) => o.method === 'PUT' ? new Promise(done => { answer = () => done(real(path, o)) }) : real(path, o) }")
	b.click("#save")
	b.until("document.querySelector('#conf-form').getAttribute('aria-busy')")
	b.fill("#conf-form textarea", tunnelText("three"))
	b.eval("answer()")
	b.see("Saved as version 2.", "What you typed since then is not saved yet.")
	b.eval("document.activeElement.blur()")
	n.Must(t, "POST", n.Path("sync"), nil)
	b.until("document.querySelector('#v-2').innerText.includes('staged')") // the page was fetched anew
	if got := b.eval(confText); got != tunnelText("three") {
		t.Errorf("what was typed meanwhile became %q", got)
	}
	b.click("#save")
	b.eval("answer()")
	b.see("Saved as version 3.")
}

func TestATextThatMayCutTheNodeOffIsSavedOnlyAfterItsAuthorInsists(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "chromium")
	a := apptest.Start(t, "", "WFM_MQTT_PUBLIC_HOST=198.51.100.7")
	cfg := a.AddConfig(t, "home")
	node := "/configs/" + cfg + "/nodes/" + a.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": "router"})["node_id"].(string)
	b := openBrowser(t, a.URL, "cutoff", 390, 844)
	b.login()
	b.open(node + "/conf")
	b.live()
	peer := "[Peer]\nPublicKey = " + strings.Repeat("B", 42) + "E=\nAllowedIPs = 198.51.100.0/24\nEndpoint = 203.0.113.1:51820\n"
	b.fill("#conf-form textarea", tunnelText("one")+peer)
	b.click("#save")
	b.see("may cut the node off:", "tick “Do it anyway” and try again.")
	if said := b.text("#conf-form .message"); strings.Count(said, "198.51.100.7") != 1 || strings.Contains(said, "force: true") {
		t.Errorf("the page says %q", said)
	}
	b.inspect("conf-cut-off")
	b.click("#conf-form [name=force]")
	b.click("#save")
	b.see("Saved as version 1.")
}

func TestUnsavedTextOutlivesTheSessionAndTheNode(t *testing.T) {
	t.Parallel()
	b, n := editing(t)
	b.fill("#conf-form textarea", tunnelText("mine"))
	n.Must(t, "POST", "/api/v1/auth/password", map[string]any{"current_password": apptest.Password, "new_password": apptest.Password + "!"})
	b.see("You are logged out. Your text stays here")
	if got := b.eval("location.pathname").(string); !strings.HasSuffix(got, "/conf") {
		t.Errorf("the page went to %s", got)
	}
	b.click("#save")
	b.see("You are logged out, so nothing was done.")

	// A login in another tab applies to this one.
	b.eval("fetch('/api/v1/auth/login', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({username: 'admin', password: " +
		quote(apptest.Password+"!") + "})}).then(r => r.status)")
	b.until("!document.body.innerText.includes('You are logged out. ') && document.querySelector('#link').dataset.state === 'live'")
	b.click("#save")
	b.see("Saved as version 2.")

	b.fill("#conf-form textarea", tunnelText("unsaved"))
	b.eval("fetch('/api/v1/nodes/" + n.ID + "', {method: 'DELETE'}).then(r => r.status)")
	b.see("what it shows was deleted")
	if got := b.eval(confText); got != tunnelText("unsaved") {
		t.Errorf("what was typed became %v", got)
	}
	b.fill("#conf-form textarea", tunnelText("mine")) // so that the page may be left
}

func TestADialogSendsWhatWasChangedInItAndNothingElse(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "chromium")
	a := apptest.Start(t, "")
	n := a.AddNode(t, a.AddConfig(t, "home"), "router", "wg0")
	set := func(members map[string]any) { a.Must(t, "PUT", "/api/v1/nodes/"+n.ID, members) }
	tags := func() any { return a.Must(t, "GET", "/api/v1/nodes/"+n.ID, nil)["tags"] }
	set(map[string]any{"tags": []string{"a,b", `5" disk`}})
	b := openBrowser(t, a.URL, "dialog", 1280, 800)
	b.login()
	b.open("/configs/" + n.ConfigID + "/nodes/" + n.ID)
	b.live()

	b.click("[data-open=edit-node]")
	b.click("#edit-node .primary")
	b.see("Nothing was changed.")
	b.click("[data-open=edit-node]")
	b.fill("#edit-node [name=tags]", b.eval("document.querySelector('#edit-node [name=tags]').value").(string)+", attic")
	b.click("#edit-node .primary")
	b.see("Saved.", "attic")
	if got := asJSON(tags()); got != asJSON([]string{"a,b", `5" disk`, "attic"}) {
		t.Errorf("tags: %s", got)
	}

	// A change by another user meanwhile stays.
	b.click("[data-open=edit-node]")
	b.fill("#edit-node [name=name]", "mine")
	set(map[string]any{"tags": []string{"theirs"}})
	b.see("theirs")
	b.click("#edit-node .primary")
	b.until("document.querySelector('h1').innerText.includes('mine')")
	if got := asJSON(tags()); got != `["theirs"]` {
		t.Errorf("tags: %s", got)
	}

	// Text typed into an abandoned dialog is gone.
	b.click("[data-open=edit-node]")
	b.fill("#edit-node [name=name]", "never said")
	b.click("#edit-node [data-close]")
	set(map[string]any{"name": "renamed"})
	b.until("document.querySelector('#edit-node [name=name]').value === 'renamed'")
}

func TestAPushIsOfTheVersionThatWasAskedAbout(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "mosquitto_sub", "stdbuf")
	b, n := editing(t)
	apptest.Spawn(t, nil, "stdbuf", append([]string{"-oL", "mosquitto_sub"}, mosquitto(n, "5", "-d", "-q", "1", "-t", n.Topic("info"))...)...).Expect(t,
		"Subscribed")
	n.Await(t, "online")
	b.open("/configs/" + n.ConfigID + "/nodes/" + n.ID)
	b.live()
	b.click("[value=push_config]")
	b.see("Version 1 is pushed")
	saveElsewhere(t, n, "two")
	b.until("document.querySelector('#control [name=version]').value === '2'") // the page knows; the dialog does not
	b.click("#confirm [value=yes]")
	b.see("Nothing was pushed")
	b.click("[value=push_config]")
	b.see("Version 2 is pushed")
	b.click("#confirm [value=yes]")
	b.until("document.querySelector('#log tbody tr')?.innerText.includes('Push')")
}

func TestABindCommandCountsByTheAppliancesClockAndTellsWhenItIsVoid(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "chromium")
	a := apptest.Start(t, "")
	cfg := a.AddConfig(t, "home")
	id := a.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": "router"})["node_id"].(string)
	api := "/api/v1/configs/" + cfg + "/nodes/" + id
	b := openBrowser(t, a.URL, "clock", 1280, 800)
	if _, err := chromedp.Call(b.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
		Source: "{ const real = Date.now; Date.now = () => real() + 600000 }",
	}); err != nil {
		t.Fatal(err)
	}
	b.login()
	b.open(strings.TrimPrefix(api, "/api/v1"))
	b.live()

	// An error in a folded section unfolds it.
	b.click("#bind-more summary")
	b.fill("[name=server_url]", "ftp://x")
	b.click("#bind-more summary")
	b.click("#bind-form .primary")
	b.see("must begin with http://")
	b.fill("[name=server_url]", "")

	b.click("#bind-form .primary")
	b.see("Valid for 4:5")
	a.Must(t, "POST", api+"/bind-command", nil)
	b.see("This command is no longer valid")
	b.click("#bind-form .primary")
	b.see("Valid for 4:5")
	a.Must(t, "PUT", "/api/v1/nodes/"+id, map[string]any{"enabled": false})
	b.see("This command is no longer valid")
}

func TestWithoutItsScriptAPagePutsNothingIntoAnAddress(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "chromium")
	a := apptest.Start(t, "")
	b := openBrowser(t, a.URL, "scriptless", 1280, 800)
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	b.open("/login")
	b.fill("#login [name=password]", apptest.Password)
	b.click("#login button")
	b.see("Changing something here needs JavaScript")
	if got := b.eval("location.href"); got != a.URL+"/ui/form" {
		t.Errorf("the browser went to %v", got)
	}
}
