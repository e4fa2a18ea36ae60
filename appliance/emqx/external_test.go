package emqx

import (
	"net/url"
	"testing"
)

func TestAgentsAreNotSentToTheListenerOfTheAppliance(t *testing.T) {
	t.Parallel()
	for address, want := range map[string][2]int{ // without TLS, with it
		"mqtt://127.0.0.1:11883": {1883, 8883}, "mqtts://emqx:11883": {1883, 8883},
		"mqtt://emqx:2883": {2883, 8883}, "mqtts://emqx:9883": {1883, 9883}, "mqtt://emqx": {1883, 8883},
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		x := &External{Settings: Settings{URL: u}}
		if got := [2]int{x.Port(false), x.Port(true)}; got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}
