package ui

import (
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"time"

	"rsc.io/qr"

	"wfm/protocol"
)

var now = time.Date(2026, 4, 23, 12, 0, 0, 0, time.UTC)

// wellFormed checks that svg is well-formed XML, as browsers require.
func wellFormed(t *testing.T, svg string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
	}
}

func TestAgoNamesTheLargestUnit(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "just now", 5 * time.Second: "5 s ago", 119 * time.Second: "119 s ago", 2 * time.Minute: "2 min ago",
		119 * time.Minute: "119 min ago", 2 * time.Hour: "2 h ago", 47 * time.Hour: "47 h ago", 48 * time.Hour: "2 days ago",
		-3 * time.Hour: "in 3 h",
	} {
		if got := Ago(now, now.Add(-d)); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	if never, err := whenHTML((*time.Time)(nil)); err != nil || never != "never" {
		t.Errorf("nil: %q, %v", never, err)
	}
	if _, err := whenHTML("yesterday"); err == nil {
		t.Error("a string passes for a time")
	}
}

func TestSizesAreForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 3 << 40: "3.0 TiB"} {
		if got := Size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestTimelineShowsWhatIsInItsWindow(t *testing.T) {
	day := 24 * time.Hour
	spans := []Span{
		{now.Add(-6 * time.Hour), now, "online", `"<b>"`},
		{now.Add(-48 * time.Hour), now.Add(-6 * time.Hour), "dropped", "link"},
		{now.Add(-72 * time.Hour), now.Add(-48 * time.Hour), "offline", "before the window"},
		{now.Add(-time.Hour), now.Add(-time.Hour + time.Second), SpanGap, "short"},
		{now.Add(-time.Hour), now, "nonsense", ""},
	}
	svg := string(Timeline(spans, now.Add(-day), now, `a "label"`))
	wellFormed(t, svg)
	for _, want := range []string{
		`class="span-online" x="750.00" y="2" width="250.00"`, `class="span-dropped" x="0.00" y="14" width="750.00"`,
		`class="span-unknown" x="958.33" y="0" width="3.00"`, "&#34;&lt;b&gt;&#34;",
	} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %s in %s", want, svg)
		}
	}
	for _, no := range []string{"before the window", "nonsense", "<b>"} {
		if strings.Contains(svg, no) {
			t.Errorf("%s in %s", no, svg)
		}
	}
}

func TestChartFitsItsValues(t *testing.T) {
	g := Chart(5, []Series{{"line-a", []float64{0, 30, 12}}, {"line-b", nil}}, "label")
	wellFormed(t, string(g.Image))
	if g.Top != 50 || g.Last[0] != 12 || g.Last[1] != 0 {
		t.Errorf("%+v", g)
	}
	if !strings.Contains(string(g.Image), `d="M500.0 119.0L750.0 48.2L1000.0 90.7"`) { // the newest at the right
		t.Error(g.Image)
	}
	wellFormed(t, string(Chart(1, []Series{{"line-a", []float64{1}}}, "").Image))
}

func TestProgressAddsUp(t *testing.T) {
	svg := string(Progress([]Part{{"done", 3}, {"failed", 1}}, 8, "label"))
	wellFormed(t, svg)
	if !strings.Contains(svg, `class="part-failed" x="375.00" y="0" width="125.00"`) {
		t.Error(svg)
	}
	wellFormed(t, string(Progress(nil, 0, "")))
}

func TestQRCodeDrawsEveryModule(t *testing.T) {
	const text = "wfm-agent bind --server http://10.0.0.1:8000 --token x"
	svg, err := QR(text)
	if err != nil {
		t.Fatal(err)
	}
	wellFormed(t, svg)
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		t.Fatal(err)
	}
	dark := 0
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				dark++
			}
		}
	}
	if n := strings.Count(svg, "h1v1h-1z"); n != dark {
		t.Errorf("%d modules, want %d", n, dark)
	}
	for _, bad := range []string{"", strings.Repeat("x", maxQRText+1)} {
		if _, err := QR(bad); err == nil {
			t.Errorf("%d bytes make a code", len(bad))
		}
	}
}

