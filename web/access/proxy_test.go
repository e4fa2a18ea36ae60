package access

import "testing"

func TestParseProxiesTakesAddressesAndNetworksOnly(t *testing.T) {
	for list, want := range map[string]int{"": 0, " 10.0.0.5 , 10.1.2.3/8,::1, fd00::/8,": 4, "proxy": -1, "10.0.0.0/33": -1, "10.0.0.5:80": -1} {
		got, err := ParseProxies(list)
		if (err != nil) != (want < 0) || (err == nil && len(got) != want) {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
}
