package store

import (
	"errors"
	"testing"
)

func (h *accountsHarness) changes() (told, gone int) {
	h.t.Helper()
	for _, c := range h.db.AccountChanges(h.known()) {
		if c.Granted {
			told++
		} else {
			gone++
		}
	}
	return told, gone
}

type accountsHarness struct {
	t  *testing.T
	db *DB
}

func (h *accountsHarness) known() (known map[string]Account) {
	h.t.Helper()
	if err := h.db.View(func(tx *Tx) (err error) { known, err = tx.Accounts(); return err }); err != nil {
		h.t.Fatal(err)
	}
	return known
}

func (h *accountsHarness) tell() {
	h.t.Helper()
	told := h.db.AccountChanges(h.known())
	if err := h.db.Update(func(tx *Tx) error { return tx.AccountsTold(told) }); err != nil {
		h.t.Fatal(err)
	}
}

func (h *accountsHarness) update(fn func(*Tx) error) {
	h.t.Helper()
	if err := h.db.Update(fn); err != nil {
		h.t.Fatal(err)
	}
}

func (h *accountsHarness) want(what string, told, gone int) {
	h.t.Helper()
	if t, g := h.changes(); t != told || g != gone {
		h.t.Errorf("%s: %d to be told and %d to go, want %d and %d", what, t, g, told, gone)
	}
}

// Every change of a right must reach the broker, and no other change.
func TestEveryChangeOfARightIsToBeToldToAnExternalBroker(t *testing.T) {
	h := &accountsHarness{t, open(t)}
	enable := func(enabled bool) func(*Tx) error {
		return func(tx *Tx) error {
			n, err := tx.Node("node_a")
			n.Enabled = enabled
			return errors.Join(err, tx.PutNode(&n))
		}
	}
	h.want("an empty store", 0, 0)
	h.update(func(tx *Tx) error {
		return errors.Join(
			tx.PutConfig(&Config{ID: "cfg_a", Name: "a", Enabled: true}),
			tx.PutNode(&Node{ID: "node_a", ConfigID: "cfg_a", Name: "a", Enabled: true, Type: NodeDynamic}),
		)
	})
	h.want("a node without an agent", 0, 0)
	bindAgain := func(tx *Tx) error {
		token, _, err := tx.IssueBindToken("node_a", 1<<40)
		if err == nil {
			_, err = tx.Bind(token, Client{})
		}
		return err
	}
	h.update(bindAgain)
	h.want("bound", 1, 0)
	h.tell()
	h.want("told", 0, 0)
	h.update(func(tx *Tx) error { n, err := tx.Node("node_a"); n.Name = "b"; return errors.Join(err, tx.PutNode(&n)) })
	h.want("renamed", 0, 0)
	h.update(bindAgain)
	h.want("bound again", 1, 0)
	h.tell()
	h.update(enable(false))
	h.want("disabled", 0, 1)
	h.update(enable(true))
	h.want("enabled again before anybody was told", 1, 0)
	h.tell()
	h.update(func(tx *Tx) error { return tx.PutConfig(&Config{ID: "cfg_a", Name: "a"}) })
	h.want("config disabled", 0, 1)
	h.tell()
	h.want("told", 0, 0)
	h.update(func(tx *Tx) error { return tx.PutConfig(&Config{ID: "cfg_a", Name: "a", Enabled: true}) })
	h.want("config enabled", 1, 0)
	h.tell()
	h.update(func(tx *Tx) error { return tx.DeleteNode("node_a") })
	h.want("deleted", 0, 1)
	h.tell()
	if known := h.known(); len(known) != 0 {
		t.Errorf("still known: %v", known)
	}
}

func TestAccountThatChangedWhileItWasToldIsToldAgain(t *testing.T) {
	h := &accountsHarness{t, open(t)}
	h.update(func(tx *Tx) error {
		return errors.Join(
			tx.PutConfig(&Config{ID: "cfg_a", Name: "a", Enabled: true}),
			tx.PutNode(&Node{ID: "node_a", ConfigID: "cfg_a", Name: "a", Enabled: true, Type: NodeDynamic}),
		)
	})
	bindAgain := func(tx *Tx) error {
		token, _, err := tx.IssueBindToken("node_a", 1<<40)
		if err == nil {
			_, err = tx.Bind(token, Client{})
		}
		return err
	}
	h.update(bindAgain)
	underWay := h.db.AccountChanges(nil)
	h.update(bindAgain)
	h.update(func(tx *Tx) error { return tx.AccountsTold(underWay) })
	h.want("changed meanwhile", 1, 0)
}

func TestPasswordSurvivesALossOfTheRight(t *testing.T) {
	h := &accountsHarness{t, open(t)}
	var bound Bound
	h.update(func(tx *Tx) error {
		if err := tx.PutConfig(&Config{ID: "cfg_a", Name: "a", Enabled: true}); err != nil {
			return err
		}
		n := Node{ID: "node_a", ConfigID: "cfg_a", Name: "a", Enabled: true, Type: NodeDynamic}
		if err := tx.PutNode(&n); err != nil {
			return err
		}
		token, _, err := tx.IssueBindToken("node_a", 1<<40)
		if err == nil {
			bound, err = tx.Bind(token, Client{})
		}
		return err
	})
	before, _ := h.db.Grant("node_a")
	for _, enabled := range []bool{false, true} {
		h.update(func(tx *Tx) error { n := bound.Node; n.Enabled = enabled; return tx.PutNode(&n) })
	}
	after, ok := h.db.Grant("node_a")
	if !ok || !after.CheckPassword([]byte(bound.Password)) || after.Generation == before.Generation {
		t.Errorf("right again: %v, the same session's: %v", ok, after.Generation == before.Generation)
	}
}

func TestSecretIsKeptAsItsHashAndOnce(t *testing.T) {
	h := &accountsHarness{t, open(t)}
	h.update(func(tx *Tx) error { return tx.KeepSecret("key", "the secret") })
	if err := h.db.Update(func(tx *Tx) error { return tx.KeepSecret("key", "another") }); !errors.Is(err, ErrSecretExists) {
		t.Errorf("%v", err)
	}
	_ = h.db.View(func(tx *Tx) error {
		if got := tx.SecretHash("key"); got != hashToken("the secret") || tx.SecretHash("other") != "" {
			t.Errorf("kept: %q", got)
		}
		return nil
	})
}
