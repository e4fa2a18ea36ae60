package access

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wfm/store"
	"wfm/web/wire"
)

func strangerOf(network string) place { return place{network: netip.MustParsePrefix(network)} }

func TestLoginsWaitOnlyUpToABoundAndKnownOnesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &loginQueue{claims: make(map[netip.Prefix]time.Time)} // no slot is free
		ctx, cancel := context.WithCancel(t.Context())
		order := make(chan string, 100)
		wait := func(name string, from place) {
			go func() {
				switch err := q.acquire(ctx, from); {
				case err == nil:
					order <- name
				case errors.Is(err, wire.ErrBusy):
					order <- name + " busy"
				}
			}()
			synctest.Wait()
		}
		for range maxWaiting {
			wait("flood", strangerOf("192.0.2.0/24"))
		}
		wait("other", strangerOf("198.51.100.0/24")) // takes a place of the network with the most
		if got := <-order; got != "flood busy" {
			t.Fatal(got)
		}
		for range 10 {
			wait("flood", strangerOf("192.0.2.0/24")) // displaces its own kind only
			if got := <-order; got != "flood busy" {
				t.Fatal(got)
			}
		}
		for range maxWaiting {
			wait("known", place{known: true})
		}
		wait("known", place{known: true})
		if got := <-order; got != "known busy" {
			t.Fatal(got)
		}
		got := map[string]int{}
		for i := range 2 * maxWaiting {
			q.release()
			synctest.Wait()
			name := <-order
			if got[name]++; (name == "known") != (i < maxWaiting) {
				t.Errorf("turn %d is of %s", i, name)
			}
		}
		if got["other"] != 1 {
			t.Errorf("turns: %v", got)
		}
		wait("gone", strangerOf("192.0.2.0/24"))
		cancel()
		synctest.Wait()
		q.release()
		if q.free != 1 || len(q.known)+len(q.strangers) != 0 {
			t.Errorf("after all: %+v", q)
		}
	})
}

func TestNetworkThatWasRefusedStandsBeforeEverNewOnesAtTheNextTry(t *testing.T) {
	t.Parallel()
	q := &loginQueue{claims: make(map[netip.Prefix]time.Time)}
	ever := 0
	stranger := func() *waiter {
		ever++
		return &waiter{network: networkOf(netip.AddrFrom4([4]byte{10, byte(ever >> 8), byte(ever), 1})), turn: make(chan error, 1)}
	}
	admin := networkOf(netip.MustParseAddr("203.0.113.7"))
	for range maxWaiting {
		q.strangers = append(q.strangers, stranger())
	}
	for tries := range 20 {
		q.claimLocked(admin)
		w := &waiter{network: admin, turn: make(chan error, 1)}
		if !q.makeRoomLocked(w) {
			t.Fatalf("try %d was refused", tries)
		}
		q.strangers = append(q.strangers, w)
		for range 1000 {
			if s := stranger(); q.makeRoomLocked(s) {
				q.strangers = append(q.strangers, s)
			}
		}
		if len(w.turn) != 0 {
			t.Fatal("its place was given to one that came for the first time")
		}
		q.strangers = slices.DeleteFunc(q.strangers, func(other *waiter) bool { return other == w })
		q.strangers = append(q.strangers, stranger())
	}
	if len(q.claims) > maxClaims {
		t.Errorf("%d networks are remembered", len(q.claims))
	}
}

func TestOneNetworkOfStrangersHasOneBudgetAndKnownAddressesTheirOwn(t *testing.T) {
	t.Parallel()
	s := &Guard{
		logins: NewLimiter[netip.Addr](10, 5), networks: NewLimiter[netip.Prefix](30, 20),
		knownAddrs: &knownAddresses{last: map[netip.Addr]time.Time{}},
	}
	now := time.Now()
	for pattern, most := range map[string]int{"2001:db8:1:%x::": 20, "2001:db8:2:%x00::": 20, "198.51.100.%d": 20, "2001:db8:%x::": 200} {
		passed := 0
		for i := range 200 {
			from := netip.MustParseAddr(fmt.Sprintf(pattern, i+16))
			if _, err := s.takeAttempt(from, now); err == nil {
				passed++
			}
		}
		if passed != most {
			t.Errorf("%s: %d attempts, want %d", pattern, passed, most)
		}
	}
	known := netip.MustParseAddr("198.51.100.1")
	s.knownAddrs.add(known, now)
	if _, err := s.takeAttempt(known, now); err != nil {
		t.Errorf("a known address in a network that has spent its budget: %v", err)
	}
}

func TestSetUpAdminMakesTheAccountOnce(t *testing.T) {
	db, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, bad := range []string{"", "too short", "€€€€", strings.Repeat("x", 1025)} {
		if err := SetUpAdmin(db, bad); !errors.Is(err, ErrPasswordLength) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
	if err := SetUpAdmin(db, "long enough"); err != nil {
		t.Fatal(err)
	}
	if err := SetUpAdmin(db, "another one"); !errors.Is(err, store.ErrAdminExists) {
		t.Errorf("a second time: %v", err)
	}
	var hash string
	_ = db.View(func(tx *store.Tx) error { a, err := tx.Admin(); hash = a.PasswordHash; return err })
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash: %s", hash)
	}
}
