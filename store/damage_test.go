package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// sample returns the data file of an appliance with a config, thirty nodes with agents and tunnel
// configs, and an audit log.
var sample = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "wfm-sample-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	db, err := Open(dir, Options{})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	for i := range 30 {
		id := fmt.Sprintf("node_%d", i)
		if err := db.Update(func(tx *Tx) error {
			if err := tx.PutConfig(&Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: "wireguard"}); err != nil {
				return err
			}
			if err := tx.PutNode(&Node{ID: id, ConfigID: "cfg_a", Name: id, Enabled: true, Type: NodeDynamic}); err != nil {
				return err
			}
			if _, err := tx.SetDesired(id, "[Interface]\nPrivateKey = "+strings.Repeat(id, 60), ConfVersion{Author: "admin"}); err != nil {
				return err
			}
			token, _, err := tx.IssueBindToken(id, 1e9*300)
			if err != nil {
				return err
			}
			if _, err := tx.Bind(token, Client{Hostname: id}); err != nil {
				return err
			}
			for range 20 {
				if err := tx.CloseAudit(AuditEntry{Actor: "admin", Action: "PUT /x", RequestID: id}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, FileName))
})

func sampleFile(t *testing.T) []byte {
	t.Helper()
	raw, err := sample()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(raw)
}

func bytesInUse(t *testing.T, raw []byte) int {
	t.Helper()
	metas, err := readMetas(bytes.NewReader(raw))
	if err != nil || len(metas) != 2 {
		t.Fatal(len(metas), err)
	}
	return int(metas[0].pages) * 4096
}

// openCopy opens a store of the file's content and waits for the check of its pages.
func openCopy(t *testing.T, raw []byte) (*DB, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := Open(dir, Options{})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = db.Close() })
	db.checker.wait()
	return db, db.broken()
}

// use reads everything and writes something. Errors other than ErrDamaged fail the test.
func use(t *testing.T, db *DB) error {
	t.Helper()
	all := func(tx *Tx) error {
		for bucket := range recordChecks {
			c := tx.cursor([]byte(bucket))
			for k, v := c.First(); k != nil; k, v = c.Next() {
				_ = bytes.Clone(v)
			}
		}
		_, err := tx.Nodes("cfg_a", "", 0)
		if _, auditErr := tx.Audit(0, 1000, func(AuditEntry) bool { return true }); err == nil {
			err = auditErr
		}
		return err
	}
	errs := []error{db.View(all), db.Update(all)}
	errs = append(errs, db.Update(func(tx *Tx) error { return tx.Note("node_1", JournalEntry{Message: "x"}) }))
	backup, err := db.Backup()
	if err == nil {
		_ = backup.Close()
	}
	errs = append(errs, err)
	for i, err := range errs {
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("use %d: %v, want ErrDamaged", i, err)
		}
	}
	return errors.Join(errs...)
}

func TestALostPageIsDamageWhicheverItIs(t *testing.T) {
	t.Parallel()
	raw := sampleFile(t)
	free := freePages(t, raw)
	for page := range len(raw) / 4096 {
		t.Run(fmt.Sprint(page), func(t *testing.T) {
			t.Parallel()
			damagedFile := bytes.Clone(raw)
			clear(damagedFile[page*4096 : (page+1)*4096])
			db, err := openCopy(t, damagedFile)
			switch {
			case page < 2 || free(page): // the other head is used; free pages are written before they are read
				if err != nil {
					t.Fatal(err)
				}
				if err := use(t, db); err != nil {
					t.Error(err)
				}
			case !errors.Is(err, ErrDamaged):
				t.Errorf("Open: %v, want ErrDamaged", err)
			}
		})
	}
}

// freePages tells which pages hold nothing.
func freePages(t *testing.T, raw []byte) func(page int) bool {
	t.Helper()
	r := bytes.NewReader(raw)
	metas, err := readMetas(r)
	if err != nil || len(metas) != 2 {
		t.Fatal(len(metas), err)
	}
	w := pageWalk{r: r, meta: metas[0], record: checkRecord, fault: func(err error) bool { t.Error(err); return true }}
	w.run()
	return func(page int) bool { return uint64(page) >= w.meta.pages || has(w.free, uint64(page)) }
}

