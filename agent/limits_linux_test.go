package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startReal stores text and starts it with the real tools.
func startReal(t *testing.T, tun *tunnels, text string) (target, error) {
	t.Helper()
	iface := fmt.Sprintf("wfml%d", os.Getpid())
	g, err := newTarget("cfg_a-node_b", "wireguard", "", iface)
	if err != nil {
		t.Fatal(err)
	}
	if err := tun.configs.Write(iface, []byte(text), configMeta{ProfileID: "cfg_a-node_b"}); err != nil {
		t.Fatal(err)
	}
	_, err = tun.Start(t.Context(), "req_1", g)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", iface).Run() }) //nolint:noctx // clean-up has no context left
	return g, err
}

func realTunnels(t *testing.T) *tunnels {
	t.Helper()
	dir := t.TempDir()
	if err := makeDirs(dir); err != nil {
		t.Fatal(err)
	}
	return newTunnels(dir)
}

// quickVia installs a wg-quick script that calls the real one with other rights or in another
// environment.
func quickVia(t *testing.T, script string) {
	t.Helper()
	tool, err := exec.LookPath("wg-quick")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "wg-quick"), []byte("#!/bin/sh\n"+strings.ReplaceAll(script, "REAL", tool)+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestAgentWithoutTheRightToMakeInterfacesSaysSo(t *testing.T) {
	needTool(t, hasTool("setpriv"), "setpriv")
	if !inOwnNetwork(t) {
		return
	}
	quickVia(t, `exec setpriv --bounding-set -net_admin --inh-caps -net_admin REAL "$@"`)
	_, err := startReal(t, realTunnels(t), realConfig(51011))
	if err == nil {
		t.Fatal("it is started without the right to")
	}
	first, last := "RTNETLINK answers: Operation not permitted", "the agent needs root or CAP_NET_ADMIN"
	if i, j := strings.Index(err.Error(), first), strings.Index(err.Error(), last); i < 0 || j < i {
		t.Error(err)
	}
}

func TestNodeWithoutResolvconfSaysSo(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	if hasTool("resolvconf") {
		t.Skip("there is a resolvconf here")
	}
	_, err := startReal(t, realTunnels(t), strings.Replace(realConfig(51012), "ListenPort", "DNS = 10.99.0.2\nListenPort", 1))
	if err == nil || !strings.Contains(err.Error(), "install the package openresolv") {
		t.Error(err)
	}
}

// wg-quick needs seconds for 300 networks on one line.
func TestTheTimeLimitGrowsWithTheConfig(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	var networks []string
	for i := range 300 {
		networks = append(networks, fmt.Sprintf("10.%d.%d.0/24", 100+i/256, i%256))
	}
	text := strings.Replace(realConfig(51013), "10.99.0.2/32", strings.Join(networks, ", "), 1)
	tun := realTunnels(t)
	tun.changeLimit = 300 * time.Millisecond
	g, err := startReal(t, tun, text)
	if err != nil {
		t.Fatal(err)
	}
	confirmed(t, tun)
	if _, err := tun.Stop(t.Context(), "req_2", g); err != nil || systemLink(g.iface) != linkAbsent {
		t.Errorf("stop: %v", err)
	}
}

func hasTool(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}
