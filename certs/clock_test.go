package certs

import (
	"crypto/x509"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// leaping is a clock that a test sets.
type leaping struct{ by atomic.Int64 }

func (l *leaping) now() time.Time       { return time.Now().Add(time.Duration(l.by.Load())) }
func (l *leaping) leap(d time.Duration) { l.by.Store(int64(d)) }

// look does the minutely work of the local CA.
func look(t *testing.T, k *Keeper) {
	t.Helper()
	if err := k.source.(*local).ensure(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := k.changed(); err != nil {
		t.Fatal(err)
	}
}

func TestClockThatLeapsPastTheRootsEndAndBackCutsNobodyOff(t *testing.T) {
	for name, leap := range map[string]time.Duration{
		"a day before its end": authorityLifetime - retireBefore/2, "past its end": authorityLifetime + time.Hour,
		"past the next one's": 2*authorityLifetime + 48*time.Hour, "into the past": -20 * 365 * 24 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			var clock leaping
			db := openStore(t)
			k, stop := run(t, Options{Store: db, PublicHost: "wfm.example.org", now: clock.now, check: time.Hour})
			early := caCert(t, k, "wfm.example.org")
			for range 2 { // and again
				clock.leap(leap)
				look(t, k)
				look(t, k)
				clock.leap(0)
				mustConnect(t, k, early, "wfm.example.org") // at once
				look(t, k)
				mustConnect(t, k, early, "wfm.example.org")
			}
			late := caCert(t, k, "wfm.example.org")
			if !strings.Contains(late, early) {
				t.Error("the root is not handed out any more")
			}
			mustConnect(t, k, late, "wfm.example.org")
			if n := len(*k.source.(*local).made.Load()); n > 2 {
				t.Errorf("%d roots were made", n)
			}
			if err := k.Renew(t.Context(), false); err != nil {
				t.Errorf("renewing: %v", err)
			}
			mustConnect(t, k, early, "wfm.example.org")
			stop()
			k, _ = run(t, Options{Store: db, PublicHost: "wfm.example.org", now: clock.now, check: time.Hour})
			mustConnect(t, k, early, "wfm.example.org")
		})
	}
}

func TestRootOfFilesIsHandedOutAgainAfterALeapOfTheClock(t *testing.T) {
	var clock leaping
	s, other := newSite(t), newSite(t)
	put(t, s.certFile, s.whole(t, time.Now()))
	k, _ := run(t, Options{Store: openStore(t), Issuer: IssuerFiles, CertFile: s.certFile, KeyFile: s.keyFile, check: time.Hour, now: clock.now})
	early := caCert(t, k, firstName)
	clock.leap(authorityLifetime + 48*time.Hour)
	if ca := k.kept.all(); len(ca) != 0 {
		t.Errorf("%d expired roots are handed out", len(ca))
	}
	if err := k.kept.add([]*x509.Certificate{other.root}); err != nil { // add writes all of them
		t.Fatal(err)
	}
	clock.leap(0)
	put(t, s.certFile, s.leaf(t, time.Now()))
	if err := k.Renew(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if ca := caCert(t, k, firstName); !strings.Contains(ca, early) {
		t.Error("the root is not handed out any more")
	}
	mustConnect(t, k, early, firstName)
}
