package mesh

import (
	"errors"
	"io"

	"wfm/store"
)

// errTried takes a tried edit back.
var errTried = errors.New("only tried")

// Try returns what [Change] would do, and changes nothing: the texts that would be new, each with the
// desired one of before. Keys and other values that edit would make are other ones each time.
func Try(db *store.DB, configID string, random io.Reader, edit func(*Edit) error) ([]TextChange, Changed, error) {
	var texts []TextChange
	var changed Changed
	err := db.Update(func(tx *store.Tx) (err error) {
		if changed, texts, err = change(tx, configID, "", random, edit); err != nil {
			return err
		}
		return errTried
	})
	if errors.Is(err, errTried) {
		err = nil
	}
	return texts, changed, err
}
