package ui_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var declared = regexp.MustCompile(`(?m)^(?:async )?(?:function|const|let) (\w+)`)

// The scripts share one scope: a function of one that another declares too would replace it there.
func TestNoNameIsDeclaredByTwoScripts(t *testing.T) {
	scripts, err := filepath.Glob("static/*.js")
	if err != nil || len(scripts) < 4 {
		t.Fatal(scripts, err)
	}
	by := make(map[string]string)
	for _, script := range scripts {
		if strings.Contains(script, "idiomorph") {
			continue
		}
		src, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllStringSubmatch(string(src), -1) {
			if other := by[m[1]]; other != "" {
				t.Errorf("%s declares %s, as %s does", script, m[1], other)
			}
			by[m[1]] = script
		}
	}
}
