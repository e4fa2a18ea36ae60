package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestAnAPITokenIsFoundByItsSecretUntilItIsDeleted(t *testing.T) {
	db := open(t)
	var made Token
	var secret string
	update(t, db, func(tx *Tx) (err error) {
		made, secret, err = tx.CreateToken("backup script", ScopeRead, time.Time{})
		return err
	})
	if err := db.Update(func(tx *Tx) error {
		_, _, err := tx.CreateToken("backup script", ScopeWrite, time.Time{})
		return err
	}); !errors.Is(err, ErrTokenNameExists) {
		t.Errorf("a second one of the name: %v", err)
	}
	update(t, db, func(tx *Tx) error { return tx.TokenUsed(secret) })
	_ = db.View(func(tx *Tx) error {
		got, ok, err := tx.Token(secret)
		if err != nil || !ok || got.ID != made.ID || got.LastUsedAt.IsZero() || !got.ExpiresAt.IsZero() {
			t.Errorf("found %+v, %v, %v", got, ok, err)
		}
		if _, ok, _ := tx.Token(made.ID); ok {
			t.Error("the id is as good as the secret")
		}
		return nil
	})
	update(t, db, func(tx *Tx) error { _, err := tx.DeleteToken(made.ID); return err })
	if err := db.Update(func(tx *Tx) error { _, err := tx.DeleteToken(made.ID); return err }); !errors.Is(err, ErrTokenNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	// A token used at the moment it is deleted does not come back.
	update(t, db, func(tx *Tx) error { return tx.TokenUsed(secret) })
	_ = db.View(func(tx *Tx) error {
		if _, ok, _ := tx.Token(secret); ok {
			t.Error("it is still there")
		}
		return nil
	})
}

func TestTheNumberOfAPITokensIsBounded(t *testing.T) {
	db := open(t)
	update(t, db, func(tx *Tx) error {
		for i := range maxTokens {
			if _, _, err := tx.CreateToken(fmt.Sprint(i), ScopeRead, time.Time{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err := db.Update(func(tx *Tx) error {
		_, _, err := tx.CreateToken("one more", ScopeRead, time.Time{})
		return err
	}); !errors.Is(err, ErrTooManyTokens) {
		t.Errorf("one more: %v", err)
	}
}

func TestSessionsEndOneByOneAllButOneAndTheOldestForANewOne(t *testing.T) {
	db := open(t)
	create := func(token string, ttl time.Duration) (s Session) {
		update(t, db, func(tx *Tx) (err error) { s, err = tx.CreateSession(token, "admin", "192.0.2.1", ttl); return err })
		return s
	}
	ids := func() (ids []string) {
		_ = db.View(func(tx *Tx) error {
			all, err := tx.Sessions()
			for _, s := range all {
				ids = append(ids, s.ID)
			}
			return err
		})
		return ids
	}
	first := create("t1", time.Hour)
	create("t2", time.Hour)
	create("expired", -time.Second)
	last := create("t3", time.Hour)
	if got := ids(); len(got) != 3 || got[0] != last.ID || got[2] != first.ID {
		t.Errorf("sessions %v, want three from %s to %s", got, last.ID, first.ID)
	}
	update(t, db, func(tx *Tx) error { return tx.EndSession(first.ID) })
	if err := db.Update(func(tx *Tx) error { return tx.EndSession(first.ID) }); !errors.Is(err, ErrSessionNotFound) {
		t.Errorf("ended twice: %v", err)
	}
	update(t, db, func(tx *Tx) error { _, err := tx.EndOtherSessions(last.ID); return err })
	if got := ids(); len(got) != 1 || got[0] != last.ID {
		t.Errorf("all but %s ended: %v", last.ID, got)
	}
	update(t, db, func(tx *Tx) error {
		for i := range maxSessions - 1 {
			key := fmt.Sprintf("%064d", i) // past the look at all others for each
			if err := put(tx, bucketSessions, key, Session{CreatedAt: tx.now.Add(time.Second), ExpiresAt: tx.now.Add(time.Hour)}); err != nil {
				return err
			}
		}
		return nil
	})
	newest := create("one more", time.Hour)
	if got := ids(); len(got) != maxSessions || slices.Contains(got, last.ID) || !slices.Contains(got, newest.ID) {
		t.Errorf("%d sessions of which the oldest was to make room", len(got))
	}
}
