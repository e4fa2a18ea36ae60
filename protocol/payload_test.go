package protocol_test

import (
	"testing"

	"wfm/protocol"
)

func TestOnlyThreeAckStatusesAreValid(t *testing.T) {
	tests := map[protocol.AckStatus]bool{
		"accepted": true, "applied": true, "failed": true,
		"": false, "Applied": false, "ok": false, "queued": false, "applied ": false,
	}
	for status, want := range tests {
		t.Run(string(status), func(t *testing.T) {
			if got := status.Valid(); got != want {
				t.Errorf("Valid = %v, want %v", got, want)
			}
		})
	}
}

func TestToolFamilyKnowsEverySpellingInTheField(t *testing.T) {
	tests := map[string]string{
		"wireguard": "wg", "amneziawg": "awg", "amneziawg_2": "awg",
		"": "", "WireGuard": "", "wg": "", "awg": "", "amneziawg_3": "", "openvpn": "",
	}
	for tunnel, want := range tests {
		t.Run(tunnel, func(t *testing.T) {
			if got := protocol.ToolFamily(tunnel); got != want {
				t.Errorf("ToolFamily = %q, want %q", got, want)
			}
		})
	}
}

func TestOnlyKnownAWGVersionsAreValid(t *testing.T) {
	tests := map[string]bool{
		"1.5": true, "2.0": true, "3.1": true,
		"": false, "1": false, "2": false, "1.0": false, "3.0": false, "v2.0": false, "2.0 ": false,
	}
	for version, want := range tests {
		t.Run(version, func(t *testing.T) {
			if got := protocol.ValidAWGVersion(version); got != want {
				t.Errorf("ValidAWGVersion = %v, want %v", got, want)
			}
		})
	}
}

func TestValidInterfaceNameIsSafeInAPathAndOnACommandLine(t *testing.T) {
	tests := []struct {
		name  string
		iface string
		want  bool
	}{
		{"usual", "wg0", true},
		{"one byte", "w", true},
		{"upper case", "WG0", true},
		{"every sign", "a_=+.-", true},
		{"fifteen bytes", "abcdefghijklmno", true},
		{"dots inside", "wg..0", true},
		{"leading dot", ".wg", true},
		{"three dots", "...", true},
		{"trailing dash", "wg-", true},

		{"empty", "", false},
		{"sixteen bytes", "abcdefghijklmnop", false},
		{"dot", ".", false},
		{"two dots", "..", false},
		{"leading dash is an option", "-wg", false},
		{"dash alone", "-", false},
		{"slash", "a/b", false},
		{"parent", "../wg0", false},
		{"backslash", `a\b`, false},
		{"space", "wg 0", false},
		{"newline", "wg0\n", false},
		{"nul byte", "wg0\x00", false},
		{"shell substitution", "$(id)", false},
		{"semicolon", "wg0;id", false},
		{"quote", "wg'0", false},
		{"alias colon", "wg0:1", false},
		{"percent", "wg%d", false},
		{"unicode", "wg\u00e9", false},
		{"invalid UTF-8", "wg\xff", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := protocol.ValidInterfaceName(tt.iface); got != tt.want {
				t.Errorf("ValidInterfaceName(%q) = %v, want %v", tt.iface, got, tt.want)
			}
		})
	}
}
