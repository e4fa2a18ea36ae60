package web_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

type importJSON struct {
	DryRun       bool   `json:"dry_run"`
	Valid        bool   `json:"valid"`
	Message      string `json:"message"`
	CreatedCount int    `json:"created_count"`
	Rows         []struct {
		Row           int      `json:"row"`
		NodeID        string   `json:"node_id"`
		Name          string   `json:"name"`
		NodeType      string   `json:"node_type"`
		VirtualIP     *string  `json:"virtual_ip"`
		VirtualIP6    *string  `json:"virtual_ip6"`
		Suggested     bool     `json:"suggested"`
		InterfaceName string   `json:"interface_name"`
		Tags          []string `json:"tags"`
	} `json:"rows"`
	Errors   []noteJSON `json:"errors"`
	Warnings []noteJSON `json:"row_warnings"`
}

type noteJSON struct {
	Row             int
	Column, Message string
}

// words are the notes, one a line.
func words(notes []noteJSON) string {
	var b strings.Builder
	for _, n := range notes {
		fmt.Fprintf(&b, "%d %s %s\n", n.Row, n.Column, n.Message)
	}
	return b.String()
}

// says expects that the notes have each text, in this order, and no others.
func says(t *testing.T, notes []noteJSON, texts ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(words(notes), "\n"), "\n")
	if len(notes) != len(texts) {
		t.Fatalf("%d notes, want %d:\n%s", len(notes), len(texts), words(notes))
	}
	for i, text := range texts {
		if !strings.HasPrefix(lines[i], text) {
			t.Errorf("note %d is %q, want %q…", i, lines[i], text)
		}
	}
}

// meshWith makes a mesh with the subnet.
func (a *api) meshWith(name, subnet string) (configID string) {
	a.t.Helper()
	var c struct{ ID string }
	a.post("/api/v1/configs", object{"name": name, "virtual_subnet": subnet}).ok(&c)
	return c.ID
}

func (a *api) nodeNames(configID string) string {
	a.t.Helper()
	var nodes []nodeJSON
	a.get("/api/v1/configs/" + configID + "/nodes?limit=500").ok(&nodes)
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	return strings.Join(names, " ")
}

func TestAnImportMakesTheNodesThatItsDryRunShows(t *testing.T) {
	a := newAPI(t)
	cfg := a.meshWith("office", "10.66.0.0/24")
	path := "/api/v1/configs/" + cfg + "/nodes/import"
	a.post("/api/v1/configs/"+cfg+"/nodes", object{"name": "router", "virtual_ip": "10.66.0.1"}).ok(nil)
	const text = "\ufeffTags,Node name,IP,Type,Colour\r\n" +
		"\"edge;eu | edge\",\"Müller, \"\"upstairs\"\"\",,,red\r\n" +
		",,,,\r\n" +
		",phone,10.66.0.2,Static,\r\n" +
		"eu,far away,192.168.9.9/32\r\n"
	var dry, made importJSON
	a.post(path, object{"csv": text, "dry_run": true}).ok(&dry)
	says(t, dry.Errors)
	says(t, dry.Warnings, "1 Colour is not a known column", "5 address 192.168.9.9 is outside of the mesh's subnet")
	if !dry.DryRun || !dry.Valid || dry.CreatedCount != 0 || len(dry.Rows) != 3 || dry.Message != "Nothing was changed. 3 nodes would be added." {
		t.Fatalf("%+v", dry)
	}
	upstairs, phone := dry.Rows[0], dry.Rows[1]
	if upstairs.Row != 2 || upstairs.Name != `Müller, "upstairs"` || *upstairs.VirtualIP != "10.66.0.3/32" || !upstairs.Suggested ||
		strings.Join(upstairs.Tags, " ") != "edge eu" || upstairs.NodeType != "dynamic" || upstairs.NodeID != "" {
		t.Errorf("%+v", upstairs)
	}
	if phone.Row != 4 || phone.NodeType != "static" || *phone.VirtualIP != "10.66.0.2/32" || phone.Suggested || phone.InterfaceName != "office-phone" {
		t.Errorf("%+v", phone)
	}
	if got := a.nodeNames(cfg); got != "router" {
		t.Fatalf("a dry run made %s", got)
	}
	a.call("POST", path, text, header("Content-Type", "text/csv; charset=utf-8")).ok(&made)
	if made.CreatedCount != 3 || made.DryRun || made.Message != "Added 3 nodes." {
		t.Errorf("%+v", made)
	}
	for i, row := range made.Rows {
		var n struct {
			nodeJSON
			VirtualIP *string `json:"virtual_ip"`
		}
		a.get("/api/v1/nodes/" + row.NodeID).ok(&n)
		want := dry.Rows[i]
		if n.Name != want.Name || n.NodeType != want.NodeType || *n.VirtualIP != *want.VirtualIP || n.InterfaceName != want.InterfaceName ||
			strings.Join(n.Tags, ",") != strings.Join(want.Tags, ",") {
			t.Errorf("made %+v, but the dry run showed %+v", n, want)
		}
	}
	a.browse("/audit").shows("Import nodes", "<summary>3 nodes</summary>")
}

