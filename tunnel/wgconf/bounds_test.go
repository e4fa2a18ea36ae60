package wgconf_test

import (
	"strings"
	"testing"

	"wfm/tunnel/wgconf"
)

// Each value is exactly at its bound.
func TestParseAcceptsTheLastValueOfEachBound(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("a", 63)
	for name, s := range map[string]string{
		"MTU, lowest":             text("MTU = 68"),
		"MTU, highest":            text("MTU = 65535"),
		"port":                    text("ListenPort = 65535"),
		"keepalive":               text("", "PersistentKeepalive = 65535"),
		"fwmark in hexadecimal":   text("FwMark = 0xffffffff"),
		"fwmark of nothing":       text("FwMark = 0"),
		"table, lowest":           text("Table = 1"),
		"table, highest":          text("Table = 4294967295"),
		"table's name":            text("Table = " + strings.Repeat("t", 32)),
		"table's first letters":   text("Table = aA0"),
		"table's last letters":    text("Table = zZ9"),
		"table of one letter":     text("Table = x"),
		"dot and dash in a name":  text("Table = x.-"),
		"endpoint's port":         text("", "Endpoint = a:1"),
		"first letters of a host": text("", "Endpoint = aA0.example:1"),
		"last letters of a host":  text("", "Endpoint = zZ9.example:1"),
		"longest label":           text("", "Endpoint = "+label+":1"),
		"longest host":            text("", "Endpoint = "+strings.Repeat(label+".", 3)+strings.Repeat("a", 61)+".:1"),
	} {
		t.Run(name, func(t *testing.T) { mustParse(t, s, "wg") })
	}
}

func TestParseAcceptsTheLargestConfig(t *testing.T) {
	t.Parallel()
	s := text("")
	mustParse(t, s+strings.Repeat("\n", wgconf.MaxSize-len(s)), "wg")
}

func TestParseRefusesTheFirstValueBeyondABound(t *testing.T) {
	t.Parallel()
	const table = ` is neither off, auto, nor the number or name of a routing table`
	const endpoint = ` is not an endpoint; write host:port, or [address]:port for IPv6`
	long := strings.Repeat("a-", 32)
	host := strings.Repeat(long[:63]+".", 3) + long[2:]
	for name, tt := range map[string]struct{ text, want string }{
		"MTU":                      {text("MTU = 65536"), `line 3: MTU: "65536" is not a number from 68 to 65535`},
		"keepalive":                {text("", "PersistentKeepalive = 65536"), `line 6: PersistentKeepalive: "65536" is not a number from 0 to 65535`},
		"decimal fwmark":           {text("FwMark = 4294967296"), `line 3: FwMark: "4294967296" is neither off nor a number of 32 bits, decimal or like 0xca6c`},
		"table":                    {text("Table = 4294967296"), `line 3: Table: "4294967296" is not a number from 1 to 4294967295`},
		"table's name":             {text("Table = " + long[:33]), `line 3: Table: "` + long[:33] + `"` + table},
		"table that begins so":     {text("Table = .x"), `line 3: Table: ".x"` + table},
		"table like an option":     {text("Table = -x"), `line 3: Table: "-x"` + table},
		"character before letters": {text("Table = x@"), `line 3: Table: "x@"` + table},
		"character after letters":  {text("Table = x["), `line 3: Table: "x["` + table},
		"endpoint's port":          {text("", "Endpoint = a:65536"), `line 6: Endpoint: the port "65536" is not a number from 1 to 65535`},
		"label":                    {text("", "Endpoint = "+long+":1"), `line 6: Endpoint: "` + long[:60] + `"…` + endpoint},
		"host":                     {text("", "Endpoint = "+host+":1"), `line 6: Endpoint: "` + host[:60] + `"…` + endpoint},
		"label that begins so":     {text("", "Endpoint = -a:1"), `line 6: Endpoint: "-a:1"` + endpoint},
		"host of one number":       {text("", "Endpoint = 9:1"), `line 6: Endpoint: "9:1"` + endpoint},
	} {
		t.Run(name, func(t *testing.T) { expectError(t, tt.text, "wg", tt.want) })
	}
}

func TestAnErrorRepeatsSixtyBytesOfAValue(t *testing.T) {
	t.Parallel()
	sixty := strings.Repeat("x.", 30)
	const table = ` is neither off, auto, nor the number or name of a routing table`
	expectError(t, text("Table = "+sixty), "wg", `line 3: Table: "`+sixty+`"`+table)
	expectError(t, text("Table = "+sixty+"x"), "wg", `line 3: Table: "`+sixty+`"…`+table)
}

func TestTheKeyThatWasMeantIsNamedUpToTwoChangesAway(t *testing.T) {
	t.Parallel()
	for name, meant := range map[string]string{
		"AllowedIPsxx": "AllowedIPs", "AlxowedIPx": "AllowedIPs", "AxxxwedIPs": "", "AllowedIPsxxx": "",
		"PostUpp": "PostUp", "MTX": "", "DNZ": "", "Tabel": "", "Tablee": "Table",
	} {
		want := `line 3: "` + name + `" is not a key of a WireGuard config`
		if meant != "" {
			want += "; did you mean " + meant + "?"
		}
		expectError(t, text(name+" = 1"), "wg", want)
	}
}