func TestAListComesBackAsItIs(t *testing.T) {
	for want, texts := range map[string][]string{
		"": nil, "edge, attic": {"edge", "attic"}, `"a,b", c`: {"a,b", "c"}, `"5"" disk"`: {`5" disk`},
	} {
		if got := list(texts); got != want {
			t.Errorf("%q: %s, want %s", texts, got, want)
		}
	}
}

// Without the script, a form with neither method nor action would put its fields into the address: a
// password, a private key.
func TestNoFormPutsWhatIsTypedIntoAnAddressUnlessItSearches(t *testing.T) {
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range regexp.MustCompile(`<form[^>]*>`).FindAllString(string(text), -1) {
			posts := strings.Contains(form, ` method="post" action="/ui/form" data-api=`)
			if searches := strings.Contains(form, ` method="get" data-filter `); !posts && !searches && form != `<form method="dialog">` {
				t.Errorf("%s: %s", name, form)
			}
		}
	}
}

func TestEveryPageHasATemplateAndNothingElseRenders(t *testing.T) {
	if _, err := Render("nonsense", Page{}); err == nil {
		t.Error("a page without a template renders")
	}
	out, err := Render("error", Page{Title: "<x>", User: "<b>", Body: map[string]string{"Title": "<i>", "Message": "m"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{"<x>", "<b>", "<i>"} {
		if strings.Contains(string(out), raw) {
			t.Errorf("%s is not escaped", raw)
		}
	}
	if _, ok := Static("../ui.go"); ok {
		t.Error("a file outside is served")
	}
}

func TestEveryActionHasWordsOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, spec := range protocol.Actions(nil) {
		words := Action(spec.Action)
		if words == "" || seen[words] || strings.Contains(words, "_") {
			t.Errorf("%s is called %q", spec.Action, words)
		}
		seen[words] = true
	}
	if got := Action("from a later version"); got != "from a later version" {
		t.Errorf("an unknown action is called %q", got)
	}
}

func TestCountsHaveTheirPlural(t *testing.T) {
	for want, got := range map[string]string{
		"0 nodes": count(0, "node"), "1 mesh": count(1, "mesh"), "2 meshes": count(2, "mesh"), "2 failed nodes": count(2, "failed node"),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSentencesOfTheAPIAreShownInTheWordsOfThePages(t *testing.T) {
	for given, want := range map[string]string{
		"virtual_subnet 10.0.0.0/8 is taken.":                                            "The network 10.0.0.0/8 is taken.",
		"Give one of them an ipv4_address or ipv6_address.":                              "Give one of them a public address.",
		"Connect them through a: use mode free_mesh with gateway_node_ids [\"node_x\"].": "Connect them through a.",
		"berlin has no virtual_ip, and some_thing.":                                      "berlin has no address in the tunnel, and some_thing.",
	} {
		if got := plain(given); got != want {
			t.Errorf("%q is shown as %q, want %q", given, got, want)
		}
	}
}

// A config is a mesh to the API, and the text of a tunnel to wg-quick; the pages say which they mean.
func TestThePagesSayMeshOrTunnelConfig(t *testing.T) {
	action := regexp.MustCompile(`(?s)\{\{.*?\}\}|(?:name|data-member)="[^"]*"`) // and the API's own names
	bare := regexp.MustCompile(`(?i)(\S*)[\s>“"]+conf(?:ig)?s?[\s<.,:;?"”]`)
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range bare.FindAllStringSubmatch(action.ReplaceAllString(string(text), ""), -1) {
			if !strings.HasSuffix(strings.ToLower(found[1]), "tunnel") && !strings.HasPrefix(found[1], "id=") {
				t.Errorf("%s: %q", name, found[0])
			}
		}
	}
}