func TestAnImportNamesEveryFaultWithItsLineAndDoesNothing(t *testing.T) {
	a := newAPI(t)
	cfg := a.meshWith("office", "10.66.0.0/24")
	path := "/api/v1/configs/" + cfg + "/nodes/import"
	a.post("/api/v1/configs/"+cfg+"/nodes", object{"name": "router", "virtual_ip": "10.66.0.1"}).ok(nil)
	text := strings.Join([]string{
		"name;type;address;tags",
		"fine;;;",
		";;;",
		"router;;;",
		"ROUTER;;;",
		"Fine;;;",
		"fine;;;",
		"a;toaster;;",
		"b;;10.66.0.1;",
		"c;;10.66.0.300;",
		"d;;10.66.0.255;",
		"e;;10.66.0.9;",
		"f;;10.66.0.9;",
		`g;;"10.66.0.20;10.66.0.21";`,
		"h;;;" + strings.Repeat("t", 65),
		"i;;;;;",
		";static;;x",
	}, "\n")
	var v importJSON
	a.post(path, object{"csv": text, "dry_run": true}).ok(&v)
	says(t, v.Errors,
		"4 name is already the name of a node of this mesh", `5 name differs from "router" in line 4 in upper and lower case only`,
		`5 name differs from "router", a node of this mesh, in upper and lower`, `6 name differs from "fine" in line 2 in upper and lower case only`,
		"7 name is also the name in line 2", "8 type must be dynamic", "9 address 10.66.0.1 is taken by router; choose a free one",
		`10 address "10.66.0.300" is not an address that a node can have`, "11 address 10.66.0.255 is the broadcast address",
		"13 address 10.66.0.9 is taken by the node in line 12; choose a free one", "14 address has two addresses of one kind",
		"15 tags each must have 0 to 64 characters", "16  has 6 cells, but the first line has 4", "17 name must not be empty")
	if v.Valid || v.Message != "Nothing was changed. Faults to mend: 14." {
		t.Errorf("%+v", v)
	}
	r := a.post(path, object{"csv": text})
	for _, field := range []string{"line 4, name", "line 9, address", "line 16", "line 17, name"} {
		r.invalid(field)
	}
	if !strings.Contains(r.Error.Message, "line 9, address 10.66.0.1 is taken by router; choose a free one") &&
		!strings.Contains(r.Error.Message, "line 10, address") {
		t.Errorf("%s", r.Error.Message)
	}
	if got := a.nodeNames(cfg); got != "router" {
		t.Errorf("something was made: %s", got)
	}
	a.post("/api/v1/configs/none/nodes/import", object{"csv": "a", "dry_run": true}).fails(404, "CONFIG_NOT_FOUND")
	a.post("/api/v1/configs/none/nodes/import", object{"csv": "a"}).fails(404, "CONFIG_NOT_FOUND")
	a.call("POST", path, object{"csv": "a"}, as(a.addToken("looker", "read").Token)).fails(403, "FORBIDDEN")
}

func TestAnImportRefusesWhatIsNoListOfNodes(t *testing.T) {
	a := newAPI(t)
	cfg := a.meshWith("office", "10.66.0.0/16")
	path := "/api/v1/configs/" + cfg + "/nodes/import"
	names := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "device %d\n", i)
		}
		return b.String()
	}
	for _, text := range []string{names(5001), "", "\n\n", "name,tags\n", "M\ufffdller", "name,tags\n,,"} {
		a.post(path, object{"csv": text, "dry_run": true}).invalid("csv")
	}
	a.post(path, object{}).invalid("csv")
	a.call("POST", path, "M\xfcller\n", header("Content-Type", "text/csv")).invalid("csv")
	a.call("POST", path+"?dry_run=perhaps", "a\n", header("Content-Type", "text/csv")).invalid("dry_run")
	a.call("POST", path, strings.Repeat("x", 4<<20+1), header("Content-Type", "text/csv")).fails(413, "PAYLOAD_TOO_LARGE")
	for text, want := range map[string]string{
		"a,b\nc,d":                 "1  does not name the columns; begin with a line like name,type,address,tags",
		"name,tags\na,\"b\nc,d":    "2  has a quotation mark out of place",
		"name,tags\nx,y\na \"b\",": "3  has a quotation mark out of place",
		"name,ip,virtual_ip\na":    "1 address is there twice",
		"a\nb\x01":                 "2 name must not contain control or invisible characters",
	} {
		var v importJSON
		a.post(path, object{"csv": text, "dry_run": true}).ok(&v)
		says(t, v.Errors, want)
	}
	var v importJSON
	a.call("POST", path+"?dry_run=1", names(5000), header("Content-Type", "text/csv")).ok(&v)
	if len(v.Rows) != 5000 || !v.Valid {
		t.Errorf("%d rows, %s", len(v.Rows), v.Message)
	}
	for _, text := range []string{"one\ntwo", "one\rtwo\r", "name\none\ntwo\n\n"} {
		a.post(path, object{"csv": text, "dry_run": true}).ok(&v)
		if len(v.Rows) != 2 || v.Rows[0].Name != "one" || v.Rows[1].Name != "two" {
			t.Errorf("%q: %+v", text, v.Rows)
		}
	}
}

