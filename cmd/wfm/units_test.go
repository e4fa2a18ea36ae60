package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wfm/internal/apptest"
)

// systemd accepts the units in docs/systemd once the programs are at the paths they name.
func TestSystemdTakesTheUnits(t *testing.T) {
	apptest.Need(t, "systemd-analyze")
	for unit, program := range map[string]string{"wfm.service": "wfm", "wfm-agent.service": "wfm-agent"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", "systemd", unit))
		if err != nil {
			t.Fatal(err)
		}
		here := strings.ReplaceAll(string(text), "/usr/local/bin/"+program, apptest.Binary(program))
		if here == string(text) {
			t.Fatalf("%s does not start /usr/local/bin/%s", unit, program)
		}
		file := filepath.Join(t.TempDir(), unit)
		if err := os.WriteFile(file, []byte(here), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, code := apptest.Run(t, "systemd-analyze", "verify", "--man=no", file); code != 0 || strings.TrimSpace(out) != "" {
			t.Errorf("%s: exit code %d\n%s", unit, code, out)
		}
	}
}
