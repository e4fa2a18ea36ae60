package main

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"

	"wfm/internal/apptest"
)

// blocks returns the shell commands of a section of a document, block by block.
func blocks(t *testing.T, document, section string) (all []string) {
	t.Helper()
	raw, err := os.ReadFile("../../" + document)
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(raw), "\n## "+section+"\n")
	if !found {
		t.Fatalf("%s has no section %q", document, section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	for {
		_, rest, ok := strings.Cut(text, "```sh\n")
		if !ok {
			return all
		}
		var block string
		block, text, _ = strings.Cut(rest, "```\n")
		all = append(all, block)
	}
}

// The script of "Your first mesh", with machines as it asks for.
func TestTheScriptOfTheFirstMeshMakesAMeshThatWorks(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "bash", "curl", "grep", "cut")
	s := newMeshSite(t)
	script := blocks(t, "docs/first-mesh.md", "The same by script")
	if len(script) != 6 {
		t.Fatalf("the script has %d blocks", len(script))
	}
	script[0] = "URL=" + s.URL + " PASSWORD='" + apptest.Password + "'\n"
	cmd := exec.CommandContext(t.Context(), "bash", "-e", "-c",
		strings.ReplaceAll(strings.Join(script[:4], ""), "192.0.2.1", s.gate.IP)+
			"echo $MESH $GATE $AMSTERDAM $BERLIN $PHONE\nread -r _\n"+strings.Join(script[4:], ""))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewScanner(pipe)
	out.Buffer(nil, 1<<20) // a line has the difference of every tunnel config
	line := func() string {
		t.Helper()
		if !out.Scan() {
			t.Fatal("the script has ended")
		}
		return out.Text()
	}
	commands := []string{line(), line(), line()} // of gate, amsterdam and berlin
	ids := strings.Fields(line())
	s.configID = strings.TrimPrefix(ids[0], "/api/v1/configs/")
	var nodes []*member
	for i, m := range []*apptest.Machine{s.gate, s.amsterdam, s.berlin, s.phone} {
		n := s.member(m, s.Must(t, "GET", "/api/v1/nodes/"+ids[i+1], nil))
		nodes = append(nodes, n)
		if i < len(commands) {
			s.bindAgent(n, commands[i])
		}
	}
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	var last string
	for out.Scan() {
		last = out.Text()
		if strings.Contains(last, `"success":false`) || strings.HasPrefix(last, "no ") {
			t.Error(last)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v after %s", err, last)
	}
	phone := nodes[3]
	s.inside(s.phone, "sh", "-c", "cd "+phone.AgentDir+" && "+last)
	s.inside(s.phone, "wg-quick", "up", phone.file())
	s.pingEachOther(nodes...)
	s.ping(reach{phone, "the host behind amsterdam", s.host.IP})
	if nodes[1].v4 != "10.66.0.2" { // the address that the document pings
		t.Errorf("amsterdam has %s", nodes[1].v4)
	}
}
