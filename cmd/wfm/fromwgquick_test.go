package main

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wfm/internal/apptest"
	"wfm/mesh"
)

// The script of "From wg-quick to a mesh", with tunnels that run before the appliance knows them.
func TestTheScriptOfFromWGQuickTakesOverTunnelsThatRun(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "bash", "curl", "grep", "jq")
	s := newMeshSite(t)
	dir := t.TempDir()
	names := []string{"gate", "amsterdam", "berlin", "phone"}
	machines := []*apptest.Machine{s.gate, s.amsterdam, s.berlin, s.phone}
	for i, file := range handMade(t, s.gate.IP) {
		folder := filepath.Join(dir, "files", names[i])
		if names[i] == "phone" { // its file stays on the phone
			folder = filepath.Join(dir, "phone")
		}
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, "wg0.conf")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		s.inside(machines[i], "wg-quick", "up", path)
	}
	script := blocks(t, "docs/from-wg-quick.md", "The same by script")
	if len(script) != 6 {
		t.Fatalf("the script has %d blocks", len(script))
	}
	script[0] = "URL=" + s.URL + " PASSWORD='" + apptest.Password + "'\n"
	run := func(more string, blocks ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail", "-c", strings.Join(blocks, "")+more)
		cmd.Dir, cmd.Stderr = dir, os.Stderr
		out, err := cmd.Output()
		if err != nil || strings.Contains(string(out), "null") {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	out := run("echo $MESH\necho $TOKEN\n", script[:5]...)
	for _, want := range []string{
		`"problems": []`, `"one_sided": []`, "Nothing was changed. 4 nodes and 3 links would be made.", "4 nodes and 3 links were made.",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not print %s:\n%s", want, out)
		}
	}
	if strings.Contains(out, `"config_source": "text",`) != strings.Contains(out, `"name": "phone"`) || strings.Count(out, `"config_source": "mesh"`) != 3 {
		t.Errorf("not all files are made by the mesh:\n%s", out)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := len(lines) - 1
	commands, configs := lines[last-4:last-1], "MESH="+lines[last-1]+"\nTOKEN="+lines[last]+"\n"
	s.configID = strings.TrimPrefix(lines[last-1], "/api/v1/configs/")
	nodes := make(map[string]*member)
	for _, node := range s.Must(t, "GET", s.path("overview"), nil)["nodes"].([]any) {
		n := node.(map[string]any)
		i := slices.Index(names, n["name"].(string))
		if i < 0 {
			t.Fatalf("a node is called %v", n["name"])
		}
		nodes[names[i]] = s.member(machines[i], n)
	}
	for i, name := range []string{"amsterdam", "berlin", "gate"} { // the API lists nodes by name
		s.bindAgent(nodes[name], commands[i])
	}
	if got := run("", script[0], script[1][:strings.Index(script[1], "TOKEN=")], configs, script[5]); !strings.HasSuffix(got, "done\n") {
		t.Errorf("applying ends with %s", got)
	}
	for _, name := range names[:3] {
		n := nodes[name]
		if text := s.inside(n.Machine, "cat", n.AgentDir+"/tunnels/wg0.conf"); !strings.Contains(text, "# phone") != (name != "gate") {
			t.Errorf("%s has\n%s", name, text)
		}
	}
	s.pingEachOther(nodes["gate"], nodes["amsterdam"], nodes["berlin"], nodes["phone"])
}

// handMade returns the files of gate, amsterdam, berlin and a phone, as people write them.
func handMade(t *testing.T, gateIP string) []string {
	t.Helper()
	var keys []mesh.Keys
	for range 4 {
		pair, err := mesh.NewKeys(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, pair)
	}
	toGate := "\n[Peer]\nPublicKey = " + keys[0].Public + "\nEndpoint = " + gateIP + ":51820\nAllowedIPs = 10.8.0.0/24\nPersistentKeepalive = 5\n"
	return []string{
		"[Interface]\nAddress = 10.8.0.1/24\nListenPort = 51820\nPrivateKey = " + keys[0].Private + "\nPostUp = sysctl -q -w net.ipv4.ip_forward=1\n\n" +
			"# amsterdam\n[Peer]\nPublicKey = " + keys[1].Public + "\nAllowedIPs = 10.8.0.2/32\n\n" +
			"# berlin\n[Peer]\nPublicKey = " + keys[2].Public + "\nAllowedIPs = 10.8.0.3/32\n\n" +
			"# phone\n[Peer]\nPublicKey = " + keys[3].Public + "\nAllowedIPs = 10.8.0.4/32\n",
		"[Interface]\nAddress = 10.8.0.2/24\nPrivateKey = " + keys[1].Private + "\n" + toGate,
		"[Interface]\nAddress = 10.8.0.3/24\nPrivateKey = " + keys[2].Private + "\nMTU = 1400\n" + toGate,
		"[Interface]\nAddress = 10.8.0.4/24\nPrivateKey = " + keys[3].Private + "\n" + toGate,
	}
}
