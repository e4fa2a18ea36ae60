package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"wfm/internal/apptest"
	"wfm/store"
)

func TestABackupTakesNoRoomThatTheWritersNeed(t *testing.T) {
	apptest.NeedRoot(t)
	dir := t.TempDir()
	if err := syscall.Mount("wfm-test", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	a := apptest.Start(t, dir)
	file, err := os.Stat(filepath.Join(dir, store.FileName))
	if err != nil {
		t.Fatal(err)
	}
	// The file is larger than its pages in use; the remaining space fits one copy of them, but not
	// two.
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 4<<20-file.Size()*7/4), 0o600); err != nil {
		t.Fatal(err)
	}
	if ans := a.Call(t, "GET", "/api/v1/system/backup", nil); ans.Status != 507 || ans.Code != "STORE_FULL" {
		t.Errorf("without enough room: %d %.200s", ans.Status, ans.Body)
	}
	a.AddConfig(t, "home")
	if left, _ := filepath.Glob(filepath.Join(dir, "backup*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if ans := a.Call(t, "GET", "/api/v1/system/backup", nil); ans.Status != 200 || !strings.Contains(ans.Body, "home") {
		t.Errorf("with room: %d", ans.Status)
	}
}

// An appliance can continue from the content of a backup.
func TestAnApplianceGoesOnFromABackup(t *testing.T) {
	t.Parallel()
	apptest.Need(t, "mosquitto_pub")
	a := apptest.Start(t, "")
	n := a.AddNode(t, a.AddConfig(t, "home"), "a", "wg0")
	copied := a.Call(t, "GET", "/api/v1/system/backup", nil)
	a.Must(t, "POST", n.Path("reset-client"), nil) // after the backup
	a.Stop(t)
	if err := os.WriteFile(filepath.Join(a.Dir, store.FileName), []byte(copied.Body), 0o600); err != nil {
		t.Fatal(err)
	}
	a.Restart(t)
	if out := publish(t, n, "heartbeat", envelope(n, "heartbeat", "", "{}")); out != "" {
		t.Errorf("the node's account of then: %s", out)
	}
	n.Await(t, "online")
}
