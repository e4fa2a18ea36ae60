package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"wfm/internal/apptest"
)

func TestDemo(t *testing.T) {
	a := apptest.Start(t, "")
	cfg := a.Must(t, "POST", "/api/v1/configs", map[string]any{"name": "branch offices", "description": "The mesh between the offices and the data centre."})["config_id"].(string)
	lab := a.AddConfig(t, "lab")
	a.AddNode(t, lab, "bench", "wg0")
	names := []string{"amsterdam", "berlin", "copenhagen", "dublin", "edinburgh", "florence", "geneva", "hamburg"}
	conf := func(n *apptest.Node, i int) {
		key, _ := apptest.Run(t, "wg", "genkey")
		pub, _ := apptest.Run(t, "wg", "genkey")
		text := fmt.Sprintf("[Interface]\nPrivateKey = %sAddress = 10.77.0.%d/24\nListenPort = %d\n\n[Peer]\nPublicKey = %sAllowedIPs = 10.77.0.%d/32\n", key, i+1, 40000+i, pub, i+100)
		a.Must(t, "PUT", n.Path("applied-conf"), map[string]any{"content": text, "note": "first version"})
		a.Must(t, "POST", n.Path("sync"), nil)
	}
	var first *apptest.Node
	for i, name := range names {
		n := a.AddNode(t, cfg, name, fmt.Sprintf("wfmdemo%d", i))
		a.Must(t, "PUT", "/api/v1/nodes/"+n.ID, map[string]any{"tags": []string{[]string{"edge", "core"}[i%2], "eu"}})
		conf(n, i)
		if i == 7 {
			continue
		}
		p := n.StartAgent(t)
		if i == 3 {
			p.Kill()
			continue
		}
		if i != 5 {
			n.Control(t, "push_config")
			n.Control(t, "start")
		}
		if i == 0 {
			first = n
			n.Control(t, "describe")
			n.Control(t, "wg_show")
		}
	}
	time.Sleep(95 * time.Second)
	first.Control(t, "detect")
	for _, s := range []struct {
		name string
		w, h int64
		dark bool
	}{{"light", 1280, 900, false}, {"dark", 1280, 900, true}, {"narrow", 390, 844, false}} {
		b := openBrowser(t, a.URL, s.name, s.w, s.h)
		b.dark(s.dark)
		b.login()
		b.see("Configs")
		b.shot("demo-overview")
		b.open("/configs/" + cfg)
		b.see("amsterdam")
		b.shot("demo-config")
		b.open("/configs/" + cfg + "/nodes/" + first.ID)
		b.see("Control")
		b.shot("demo-node")
	}
	_ = os.Stdout
}