func TestAnImportIntoASubnetThatIsTooSmallNamesEveryNodeWithoutAnAddress(t *testing.T) {
	a := newAPI(t)
	cfg := a.meshWith("tiny", "10.66.0.0/30")
	path := "/api/v1/configs/" + cfg + "/nodes/import"
	const text = "name,address\na\nb\nc\nd,10.66.0.1\ne,10.99.0.1"
	var v importJSON
	a.post(path, object{"csv": text, "dry_run": true}).ok(&v)
	says(t, v.Errors, "3 address is not given, and 10.66.0.0/30 has no free address left", "4 address is not given, and 10.66.0.0/30 has no free")
	if *v.Rows[0].VirtualIP != "10.66.0.2/32" || v.Rows[1].VirtualIP != nil || *v.Rows[4].VirtualIP != "10.99.0.1/32" {
		t.Errorf("%+v", v.Rows)
	}
	a.post(path, object{"csv": text}).invalid("line 3, address")
	if got := a.nodeNames(cfg); got != "" {
		t.Errorf("half of it was done: %s", got)
	}
	plain := a.addConfig("by hand")
	a.put("/api/v1/configs/"+plain, object{"virtual_subnet": nil}).ok(nil)
	a.post("/api/v1/configs/"+plain+"/nodes/import", object{"csv": text}).ok(&v)
	says(t, v.Warnings, "5 address was left out, since the mesh has no subnet", "6 address was left out")
	if v.CreatedCount != 5 || v.Rows[0].VirtualIP != nil {
		t.Errorf("%+v", v)
	}
}

// A cell that a spreadsheet would calculate is a name like any other.
func TestAnImportKeepsFormulasAsText(t *testing.T) {
	a := newAPI(t)
	cfg := a.meshWith("office", "10.66.0.0/24")
	var v importJSON
	text := "name,tags\n\"=HYPERLINK(\"\"http://x\"\")\",@eu;+1\n=1+1,-2\n"
	a.post("/api/v1/configs/"+cfg+"/nodes/import", object{"csv": text}).ok(&v)
	if v.Rows[0].Name != `=HYPERLINK("http://x")` || v.Rows[1].Name != "=1+1" || strings.Join(v.Rows[0].Tags, " ") != "@eu +1" {
		t.Errorf("%+v", v.Rows)
	}
	a.browse("/configs/"+cfg).shows("=HYPERLINK(&#34;http://x&#34;)", "=1&#43;1")
}

func TestAnImportGivesBothAddressesOfADualStackMesh(t *testing.T) {
	a := newAPI(t)
	cfg := a.meshWith("dual", "10.66.0.0/24")
	a.put("/api/v1/configs/"+cfg, object{"virtual_subnet6": "fd00:66::/64"}).ok(nil)
	var v importJSON
	a.post("/api/v1/configs/"+cfg+"/nodes/import", object{"csv": "name,address\na,fd00:66::9\nb,10.66.0.7|fd00:66::7\nc"}).ok(&v)
	got, err := json.Marshal([]*string{
		v.Rows[0].VirtualIP, v.Rows[0].VirtualIP6, v.Rows[1].VirtualIP, v.Rows[1].VirtualIP6, v.Rows[2].VirtualIP, v.Rows[2].VirtualIP6,
	})
	if want := `["10.66.0.1/32","fd00:66::9/128","10.66.0.7/32","fd00:66::7/128","10.66.0.2/32","fd00:66::1/128"]`; err != nil || string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTagsOfAnImportedNodeMayBeSeparatedByCommasAsOnThePage(t *testing.T) {
	a := newAPI(t)
	path := "/api/v1/configs/" + a.meshWith("office", "10.66.0.0/24") + "/nodes/import"
	for _, text := range []string{"name,tags\nx,\"edge, eu\"", "name;tags\nx;edge,eu", "name,tags\nx,edge|eu", "name,tags\nx,edge;eu"} {
		var v importJSON
		a.post(path, object{"csv": text, "dry_run": true}).ok(&v)
		if len(v.Rows) != 1 || !slices.Equal(v.Rows[0].Tags, []string{"edge", "eu"}) {
			t.Errorf("%q: rows %+v, want the tags edge and eu", text, v.Rows)
		}
	}
}
