package main

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"wfm/internal/apptest"
	"wfm/mesh"
)

// importFiles writes wg-quick files of a server, a laptop and a router, and returns their names.
func importFiles(t *testing.T) (dir string, names []string) {
	t.Helper()
	dir = t.TempDir()
	var keys []mesh.Keys
	for range 4 {
		pair, err := mesh.NewKeys(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, pair)
	}
	server, laptop, router, phone := keys[0], keys[1], keys[2], keys[3]
	peer := "\n[Peer]\nPublicKey = " + server.Public + "\nEndpoint = vpn.example.org:51820\nPersistentKeepalive = 25\nAllowedIPs = 10.8.0.0/24"
	for name, text := range map[string]string{
		"server.conf": "[Interface]\nPrivateKey = " + server.Private + "\nAddress = 10.8.0.1/24\nListenPort = 51820\n\n" +
			"[Peer]\nPublicKey = " + laptop.Public + "\nAllowedIPs = 10.8.0.2/32\n\n[Peer]\nPublicKey = " + router.Public +
			"\nAllowedIPs = 10.8.0.3/32, 192.168.7.0/24\n\n# Anna's phone\n[Peer]\nPublicKey = " + phone.Public + "\nAllowedIPs = 10.8.0.4/32\n",
		"laptop.conf": "[Interface]\nPrivateKey = " + laptop.Private + "\nAddress = 10.8.0.2/24\nDNS = 10.8.0.1\n" + peer + ", 192.168.7.0/24\n",
		"wg0.conf":    "# Name = office router\n[Interface]\nPrivateKey = " + router.Private + "\nAddress = 10.8.0.3/24\nTable = 123\n" + peer + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, filepath.Join(dir, name))
	}
	return dir, names
}

func TestExistingFilesAreBroughtOnThePage(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "chromium")
	a := apptest.Start(t, "")
	dir, names := importFiles(t)
	b := openBrowser(t, a.URL, "import", 1280, 900)
	b.login()
	b.click("[data-open=new-config]")
	b.until("document.querySelector('#new-config').open")
	b.fill("#new-config [name=name]", "home")
	b.click("#new-config [data-then$=import-conf]")
	b.until("location.pathname.endsWith('/import-conf') && document.readyState === 'complete'")
	b.inspect("import-empty")

	// A broken file first: the plan names its fault and the line.
	broken := filepath.Join(dir, "broken.conf")
	if err := os.WriteFile(broken, []byte("[Interface]\nAddress = 10.8.0.9/24\nColour = red\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.SetUploadFiles("#import-choose", append(names, broken)))
	b.see("To be solved first", "broken.conf, line 3", "Colour")
	if b.eval("document.querySelector('#import-go').disabled") != true {
		t.Error("a plan with a problem can be carried out")
	}
	b.inspect("import-problem")
	b.click(`[aria-label="Remove broken.conf"]`)
	b.see("3 links would be made.", "office router", "Anna's phone", "Table (line 5) has no field here.", "becomes 10.8.0.0/24", "Import 4 nodes")
	if text := b.text("main"); strings.Contains(text, "PrivateKey =") {
		t.Error("the plan shows a key")
	}
	b.inspect("import-plan")
	b.width(390)
	b.inspect("import-plan-narrow")
	b.width(1280)

	b.eval("(e => { e.value = 'static'; e.dispatchEvent(new Event('change')) })(document.querySelector('[aria-label=\"Kind of file 1\"]'))")
	b.until("document.querySelector('#import-found').innerText.includes(document.querySelector('[aria-label=\"Name of file 1\"]').value + ', no agent')")

	// A pasted file, with a name that is taken, which can be changed in the list.
	raw, err := os.ReadFile(filepath.Join(dir, "laptop.conf"))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := mesh.NewKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pasted := "[Interface]\nPrivateKey = " + pair.Private + "\nAddress = 10.8.0.7/24\n"
	b.click("#import-paste summary")
	b.fill("#import-name", "laptop")
	b.fill("#import-text", pasted)
	b.click("[data-import-add]")
	b.see("Two files have this name.")
	b.eval("(e => { e.value = 'tablet.conf'; e.dispatchEvent(new Event('change')) })(document.querySelector('[aria-label=\"Name of file 4\"]'))")
	b.see("Import 5 nodes")
	b.click("#import-go")
	b.until("/^\\/configs\\/[^/]+$/.test(location.pathname) && document.readyState === 'complete'")
	b.see("office router", "tablet", "server", "Anna's phone")
	if strings.Contains(b.text("main"), string(raw)) {
		t.Error("the page shows a text")
	}
}

// width changes the width of the window.
func (b *browser) width(pixels int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(pixels, 900))
}
