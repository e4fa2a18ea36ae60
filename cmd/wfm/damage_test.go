package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"wfm/internal/apptest"
	"wfm/store"
)

const damagedSentence = "the data file is damaged or not a WFM data file; restore a backup, or move it away to start with an empty one"

// TestADamagedDataFileIsOneSentence cuts and damages the file of a real appliance.
func TestADamagedDataFileIsOneSentence(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	cfg := a.AddConfig(t, "home")
	for i := range 12 {
		id := a.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": fmt.Sprint("n", i)})["node_id"].(string)
		a.Must(t, "PUT", "/api/v1/configs/"+cfg+"/nodes/"+id+"/applied-conf", map[string]any{
			"content": "[Interface]\nPrivateKey = " + strings.Repeat("B", 42) + "A=\n# " + strings.Repeat(id, 40) + "\n",
		})
	}
	a.Stop(t)
	raw, err := os.ReadFile(filepath.Join(a.Dir, store.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if out, code := apptest.Run(t, apptest.Binary("wfm"), "check", "--data-dir", a.Dir); code != 0 || !strings.Contains(out, "is sound") {
		t.Fatalf("check of a sound file: exit code %d: %s", code, out)
	}
	damage := map[string][]byte{
		"empty": {}, "NUL bytes": make([]byte, 64<<10), "foreign": []byte(strings.Repeat("SQLite format 3", 5000)),
		"half": raw[:len(raw)/8192*4096], "one byte": raw[:1], "one page": raw[:4096],
	}
	for page := 2; page < len(raw)/4096; page += 3 {
		copied := append([]byte(nil), raw...)
		clear(copied[page*4096 : (page+1)*4096])
		damage[fmt.Sprint("page ", page)] = copied
	}
	found := 0
	for name, content := range damage {
		dir := t.TempDir()
		path := filepath.Join(dir, store.FileName)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		out, code := apptest.Run(t, apptest.Binary("wfm"), "check", path)
		if code == 0 {
			if !strings.HasPrefix(name, "page") { // a page may be free
				t.Errorf("%s: check finds nothing", name)
			}
			continue
		}
		found++
		if code != 1 || !strings.Contains(out, damagedSentence) || strings.Contains(out, "goroutine") {
			t.Errorf("%s: check: exit code %d: %s", name, code, out)
		}
		out, code = apptest.Run(t, apptest.Binary("wfm"), "serve", "--data-dir", dir, "--http-addr", "127.0.0.1:0", "--mqtt-addr", "127.0.0.1:0")
		if code != 1 || !strings.Contains(out, path) || !strings.Contains(out, damagedSentence) || strings.Count(strings.TrimSpace(out), "\n") != 0 {
			t.Errorf("%s: serve: exit code %d: %s", name, code, out)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(content) {
			t.Errorf("%s: the file was changed (%v)", name, err)
		}
	}
	if found < 10 {
		t.Errorf("%d of %d were found", found, len(damage))
	}
}

// TestAFileThatIsMovedWhileItIsInUseTakesNothingMore is `mv wfm.db elsewhere` on a running appliance.
func TestAFileThatIsMovedWhileItIsInUseTakesNothingMore(t *testing.T) {
	t.Parallel()
	a := apptest.Start(t, "")
	cfg := a.AddConfig(t, "home")
	if ans := a.Call(t, "GET", "/readyz", nil); ans.Status != 200 {
		t.Fatalf("/readyz: %d %s", ans.Status, ans.Body)
	}
	if out, code := apptest.Run(t, apptest.Binary("wfm"), "check", "--data-dir", a.Dir); code != 1 || !strings.Contains(out, "running appliance") {
		t.Errorf("check of a file in use: exit code %d: %s", code, out)
	}
	path := filepath.Join(a.Dir, store.FileName)
	if err := os.Rename(path, path+".aside"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		ans := a.Call(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": "late"})
		if ans.Status != 503 || ans.Code != "STORE_MOVED" || !strings.Contains(ans.Body, "put it, or a backup, in its place") {
			t.Errorf("a write: %d %s", ans.Status, ans.Body)
		}
	}
	if ans := a.Call(t, "GET", "/readyz", nil); ans.Status != 503 || !strings.Contains(ans.Body, "moved") {
		t.Errorf("/readyz: %d %s", ans.Status, ans.Body)
	}
	if ans := a.Call(t, "GET", "/api/v1/configs", nil); ans.Status != 200 {
		t.Errorf("a read: %d %s", ans.Status, ans.Body)
	}
	if n := strings.Count(a.Output(), "the data file is unusable; nothing is written until the next start"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
	if err := os.Rename(path+".aside", path); err != nil {
		t.Fatal(err)
	}
	a.Signal(t, syscall.SIGTERM)
	_ = a.Wait(t, apptest.Patience)
	a.Restart(t)
	a.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": "late"})
	a.Stop(t)
}

// TestAStartOnADiskThatTakesNoWritesServesWhatIsThere remounts the disk read-only, and back.
func TestAStartOnADiskThatTakesNoWritesServesWhatIsThere(t *testing.T) {
	apptest.NeedRoot(t)
	dir := t.TempDir()
	if err := syscall.Mount("wfm-test", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	a := apptest.Start(t, dir)
	cfg := a.AddConfig(t, "home")
	a.Stop(t)
	remount := func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("", dir, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	a.Respawn(t)
	if ans := a.Call(t, "GET", "/readyz", nil); ans.Status != 503 || !strings.Contains(ans.Body, "read-only") {
		t.Errorf("/readyz: %d %s", ans.Status, ans.Body)
	}
	if ans := a.Call(t, "GET", "/api/v1/configs/"+cfg, nil); ans.Status != 200 {
		t.Errorf("a read: %d %s", ans.Status, ans.Body)
	}
	if ans := a.Call(t, "GET", "/login", nil); ans.Status != 200 {
		t.Errorf("the page: %d", ans.Status)
	}
	a.Refused(t, "STORE_READ_ONLY", "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": "late"})
	remount(0)
	apptest.Eventually(t, func() bool { return a.Call(t, "GET", "/readyz", nil).Status == 200 }, func() string { return a.Output() })
	a.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": "late"})
	a.Stop(t)
}

// TestAStartOnAFullDiskServesWhatIsThere leaves no free page in the file and no space for more.
func TestAStartOnAFullDiskServesWhatIsThere(t *testing.T) {
	apptest.NeedRoot(t)
	dir := t.TempDir()
	if err := syscall.Mount("wfm-test", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	a := apptest.Start(t, dir)
	cfg := a.AddConfig(t, "home")
	ballast := filepath.Join(dir, "ballast")
	_ = os.WriteFile(ballast, make([]byte, 4<<20), 0o600) // as much as fits
	for i := range 300 {
		text := "[Interface]\nPrivateKey = " + strings.Repeat("B", 42) + "A=\n# " + strings.Repeat("x", 8<<10) + "\n"
		ans := a.Call(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": fmt.Sprint("n", i)})
		if data, ok := ans.Data.(map[string]any); ok {
			ans = a.Call(t, "PUT", "/api/v1/configs/"+cfg+"/nodes/"+data["node_id"].(string)+"/applied-conf", map[string]any{"content": text})
		}
		if ans.Code == "STORE_FULL" {
			break
		}
	}
	a.Kill()
	a.Respawn(t)
	if ans := a.Call(t, "GET", "/api/v1/configs/"+cfg, nil); ans.Status != 200 {
		t.Errorf("a read: %d %s", ans.Status, ans.Body)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	apptest.Eventually(t, func() bool { return a.Call(t, "GET", "/readyz", nil).Status == 200 }, func() string { return a.Output() })
	a.Must(t, "POST", "/api/v1/configs/"+cfg+"/nodes", map[string]any{"name": "late"})
	a.Stop(t)
}
