package goldentest_test

import (
	"strings"
	"testing"

	"wfm/internal/goldentest"
)

func TestWhatIsOursMayHaveMoreAndNothingElse(t *testing.T) {
	t.Parallel()
	const theirs = `{"a":"x","b":{"c":null,"d":[1,2]},"e":true}`
	for ours, want := range map[string]string{
		`{"e":false,"new":1,"b":{"d":[3,4],"c":null,"more":"x"},"a":""}`: "",
		`{"a":"x","b":{"c":null,"d":[1,2]}}`:                             "/e is missing",
		`{"a":{},"b":{"c":null,"d":[1,2]},"e":true}`:                     "/a is an object, theirs is a string",
		`{"a":"x","b":{"c":"","d":[1,2]},"e":true}`:                      "/b/c is a string, theirs is null",
		`{"a":"x","b":{"c":null,"d":["1",2]},"e":true}`:                  "/b/d/0 is a string, theirs is a number",
		`{"a":"x","b":{"c":null,"d":[1]},"e":true}`:                      "/b/d has 1 elements, theirs has 2",
		`[]`:  " is an array, theirs is an object",
		`nul`: "ours is not JSON: invalid character 'e' looking for beginning of value",
	} {
		got := strings.Join(goldentest.Differs([]byte(ours), []byte(theirs)), "; ")
		if got != want && (want == "" || !strings.HasPrefix(want, "ours is not JSON") || !strings.HasPrefix(got, "ours is not JSON")) {
			t.Errorf("%s: %q, want %q", ours, got, want)
		}
	}
}

func TestTheMessagesAreOfOneNode(t *testing.T) {
	t.Parallel()
	kinds := map[string]int{}
	for _, m := range goldentest.Messages(t) {
		if suffix, ok := strings.CutPrefix(m.Topic, "wfm/"+goldentest.ConfigID+"/"+goldentest.NodeID+"/"); !ok || suffix != m.Type {
			t.Errorf("%s carries a %q", m.Topic, m.Type)
		}
		kinds[m.Type]++
	}
	for _, k := range []string{"event", "heartbeat", "detect", "detect/ack", "control", "control/ack", "info", "info/ack", "config/push", "config/push/ack"} {
		if kinds[k] == 0 {
			t.Errorf("no %s", k)
		}
	}
	if b := goldentest.ReadBind(t); b.Path != "/api/client/v1/bind" || len(b.Request) == 0 || len(b.Answer) == 0 {
		t.Errorf("%+v", b)
	}
}
