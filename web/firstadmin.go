package web

import (
	"errors"
	"fmt"
	"log/slog"

	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
)

// FirstAdmin makes the account "admin" with the password if there is no account yet. Without a
// password it returns the token that set-up over HTTP requires. token is empty if there is an
// account. If the disk cannot be written, FirstAdmin only logs that.
func FirstAdmin(db *store.DB, password string, log *slog.Logger) (token string, err error) {
	err = db.View(func(tx *store.Tx) error { _, err := tx.Admin(); return err })
	switch {
	case err == nil:
		if password != "" {
			log.Info("WFM_ADMIN_PASSWORD counts at the first start only; the admin password stays as it is")
		}
		return "", nil
	case !errors.Is(err, store.ErrNoAdmin):
		return "", fmt.Errorf("read the admin account: %w", err)
	case password == "":
		return protocol.NewSecret(), nil
	}
	switch err := access.SetUpAdmin(db, password); {
	case store.Unwritable(err):
		log.Error("the admin account is not set up; start again when the disk can be written", "err", err)
	case err != nil:
		return "", fmt.Errorf("set up the admin account: %w", err)
	}
	return "", nil
}
