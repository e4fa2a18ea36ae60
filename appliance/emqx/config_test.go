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
		`topic = "${topic}"`, "salt_position = prefix", "wfm:secret:administrator",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "emqx/auth\"") || strings.Count(got, "{") != strings.Count(got, "}")+0 {
		t.Errorf("logins are asked about, or a brace is missing:\n%s", got)
	}
	o.AskLogins = true
	b.Reset()
	if err := Config(&b, o); err != nil || !strings.Contains(b.String(), `url = "http://wfm:8000/api/internal/emqx/auth"`) {
		t.Errorf("%v:\n%s", err, b.String())
	}
}
