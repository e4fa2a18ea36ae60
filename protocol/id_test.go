package protocol_test

import (
	"strings"
	"testing"

	"wfm/protocol"
)

func TestValidIDAcceptsOnlyShortLowerCaseNames(t *testing.T) {
	tests := []struct {
		name string
		id   string
		want bool
	}{
		{"one byte", "a", true},
		{"every class of byte", "az09_-", true},
		{"byte before the letters", "`", false},
		{"byte after the letters", "{", false},
		{"byte before the digits", "/", false},
		{"byte after the digits", ":", false},
		{"only digits", "0", true},
		{"leading dash", "-a", true},
		{"leading underscore", "_a", true},
		{"longest", strings.Repeat("a", protocol.MaxIDLength), true},

		{"empty", "", false},
		{"one byte too long", strings.Repeat("a", protocol.MaxIDLength+1), false},
		{"upper case", "Node_b", false},
		{"slash", "a/b", false},
		{"plus", "+", false},
		{"hash", "#", false},
		{"dollar", "$sys", false},
		{"dot", "a.b", false},
		{"two dots", "..", false},
		{"space", "a b", false},
		{"trailing newline", "a\n", false},
		{"nul byte", "a\x00", false},
		{"letter with accent", "nodé", false},
		{"full-width letter", "\uff41", false},
		{"invalid UTF-8", "a\xff", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := protocol.ValidID(tt.id); got != tt.want {
				t.Errorf("ValidID(%q) = %v, want %v", tt.id, got, tt.want)
			}
		})
	}
}

// Stores and deployed agents hold ids of this length.
func TestAnIDMayHave64Bytes(t *testing.T) {
	t.Parallel()
	if !protocol.ValidID(strings.Repeat("a", 64)) || protocol.ValidID(strings.Repeat("a", 65)) {
		t.Error("64 bytes are not the most")
	}
}

func TestNewIDIsValidAndDifferentEachTime(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		id := protocol.NewID("node")
		if !protocol.ValidID(id) {
			t.Fatalf("NewID gave %q, which is not a valid id", id)
		}
		if !strings.HasPrefix(id, "node_") {
			t.Fatalf("NewID gave %q, want the prefix node_", id)
		}
		if seen[id] {
			t.Fatalf("NewID gave %q twice", id)
		}
		seen[id] = true
	}
}

func TestNewSecretIsURLSafe256BitsAndDifferentEachTime(t *testing.T) {
	const urlSafe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	seen := make(map[string]bool)
	for range 100 {
		s := protocol.NewSecret()
		if len(s) != 43 { // 256 bits, 6 to a byte
			t.Fatalf("NewSecret gave %d bytes, want 43", len(s))
		}
		if strings.Trim(s, urlSafe) != "" {
			t.Fatal("NewSecret gave a byte that is not safe in a URL")
		}
		if seen[s] {
			t.Fatal("NewSecret gave the same secret twice")
		}
		seen[s] = true
	}
}

func TestDerivedNamesKeepTheirFixedForm(t *testing.T) {
	if got, want := protocol.ClientID("node_b"), "wfm-node_b"; got != want {
		t.Errorf("ClientID = %q, want %q", got, want)
	}
	if got, want := protocol.ProfileID("cfg_a", "node_b"), "cfg_a-node_b"; got != want {
		t.Errorf("ProfileID = %q, want %q", got, want)
	}
}

func TestIsNewIDKnowsTheFormOfNewID(t *testing.T) {
	id := protocol.NewID("node")
	for _, other := range []string{"", "node_", "node_red", id + "a", id[1:], strings.ToUpper(id), "cfg_" + id[5:], id[:len(id)-1] + "1"} {
		if protocol.IsNewID("node", other) {
			t.Errorf("%q has the form", other)
		}
	}
	if !protocol.IsNewID("node", id) {
		t.Errorf("%q has not", id)
	}
}
