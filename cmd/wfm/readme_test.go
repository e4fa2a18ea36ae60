package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wfm/internal/apptest"
)

// readmeScript returns the shell commands of README.md, adapted to the appliance.
func readmeScript(t *testing.T, a *apptest.Appliance, password string) string {
	t.Helper()
	raw, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(raw), "\n## The same by script\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var script strings.Builder
	for {
		_, rest, ok := strings.Cut(section, "```sh\n")
		if !ok {
			break
		}
		var block string
		block, section, _ = strings.Cut(rest, "```\n")
		script.WriteString(block)
	}
	return strings.NewReplacer(
		"PASSWORD='…'", "PASSWORD='"+password+"'", "http://localhost:8000", a.URL,
		"bin/wfm-agent", apptest.Binary("wfm-agent"), "./agent-data", filepath.Join(t.TempDir(), "agent"),
	).Replace(script.String())
}

func TestTheScriptOfTheREADMEWorksAfterTheSessionInTheBrowser(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "bash", "curl", "grep", "cut")
	a := apptest.Start(t, "") // its admin is set up
	script := "set -m\n" + readmeScript(t, a, apptest.Password)
	if !strings.Contains(script, "auth/login") || !strings.Contains(script, "reset-client") {
		t.Fatalf("the script is incomplete:\n%s", script)
	}
	out, err := exec.CommandContext(t.Context(), "bash", "-c", script).CombinedOutput()
	text := string(out)
	if err != nil || strings.Contains(text, `"success":false`) {
		t.Errorf("%v:\n%s", err, text)
	}
	for _, want := range []string{
		`"message":"node details: done","status":"acked"`, `"detail":"tools: `, `"action":"event"`, `"client_presence_state":"online"`,
		`"client_initialized":false`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not print %s:\n%s", want, text)
		}
	}
}

func TestTheScriptOfTheREADMEPrintsWhatIsWrong(t *testing.T) {
	apptest.Need(t, "bash", "curl", "grep", "cut")
	a := apptest.Start(t, "")
	script := readmeScript(t, a, "a wrong password")
	login, _, _ := strings.Cut(script, "CONFIG=")
	out, _ := exec.CommandContext(t.Context(), "bash", "-c", login).CombinedOutput()
	if !strings.Contains(string(out), "no access_token: ") || !strings.Contains(string(out), "AUTH_FAILED") {
		t.Errorf("a wrong password: %s", out)
	}
}
