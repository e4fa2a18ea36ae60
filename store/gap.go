package store

import (
	"encoding/json"
	"fmt"
	"time"
)

var (
	keyAlive = []byte("alive") // when the appliance was last known to run
	keyGaps  = []byte("gaps")  // []Gap, oldest first
)

// gapsKept bounds the gaps kept; older ones are removed.
const gapsKept = 200

// Gap is a period in which the appliance did not run, so that nothing is known about any node.
type Gap struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// MarkAlive records that the appliance runs. The time between the last mark and the next start is a
// gap, so call it regularly and at the end.
func (tx *Tx) MarkAlive() error {
	raw, err := tx.now.UTC().MarshalBinary()
	if err != nil {
		return fmt.Errorf("encode mark: %w", err)
	}
	return tx.putRaw(bucketMeta, keyAlive, raw)
}

// NoteStart records, at a start, the gap since the last mark.
func (tx *Tx) NoteStart() error {
	var last time.Time
	if raw := tx.getRaw(bucketMeta, keyAlive); raw != nil {
		if err := last.UnmarshalBinary(raw); err != nil {
			return damaged("the mark of the last run cannot be read")
		}
	}
	if !last.IsZero() && last.Before(tx.now) {
		gaps, err := tx.Gaps()
		if err != nil {
			return err
		}
		gaps = append(gaps, Gap{last, tx.now.UTC()})
		raw, err := json.Marshal(gaps[max(0, len(gaps)-gapsKept):])
		if err != nil {
			return fmt.Errorf("encode gaps: %w", err)
		}
		if err := tx.putRaw(bucketMeta, keyGaps, raw); err != nil {
			return err
		}
	}
	return tx.MarkAlive()
}

// SettleLastRun completes, at a start, the last run's records: it records the gap and closes the
// audit log's open entries. Use it as Options.First.
func (tx *Tx) SettleLastRun() error {
	if err := tx.NoteStart(); err != nil {
		return err
	}
	return tx.SettleAudit()
}

// Gaps returns the recorded gaps, oldest first.
func (tx *Tx) Gaps() (gaps []Gap, err error) {
	raw := tx.getRaw(bucketMeta, keyGaps)
	if raw == nil {
		return nil, nil
	}
	if err := decode(raw, &gaps); err != nil {
		return nil, fmt.Errorf("read gaps: %w", err)
	}
	return gaps, nil
}
