package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"wfm/internal/agenttest"
	"wfm/internal/apptest"
)

// TestImagesOfTheREADME takes the pictures of docs/images anew where WFM_TEST_IMAGES is set.
func TestImagesOfTheREADME(t *testing.T) {
	if os.Getenv("WFM_TEST_IMAGES") == "" {
		t.Skip("WFM_TEST_IMAGES is not set: the pictures stay as they are")
	}
	apptest.Need(t, "chromium")
	a := apptest.Start(t, "")
	cfg := a.Must(t, "POST", "/api/v1/configs", map[string]any{
		"name": "branch offices", "description": "The mesh between the offices and the data centre.",
	})["config_id"].(string)
	var first string
	for i, name := range []string{"amsterdam", "berlin", "copenhagen", "dublin", "edinburgh", "florence", "geneva", "hamburg"} {
		id := a.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{
			"name": name, "interface_name": fmt.Sprint("wg", i), "tags": []string{[]string{"edge", "core"}[i%2], "eu"},
		})["node_id"].(string)
		path := "/api/v1/configs/" + cfg + "/nodes/" + id
		a.Must(t, "PUT", path+"/applied-conf", map[string]any{"content": plainConf, "note": "first version"})
		if name == "hamburg" {
			continue // was never bound
		}
		c, err := agenttest.Bind(t, a.URL, a.Must(t, "POST", path+"/bind-command", nil)["token"].(string))
		if err != nil {
			t.Fatal(err)
		}
		stop := c.Run()
		n := &apptest.Node{Appliance: a, ConfigID: cfg, ID: id}
		n.Await(t, "online")
		if name == "dublin" {
			stop() // the connection breaks: the node is dropped, or offline by now
			continue
		}
		t.Cleanup(stop)
		n.Control(t, "push_config")
		if name != "florence" {
			n.Control(t, "start")
		}
		if first == "" {
			first = id
		}
	}
	b := openBrowser(t, a.URL, "docs", 1280, 800)
	b.login()
	for image, path := range map[string]string{"config": "/configs/" + cfg, "node": "/configs/" + cfg + "/nodes/" + first} {
		b.open(path)
		b.until("document.querySelector('#link').dataset.state === 'live'")
		b.shot(image)
		if err := os.Rename(filepath.Join("..", "..", "artifacts", image+"-docs.png"), filepath.Join("..", "..", "docs", "images", image+".png")); err != nil {
			t.Fatal(err)
		}
	}
}
