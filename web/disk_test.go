package web_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"wfm/store"
)

// TestADiskThatFailsIsAnsweredInItsOwnWords distinguishes it from a full one, and leaves out the
// system's message.
func TestADiskThatFailsIsAnsweredInItsOwnWords(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	node := a.addNode(cfg, "gate")
	a.commands.fail(fmt.Errorf("%w (fdatasync /secret/wfm.db: %w)", store.ErrDisk, syscall.EIO))
	r := a.post(nodePath(cfg, node)+"/endpoint/control", object{"action": "stop"}).fails(503, "STORE_DISK_ERROR")
	if !strings.Contains(r.Error.Message, "not done") || !strings.Contains(r.Error.Message, "disk") || strings.Contains(r.body, "/secret") {
		t.Errorf("%s", r.body)
	}
	if e := a.audit("limit=1"); e[0].Status != 503 || e[0].Code != "STORE_DISK_ERROR" {
		t.Errorf("in the log: %+v", e[0])
	}
}
