package appliance

import (
	"net"
	"testing"
)

func TestAFailedNewLeavesNoPortOpen(t *testing.T) {
	t.Parallel()
	listen := func(addr string) net.Listener {
		t.Helper()
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	taken, free := listen("127.0.0.1:0"), listen("127.0.0.1:0")
	defer taken.Close()
	mqtt := free.Addr().String()
	_ = free.Close()
	for name, o := range map[string]Options{
		"HTTP":              {HTTPAddr: taken.Addr().String()},
		"questions of EMQX": {HTTPAddr: "127.0.0.1:0", EMQXQuestions: &EMQXQuestions{SharedKey: testSharedKey, Addr: taken.Addr().String()}},
	} {
		o.DataDir, o.MQTTEnabled, o.MQTTAddr = t.TempDir(), true, mqtt
		if _, err := New(t.Context(), o); err == nil {
			t.Fatalf("%s: the port is taken", name)
		}
		_ = listen(mqtt).Close()
	}
}
