package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"wfm/internal/agenttest"
	"wfm/internal/apptest"
)

// TestImagesOfTheREADME takes the pictures of docs/images anew where WFM_TEST_IMAGES is set.
func TestImagesOfTheREADME(t *testing.T) {
	if os.Getenv("WFM_TEST_IMAGES") == "" {
		t.Skip("WFM_TEST_IMAGES is not set: the pictures stay as they are")
	}
	apptest.Need(t, "chromium")
	a := apptest.Start(t, "", "WFM_PRESENCE_GRACE_SECONDS=1")
	cfg := a.Must(t, "POST", "/api/v1/configs", map[string]any{
		"name": "branch offices", "description": "The mesh between the offices and the data centre.", "virtual_subnet6": "fd66:6b1f:9c1e::/64",
	})["config_id"].(string)
	mesh := "/configs/" + cfg
	ids := map[string]string{}
	for i, name := range []string{"amsterdam", "berlin", "copenhagen", "dublin", "edinburgh", "florence", "geneva", "hamburg", "Ada's phone"} {
		body := map[string]any{"name": name, "tags": []string{[]string{"edge", "core"}[i%2], "eu"}}
		switch name {
		case "amsterdam":
			body["ipv4_address"] = "192.0.2.1"
		case "berlin":
			body["routes"], body["masquerade"] = []string{"192.168.7.0/24"}, true
		case "Ada's phone":
			body["node_type"] = "static"
		}
		ids[name] = a.Must(t, "POST", "/api/v1"+mesh+"/nodes", body)["node_id"].(string)
		if name == "hamburg" || name == "Ada's phone" {
			continue // no agent
		}
		n := &apptest.Node{Appliance: a, ConfigID: cfg, ID: ids[name]}
		c, err := agenttest.Bind(t, a.URL, a.Must(t, "POST", n.Path("bind-command"), nil)["token"].(string))
		if err != nil {
			t.Fatal(err)
		}
		stop := c.Run()
		n.Await(t, "online")
		if name == "dublin" {
			stop() // its connection breaks
			n.Await(t, "dropped")
		} else {
			t.Cleanup(stop)
		}
	}
	b := openBrowser(t, a.URL, "docs", 1280, 800)
	b.login()
	picture := func(name, path string, prepare ...func()) {
		t.Helper()
		b.open(path)
		b.live()
		for _, f := range prepare {
			f()
		}
		shot, err := act(b, chromedp.FullScreenshot(100))
		if name == "new-mesh" || name == "node" || name == "phone" { // the rest of these is long, or behind a dialog
			shot, err = act(b, chromedp.CaptureScreenshot())
		}
		if err == nil {
			err = os.WriteFile(filepath.Join("..", "..", "docs", "images", name+".png"), shot, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	picture("new-mesh", "/", func() {
		b.click("[data-open=new-config]")
		b.fill("#new-config [name=name]", "offices")
		b.click("#new-config [name=_ipv6]")
	})
	b.click("#new-config [data-close]") // or the browser asks whether to leave
	picture("quick", mesh+"/quick", func() { b.see("8 links made") })
	a.Must(t, "POST", "/api/v1"+mesh+"/mesh/quick-generate", map[string]any{"mode": "hub_spoke", "use_preshared_key": true})
	picture("phone", mesh+"/nodes/"+ids["Ada's phone"], func() {
		b.click("[data-picture]")
		b.until("document.querySelector('#config-qr img').naturalWidth > 0")
	})
	picture("apply", mesh+"/apply", func() { b.eval("document.querySelector('.changes li:nth-child(2) details').open = true") })
	s := &meshSite{Appliance: a, t: t, configID: cfg}
	a.Must(t, "POST", "/api/v1"+mesh+"/apply", nil)
	var running []*member
	for _, name := range []string{"amsterdam", "berlin", "copenhagen", "edinburgh", "geneva"} {
		n := &apptest.Node{Appliance: a, ConfigID: cfg, ID: ids[name]}
		apptest.Eventually(t, func() bool { return n.Must(t, "GET", n.Path("sync-status"), nil)["status"] == "latest" }, func() string { return name })
		running = append(running, &member{Node: n})
	}
	s.start(running...)
	picture("config", mesh)
	picture("mesh", mesh+"/picture")
	picture("node", mesh+"/nodes/"+ids["berlin"])
}
