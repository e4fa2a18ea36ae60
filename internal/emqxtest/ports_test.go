package emqxtest

import (
	"net"
	"runtime"
	"testing"
)

func TestTheBlockOfPortsStaysTaken(t *testing.T) {
	addr := block().Addr()
	for range 2 { // an unreachable listener would be closed
		runtime.GC()
	}
	if l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr.String()); err == nil {
		_ = l.Close()
		t.Errorf("%s was free", addr)
	}
	first := nextPort()
	for range 2 * blockSize {
		if port := nextPort(); port/blockSize != first/blockSize || port%blockSize == 0 {
			t.Fatalf("port %d is outside the block of %d", port, first)
		}
	}
}
