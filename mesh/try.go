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
		if changed, err = Change(tx, configID, "", random, edit); err != nil {
			return err
		}
		texts = make([]TextChange, 0, len(changed.NodeIDs))
		for _, id := range changed.NodeIDs {
			c := TextChange{NodeID: id}
			if c.After, err = desiredText(tx, id); err != nil {
				return err
			}
			if c.Before, err = formerText(tx, id); err != nil {
				return err
			}
			texts = append(texts, c)
		}
		return errTried
	})
	if errors.Is(err, errTried) {
		err = nil
	}
	return texts, changed, err
}

// formerText returns the text of the version before the desired one, "" if there is none.
func formerText(tx *store.Tx, nodeID string) (string, error) {
	s, err := tx.ConfState(nodeID)
	if err != nil {
		return "", err
	}
	v, err := tx.ConfVersion(nodeID, s.Desired.Version-1)
	if errors.Is(err, store.ErrConfVersionNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return tx.ConfText(nodeID, v.SHA256)
}