func TestAFileThatWasCutIsDamagedWhereverItWasCut(t *testing.T) {
	t.Parallel()
	raw := sampleFile(t)
	inUse := bytesInUse(t, raw)
	var lengths []int
	for n := 0; n < inUse; n += 4096 {
		lengths = append(lengths, n, n+1+n/4096*61%4095)
	}
	for _, n := range lengths {
		if _, err := openCopy(t, raw[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut to %d bytes: %v, want ErrDamaged", n, err)
		}
	}
	if db, err := openCopy(t, raw[:inUse]); err != nil {
		t.Errorf("cut where nothing was: %v", err)
	} else if err := use(t, db); err != nil {
		t.Error(err)
	}
}

func TestChangedBytesNeverEndTheProcess(t *testing.T) {
	t.Parallel()
	raw := sampleFile(t)
	random := rand.New(rand.NewPCG(1, 2))
	found := 0
	const variants = 120
	for i := range variants {
		changed := bytes.Clone(raw)
		at := random.IntN(bytesInUse(t, raw)-64) + 1
		switch i % 4 {
		case 0: // in the head of a page
			at = at/4096*4096 + random.IntN(64)
			fallthrough
		case 1:
			for j := range 4 {
				changed[at+j] ^= byte(random.IntN(255) + 1)
			}
		case 2:
			clear(changed[at:])
		case 3:
			for j := range 64 {
				changed[at+j] = 0xff
			}
		}
		db, err := openCopy(t, changed)
		if err == nil {
			err = use(t, db)
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("variant %d at %d: %v", i, at, err)
		}
		if err != nil {
			found++
		}
	}
	if found < variants/2 {
		t.Errorf("%d of %d were found", found, variants)
	}
}

// TestDamageIsFoundWithoutTheCheckToo damages pages after the check, as when a disk loses them
// later.
func TestDamageIsFoundWithoutTheCheckToo(t *testing.T) {
	t.Parallel()
	raw := sampleFile(t)
	free := freePages(t, raw)
	for page := 2; page < len(raw)/4096; page++ {
		if free(page) {
			continue
		}
		var log bytes.Buffer
		dir := t.TempDir()
		path := filepath.Join(dir, FileName)
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := Open(dir, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		db.checker.wait()
		// The mapped memory is the file's.
		overwrite(t, path, int64(page)*4096, make([]byte, 4096))
		if err := use(t, db); err != nil {
			if err := db.WriteError(); !errors.Is(err, ErrDamaged) {
				t.Errorf("page %d: WriteError: %v", page, err)
			}
			if err := db.Update(func(*Tx) error { return nil }); !errors.Is(err, ErrDamaged) {
				t.Errorf("page %d: Update after damage was found: %v", page, err)
			}
			if n := strings.Count(log.String(), "the data file is unusable; nothing is written until the next start"); n != 1 {
				t.Errorf("page %d: it is logged %d times:\n%s", page, n, &log)
			}
		}
		if err := db.Close(); err != nil {
			t.Errorf("page %d: close: %v", page, err)
		}
	}
}

func overwrite(t *testing.T, path string, at int64, with []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(with, at); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsThereIsNeverTakenForAFirstStart(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(path string) error{
		"empty":           func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"short":           func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"of another kind": func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("SQLite"), 9000), 0o600) },
		"NUL bytes":       func(path string) error { return os.WriteFile(path, make([]byte, 1<<20), 0o600) },
		"a directory":     func(path string) error { return os.Mkdir(path, 0o700) },
		"a FIFO":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a device":        func(path string) error { return os.Symlink("/dev/null", path) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, FileName)
			if err := prepare(path); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir, Options{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
				t.Errorf("Open: %v, want ErrDamaged with the path", err)
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) || after.Size() != before.Size() {
				t.Errorf("Open touched it: %v", err)
			}
		})
	}
	t.Run("a link to nothing", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, FileName)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{}); err == nil {
			t.Error("a link whose target is gone was taken for a first start")
		}
	})
}

func TestAFirstStartThatFoundNoRoomLeavesNothing(t *testing.T) {
	for _, size := range []string{"4k", "8k", "12k", "16k", "32k", "64k", "100k"} {
		t.Run(size, func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mount("wfm-test", dir, "tmpfs", 0, "size="+size); err != nil {
				t.Skipf("needs the right to mount a small tmpfs: %v", err)
			}
			t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
			db, err := Open(dir, Options{})
			if err == nil { // it just fits
				_ = db.Close()
				return
			}
			if !errors.Is(err, ErrFull) {
				t.Errorf("Open: %v, want ErrFull", err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("it leaves %v", left)
			}
			if err := syscall.Mount("", dir, "tmpfs", syscall.MS_REMOUNT, "size=4m"); err != nil {
				t.Fatal(err)
			}
			if db, err = Open(dir, Options{}); err != nil {
				t.Fatalf("with room: %v", err)
			}
			_ = db.Close()
		})
	}
}

func TestAPartialFileOfAKilledFirstStartIsNoObstacle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName+newSuffix), []byte("partial"), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, FileName+newSuffix)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the partial file is still there: %v", err)
	}
}

// TestOtherPanicsAreNoDamage holds that a mistake in a program is not taken for a damaged file.
func TestOtherPanicsAreNoDamage(t *testing.T) {
	t.Parallel()
	db := open(t)
	if err := db.Update(func(*Tx) error { panic("a mistake") }); !errors.Is(err, ErrPanic) {
		t.Errorf("Update: %v, want ErrPanic", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("View swallowed a panic")
			}
		}()
		_ = db.View(func(*Tx) error { panic(io.EOF) })
	}()
	update(t, db, func(tx *Tx) error { return tx.Note("n", JournalEntry{}) })
}

// TestACheckThatTakesLongGoesOnInTheBackground has the start wait for nothing.
func TestACheckThatTakesLongGoesOnInTheBackground(t *testing.T) {
	defer func(f func(int64) time.Duration) { checkPatience = f }(checkPatience)
	checkPatience = func(int64) time.Duration { return 0 }
	raw := sampleFile(t)
	for i, name := range []string{"node_7", "node_11", "node_19"} { // free pages hold copies, so change them all
		// The start itself reads the nodes, so it is the journal that is spoilt.
		spoilt := bytes.ReplaceAll(raw, []byte(`"message":"agent bound on `+name+`"`), []byte(`"message":"agent bound on `+name+"\x00"))
		if bytes.Equal(spoilt, raw) {
			t.Fatal("nothing was changed")
		}
		var log bytes.Buffer
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := Open(dir, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if errors.Is(err, ErrDamaged) { // the check was even faster
			t.Logf("variant %d was found by the start", i)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		db.checker.wait()
		if err := db.Update(func(*Tx) error { return nil }); !errors.Is(err, ErrDamaged) {
			t.Errorf("Update: %v, want ErrDamaged", err)
		}
		if err := db.WriteError(); !errors.Is(err, ErrDamaged) {
			t.Errorf("WriteError: %v, want ErrDamaged", err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "the data file is unusable; nothing is written until the next start"); n != 1 {
			t.Errorf("it is logged %d times:\n%s", n, &log)
		}
	}
}
