package mesh_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestEveryCodeOfAFindingIsInTheDocuments(t *testing.T) {
	source, err := os.ReadFile("finding.go")
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../docs/meshes.md")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`Code\w+ += "([A-Z_]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(codes) < 25 {
		t.Fatalf("only %d codes", len(codes))
	}
	for _, code := range codes {
		if !strings.Contains(string(document), "`"+code[1]+"`") {
			t.Errorf("docs/meshes.md does not have %s", code[1])
		}
	}
}
