package emqxcall

import (
	"strings"
	"testing"
	"time"

	"wfm/protocol"
)

func TestKeyFitsItsSecretOnly(t *testing.T) {
	k := NewKey("secret")
	if !k.Fits("secret") {
		t.Error("its own secret does not fit")
	}
	for _, other := range []string{"", "secre", "secret ", "Secret"} {
		if k.Fits(other) {
			t.Errorf("%q fits", other)
		}
	}
	if (Key{}).Fits("") {
		t.Error("no key fits no secret")
	}
}

func TestCheckAccountWorksForAWhileAndOnlyWithItsKey(t *testing.T) {
	k, now := NewKey("secret"), time.Unix(1_700_000_000, 0)
	id, password := k.Check(now)
	if !protocol.ValidID(id) || !k.IsCheck(id, now) || k.Password(id) != password {
		t.Errorf("%q is no account of a check", id)
	}
	if NewKey("other").Password(id) == password || k.Password(id+"x") == password {
		t.Error("another account has the same password")
	}
	if k.IsCheck(id, now.Add(time.Hour)) || !k.LeftOver(id, now.Add(time.Hour)) || k.LeftOver(id, now) {
		t.Error("it works for ever, or is not known as a left-over")
	}
	if NewKey("other").IsCheck(id, now) || (Key{}).IsCheck(id, now) {
		t.Error("it works with another key")
	}
	for _, forged := range []string{"check_", "check__", "node_abc", strings.Replace(id, "check_", "check_1", 1)} {
		if k.IsCheck(forged, now) {
			t.Errorf("%q works", forged)
		}
	}
	zero, _ := (Key{}).Check(now)
	if (Key{}).IsCheck(zero, now) {
		t.Error("without a key, anybody can make an account")
	}
}
