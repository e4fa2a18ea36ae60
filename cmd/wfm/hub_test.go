package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wfm/internal/apptest"
)

// randomKey returns a key in the form that wg genkey and wg genpsk print.
func randomKey() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// hubConfig returns the config of a hub with the given number of users, with preshared keys and
// comments.
func hubConfig(users int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Interface]\nPrivateKey = %s\nAddress = 10.61.0.1/16\nListenPort = 51820\n\n", randomKey())
	for i := range users {
		fmt.Fprintf(&b, "# user %d of the north site\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = 10.90.%d.%d/32\n", i, randomKey(), randomKey(), i/256,
			i%256)
	}
	return b.String()
}

// The config of a thousand users works the whole way: saved, pushed, acknowledged, on the node's
// disk, and in a later bind.
func TestAHubOfAThousandUsersIsPushed(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	cfg := a.AddConfig(t, "hub")
	hub := a.AddNode(t, cfg, "hub", "wfhub0")
	agent := hub.StartAgent(t)
	text := hubConfig(1000)
	if len(text) < 170_000 {
		t.Fatalf("only %d bytes", len(text))
	}
	saved := hub.Must(t, "PUT", hub.Path("applied-conf"), map[string]any{"content": text})
	if warnings := fmt.Sprint(saved["warnings"]); strings.Contains(warnings, "SLOW") {
		t.Errorf("warned of: %s", warnings)
	}
	hub.Must(t, "POST", hub.Path("sync"), nil)
	got := hub.Must(t, "POST", hub.Path("endpoint/control"), map[string]any{"action": "push_config", "wait": 60})
	if got["state"] != "applied" {
		t.Fatalf("push: %v", got)
	}
	if status := hub.Must(t, "GET", hub.Path("sync-status"), nil); status["status"] != "latest" {
		t.Errorf("%v", status)
	}
	// A bind hands the whole text to an agent that starts anew.
	agent.Kill()
	hub.AgentDir = t.TempDir()
	hub.Bind(t)
	if onDisk, err := os.ReadFile(filepath.Join(hub.AgentDir, "tunnels", "wfhub0.conf")); err != nil || string(onDisk) != text {
		t.Errorf("%d bytes of %d were bound with: %v", len(onDisk), len(text), err)
	}

	answer := hub.Call(t, "PUT", hub.Path("applied-conf"), map[string]any{"content": hubConfig(1500)})
	if answer.Status != 422 || !strings.Contains(answer.Body, "leave out comments (4") || !strings.Contains(answer.Body, "spread the peers over two nodes") {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
}
