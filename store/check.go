package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"
)

// faultsTold bounds the faults that Check reports: one fault of a disk often shows in many records.
const faultsTold = 20

// Checked is the result of [Check].
type Checked struct {
	Bytes   int64 // in use
	Pages   uint64
	Records int
	// Faults describes up to twenty faults. More is set if there are others.
	Faults []string
	More   bool
}

// Check reads every page and record of the data file at path, and checks that the records agree. No
// process may be using the file. Check changes nothing. Errors: [ErrDamaged], with Faults;
// [ErrInUse], [ErrNewer], and those of the system.
func Check(path string) (c Checked, err error) {
	f, size, err := openForReading(path)
	if err != nil {
		return c, err
	}
	defer closeLocked(f)
	metas, err := intactMetas(f, size)
	if err != nil {
		return c, err
	}
	if len(metas) == 1 {
		c.tell(fmt.Errorf("%w %d: it is one of two meta pages, and the other one is used; the last write may be missing",
			errPages, 1-metas[0].off/metas[0].pageSize))
	}
	c.Bytes, c.Pages = int64(metas[0].pages)*metas[0].pageSize, metas[0].pages //nolint:gosec // the size of a file
	w := pageWalk{r: f, meta: metas[0], fault: c.tell, record: func(bucket string, key, value []byte) error {
		c.Records++
		return checkRecord(bucket, key, value)
	}}
	w.run()
	if len(c.Faults) == 0 {
		if err := c.relations(path); err != nil {
			return c, err
		}
	}
	if len(c.Faults) > 0 {
		return c, ErrDamaged
	}
	return c, nil
}

func (c *Checked) tell(err error) bool {
	if len(c.Faults) == faultsTold {
		c.More = true
		return false
	}
	c.Faults = append(c.Faults, err.Error())
	return true
}

// relations checks that the records of a file whose pages are sound agree. A file of an older
// version is migrated in a copy first.
func (c *Checked) relations(path string) error {
	return guarded(func() error {
		bolt, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: time.Nanosecond, OpenFile: os.OpenFile})
		if err != nil {
			return diskError(err)
		}
		defer bolt.Close()
		have, err := schemaOf(bolt)
		switch want := uint64(len(migrations)); {
		case err != nil:
			return err
		case have > want:
			return fmt.Errorf("schema version %d, this program knows %d: %w", have, want, ErrNewer)
		case have < want:
			return nil
		}
		return bolt.View(func(b *bbolt.Tx) error {
			tx := &Tx{bolt: b}
			for _, check := range []func(*Tx, func(error) bool) error{checkNames, checkIndexes, checkMesh, checkTexts, checkChain} {
				if err := check(tx, c.tell); err != nil && !errors.Is(err, errWalkEnded) {
					return err
				}
			}
			return nil
		})
	})
}

// each calls fn for the records of a bucket until tell returns false.
func (tx *Tx) each(bucket []byte, tell func(error) bool, fn func(key, value []byte) error) error {
	c := tx.cursor(bucket)
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if err := fn(k, v); err != nil && !tell(fmt.Errorf("%s: %w", bucket, err)) {
			return errWalkEnded
		}
	}
	return nil
}

// checkNames checks that the indexes of names and the configs and nodes with those names agree.
func checkNames(tx *Tx, tell func(error) bool) error {
	if err := tx.each(bucketConfigNames, tell, func(name, id []byte) error {
		if c, err := tx.Config(string(id)); err != nil || c.Name != string(name) {
			return fmt.Errorf("the name %q leads to no config of that name", name)
		}
		return nil
	}); err != nil {
		return err
	}
	if err := tx.each(bucketConfigs, tell, func(id, _ []byte) error {
		if c, err := tx.Config(string(id)); err != nil || string(tx.getRaw(bucketConfigNames, []byte(c.Name))) != string(id) {
			return fmt.Errorf("the index of names lacks config %s", id)
		}
		return nil
	}); err != nil {
		return err
	}
	if err := tx.each(bucketNodeNames, tell, func(key, id []byte) error {
		if n, err := tx.Node(string(id)); err != nil || !bytes.Equal(nodeNameKey(n.ConfigID, n.Name), key) {
			return fmt.Errorf("the name %q leads to no node of that name", key)
		}
		return nil
	}); err != nil {
		return err
	}
	return tx.each(bucketNodes, tell, func(id, _ []byte) error {
		n, err := tx.Node(string(id))
		if err != nil || string(tx.getRaw(bucketNodeNames, nodeNameKey(n.ConfigID, n.Name))) != string(id) {
			return fmt.Errorf("the index of names lacks node %s", id)
		}
		if _, err := tx.Config(n.ConfigID); err != nil {
			return fmt.Errorf("the config of node %s does not exist", id)
		}
		return nil
	})
}

// checkIndexes checks that the records named by indexes exist.
func checkIndexes(tx *Tx, tell func(error) bool) error {
	for _, index := range []struct{ bucket, records []byte }{
		{bucketCommandsByNode, bucketCommands}, {bucketCommandsOpen, bucketCommands}, {bucketRolloutsByConfig, bucketRollouts},
	} {
		if err := tx.each(index.bucket, tell, func(_, id []byte) error {
			if tx.getRaw(index.records, []byte(requestIDOf(id))) == nil {
				return fmt.Errorf("it names %q, which is not in %s", id, index.records)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// checkTexts checks that the text of each kept tunnel config exists, and that desired and staged
// configs are kept. A confirmed version may have been removed before a late answer confirmed it.
func checkTexts(tx *Tx, tell func(error) bool) error {
	if err := tx.each(bucketConfVersions, tell, func(key, raw []byte) error {
		var v ConfVersion
		if err := decode(raw, &v); err != nil {
			return fmt.Errorf("a record cannot be read: %w", err)
		}
		nodeID, _, _ := bytes.Cut(key, []byte{0})
		if tx.getRaw(bucketConfTexts, confTextKey(string(nodeID), v.SHA256)) == nil {
			return fmt.Errorf("the text of version %d of node %s is missing", v.Version, nodeID)
		}
		return nil
	}); err != nil {
		return err
	}
	return tx.each(bucketConfStates, tell, func(id, _ []byte) error {
		s, err := tx.ConfState(string(id))
		if err != nil {
			return err
		}
		for _, ref := range []ConfRef{s.Desired, s.Staged} {
			if ref.Version == 0 {
				continue
			}
			if v, err := tx.ConfVersion(string(id), ref.Version); err != nil || v.ConfRef != ref {
				return fmt.Errorf("version %d of node %s, which is desired or staged, is missing or has another text", ref.Version, id)
			}
		}
		return nil
	})
}

// checkChain checks that the audit log is intact.
func checkChain(tx *Tx, tell func(error) bool) error {
	var last uint64
	var head string
	return tx.each(bucketAudit, tell, func(key, line []byte) error {
		e, err := readAudit(line)
		if err != nil {
			return err
		}
		seq, before, follows := binary.BigEndian.Uint64(key), last, last == 0 || e.Previous == head
		last, head = seq, e.Hash
		content := append(bytes.Clone(line[:max(0, len(line)-hashMemberLength)]), '}')
		if !bytes.HasSuffix(line, []byte(hashMember(content))) || !follows || before != 0 && seq != before+1 {
			return fmt.Errorf("entry %d does not follow the one before, or was changed", seq)
		}
		return nil
	})
}
