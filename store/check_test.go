package store

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// TestCheckFindsWhatRecordsSayOfEachOther has pages that are sound and records that are not.
func TestCheckFindsWhatRecordsSayOfEachOther(t *testing.T) {
	t.Parallel()
	raw := sampleFile(t)
	for name, tc := range map[string]struct {
		spoil func(tx *Tx) error
		want  string
	}{
		"a name without its node":   {func(tx *Tx) error { return tx.deleteRaw(bucketNodes, []byte("node_3")) }, "leads to no node"},
		"a node without its name":   {func(tx *Tx) error { return tx.deleteRaw(bucketNodeNames, nodeNameKey("cfg_a", "node_3")) }, "lacks node node_3"},
		"a config without its name": {func(tx *Tx) error { return tx.deleteRaw(bucketConfigNames, []byte("a")) }, "lacks config cfg_a"},
		"an open command that is not there": {func(tx *Tx) error {
			return tx.putRaw(bucketCommandsOpen, seqKey("node_3", 1), []byte("req_x"))
		}, "not in commands"},
		"a lost text": {func(tx *Tx) error { return tx.deleteUnder(bucketConfTexts, seqPrefix("node_3")) }, "the text of version 1"},
		"a desired version that is not there": {func(tx *Tx) error {
			return tx.deleteRaw(bucketConfVersions, confVersionKey("node_3", 1))
		}, "version 1 of node node_3"},
		"a desired version with another text": {otherHash, "the text of version 1"},
		"a lost audit entry":                  {func(tx *Tx) error { return tx.deleteRaw(bucketAudit, auditKey(100)) }, "entry 101"},
		"a changed audit entry": {func(tx *Tx) error {
			line := string(tx.getRaw(bucketAudit, auditKey(100)))
			return tx.putRaw(bucketAudit, auditKey(100), []byte(strings.Replace(line, "admin", "other", 1)))
		}, "entry 100"},
		"a changed text": {func(tx *Tx) error {
			return tx.putRaw(bucketConfTexts, tx.keysUnder(bucketConfTexts, seqPrefix("node_3"), 1)[0], []byte("[Interface]"))
		}, "conf_texts"},
		"a record that is none": {func(tx *Tx) error { return tx.putRaw(bucketNodes, []byte("node_3"), []byte("{")) }, "a record of nodes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := openCopy(t, raw)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Check(db.path); !errors.Is(err, ErrInUse) {
				t.Errorf("while it is in use: %v", err)
			}
			update(t, db, tc.spoil)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			c, err := Check(db.path)
			if !errors.Is(err, ErrDamaged) || !strings.Contains(strings.Join(c.Faults, "\n"), tc.want) {
				t.Errorf("Check: %v %q, want %q", err, c.Faults, tc.want)
			}
		})
	}
}

func TestCheckTellsOfALostHead(t *testing.T) {
	t.Parallel()
	for page := range int64(2) {
		raw := sampleFile(t)
		clear(raw[page*4096 : (page+1)*4096])
		path := t.TempDir() + "/x"
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := Check(path); !errors.Is(err, ErrDamaged) || len(c.Faults) == 0 || !strings.Contains(c.Faults[0], "two meta pages") {
			t.Errorf("page %d: %v %q", page, err, c.Faults)
		}
	}
}

// TestEveryBucketHasACheckOfItsRecords is for who adds a bucket.
func TestEveryBucketHasACheckOfItsRecords(t *testing.T) {
	t.Parallel()
	db := open(t)
	_ = db.View(func(tx *Tx) error {
		c := tx.bolt.Cursor()
		for name, _ := c.First(); name != nil; name, _ = c.Next() {
			if recordChecks[string(name)] == nil {
				t.Errorf("recordChecks has nothing about %s", name)
			}
		}
		return nil
	})
}

// TestAFileThatIsCutUnderAReaderIsNoFault reads mapped memory behind which there is no file any more.
func TestAFileThatIsCutUnderAReaderIsNoFault(t *testing.T) {
	t.Parallel()
	db, err := openCopy(t, sampleFile(t))
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *Tx) error {
		if err := os.Truncate(db.path, 8192); err != nil {
			t.Error(err)
		}
		_, err := tx.Nodes("cfg_a", "", 0)
		return err
	})
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("View: %v, want ErrDamaged", err)
	}
	if err := db.Update(func(*Tx) error { return nil }); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrMoved) {
		t.Errorf("Update: %v", err)
	}
}

// otherHash makes the first version of node_3 name a text that was never saved.
func otherHash(tx *Tx) error {
	v, err := tx.ConfVersion("node_3", 1)
	if err != nil {
		return err
	}
	v.SHA256 = strings.Repeat("0", 64)
	return tx.putConfVersion("node_3", v)
}

// TestAConfigThatIsGoneIsDamage removes versions and texts that a state or the history names. Those
// are never removed to make room.
func TestAConfigThatIsGoneIsDamage(t *testing.T) {
	t.Parallel()
	raw := sampleFile(t)
	for name, tc := range map[string]struct {
		spoil func(tx *Tx) error
		read  func(tx *Tx) error
	}{
		"the text": {func(tx *Tx) error { return tx.deleteUnder(bucketConfTexts, seqPrefix("node_3")) }, readDesired},
		"the version": {func(tx *Tx) error { return tx.deleteRaw(bucketConfVersions, confVersionKey("node_3", 1)) }, func(tx *Tx) error {
			_, err := tx.ConfVersion("node_3", 1)
			return err
		}},
		"the text of a version": {otherHash, func(tx *Tx) error {
			_, err := tx.ConfText("node_3", strings.Repeat("0", 64))
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := openCopy(t, raw)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.View(func(tx *Tx) error {
				for _, err := range []error{second(tx.ConfVersion("node_3", 7)), second(tx.ConfText("node_3", strings.Repeat("1", 64)))} {
					if !errors.Is(err, ErrConfVersionNotFound) {
						t.Errorf("what never was: %v", err)
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			update(t, db, tc.spoil)
			if err := db.View(tc.read); !errors.Is(err, ErrDamaged) {
				t.Errorf("read: %v", err)
			}
			if err := db.broken(); !errors.Is(err, ErrDamaged) {
				t.Errorf("the store is not out of service: %v", err)
			}
		})
	}
}

func readDesired(tx *Tx) error {
	s, err := tx.ConfState("node_3")
	if err != nil {
		return err
	}
	return second(tx.ConfText("node_3", s.Desired.SHA256))
}

func second[T any](_ T, err error) error { return err }
