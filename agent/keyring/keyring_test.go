package keyring

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

const profile = "cfg_a-node_b"

func TestPairsAreClampedAndNotShown(t *testing.T) {
	for range 100 {
		p, err := NewPair()
		if err != nil {
			t.Fatal(err)
		}
		b, err := base64.StdEncoding.DecodeString(p.Private)
		if err != nil || len(b) != 32 || b[0]&7 != 0 || b[31]&128 != 0 || b[31]&64 == 0 {
			t.Errorf("%d bytes, %v: not clamped", len(b), err)
		}
		if again, err := pairOf(p.Private); err != nil || again != p {
			t.Error("the pair is no pair", err)
		}
		if shown := fmt.Sprintf("%v %+v %#v %s %q", p, p, p, p, &p); strings.Contains(shown, p.Private) {
			t.Errorf("shown as %s", shown)
		}
	}
	// RFC 7748, 6.1
	p, err := pairOf("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=")
	if err != nil || p.Public != "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=" {
		t.Errorf("%v, %v", p, err)
	}
}

func TestARingIsBoundedAndKeepsThePairInUse(t *testing.T) {
	r := New(t.TempDir())
	if pairs, err := r.Pairs(profile); err != nil || len(pairs) != 0 || r.Public(profile) != "" {
		t.Errorf("%v, %v", pairs, err)
	}
	var all []Pair
	for range 3 * Kept {
		p, err := NewPair()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Add(profile, p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	first, last := all[0], all[len(all)-1]
	pairs, err := r.Pairs(profile)
	if err != nil || len(pairs) != Kept || pairs[0] != first || pairs[Kept-1] != last || r.Public(profile) != last.Public {
		t.Errorf("kept: %v, %v", pairs, err)
	}
	if p, err := r.Find(profile, ""); err != nil || p != last {
		t.Errorf("the newest: %v, %v", p, err)
	}
	if p, err := r.Find(profile, first.Public); err != nil || p != first {
		t.Errorf("the oldest: %v, %v", p, err)
	}
	if _, err := r.Find(profile, all[1].Public); !errors.Is(err, ErrNoKey) {
		t.Errorf("a pair that is gone: %v", err)
	}
	for _, used := range []string{"", "another's", first.Public} {
		if err := r.Prune(profile, map[string]struct{}{used: {}}); err != nil {
			t.Fatal(err)
		}
		if pairs, _ := r.Pairs(profile); len(pairs) != Kept {
			t.Errorf("with %q in use, %d pairs stay", used, len(pairs))
		}
	}
	if err := r.Prune(profile, map[string]struct{}{pairs[Kept-2].Public: {}}); err != nil {
		t.Fatal(err)
	}
	if pairs, _ := r.Pairs(profile); len(pairs) != 2 || pairs[1] != last {
		t.Errorf("kept: %v", pairs)
	}
	for range 2 {
		if err := r.Remove(profile); err != nil || r.Public(profile) != "" {
			t.Errorf("removed: %v", err)
		}
	}
}

func TestDamagedKeysAreReplacedAndNotQuoted(t *testing.T) {
	r := New(t.TempDir())
	for _, damage := range []string{"{", `{"private_keys":["c2VjcmV0"]}`, `{"private_keys":["se-cret"]}`, `{"private_keys":"c2VjcmV0"}`} {
		if err := os.WriteFile(r.Path(profile), []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Find(profile, ""); err == nil || strings.Contains(err.Error(), "c2Vj") || strings.Contains(err.Error(), "cret") || r.Public(profile) != "" {
			t.Errorf("%s: %v", damage, err)
		}
		if made, err := r.Ensure(profile); !made || err != nil || r.Public(profile) == "" {
			t.Errorf("%s: %v, %v", damage, made, err)
		}
		if made, err := r.Ensure(profile); made || err != nil {
			t.Errorf("%s, again: %v, %v", damage, made, err)
		}
	}
}
