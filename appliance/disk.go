package appliance

import "wfm/store"

// firstWrite closes the records that the last run left open.
func firstWrite(tx *store.Tx) error {
	if err := tx.NoteStart(); err != nil {
		return err
	}
	return tx.SettleAudit()
}
