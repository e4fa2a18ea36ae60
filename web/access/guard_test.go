package access

import "testing"

func TestParseOriginTakesOriginsOnly(t *testing.T) {
	for raw, want := range map[string]string{
		"https://WFM.example.org/": "https://wfm.example.org", "https://a:443": "https://a", "http://a:80": "http://a",
		"http://a:443": "http://a:443", "http://[::1]:8000": "http://[::1]:8000",
		"": "", "wfm.example.org": "", "ftp://a": "", "https://": "", "https://a/path": "", "https://u@a": "", "https://a?q": "",
	} {
		if got, err := ParseOrigin(raw); got != want || (err != nil) != (want == "") {
			t.Errorf("ParseOrigin(%q) = %q, %v; want %q", raw, got, err, want)
		}
	}
}
