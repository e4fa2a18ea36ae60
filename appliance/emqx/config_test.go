package emqx

import (
	"strings"
	"testing"
)

func TestConfigHoldsWhatTheDoctorWants(t *testing.T) {
	var b strings.Builder
	o := ConfigOptions{ApplianceURL: "http://wfm:8000/", SharedKey: `sh"ared\`, APIKey: "wfm", APISecret: "secret"}
	if err := Config(&b, o); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		"no_match = deny", `url = "http://wfm:8000/api/internal/emqx/authz"`, `"x-wfm-internal-key" = "sh\"ared\\"`,
		`topic = "${topic}"`, `url = "http://wfm:8000/api/internal/emqx/auth"`, `clientid = "${clientid}"`, "wfm:secret:administrator",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "backend = built_in_database") || strings.Count(got, "{") != strings.Count(got, "}") {
		t.Errorf("the database opens what asking protects, or a brace is missing:\n%s", got)
	}
	o.DatabaseLogins = true
	b.Reset()
	err := Config(&b, o)
	got = b.String()
	if err != nil || strings.Contains(got, "emqx/auth\"") || !strings.Contains(got, "salt_position = prefix") || strings.Count(got, "{") != strings.Count(got, "}") {
		t.Errorf("%v:\n%s", err, got)
	}
}
