package access

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestALimiterLetsABurstThroughAndThenThePace(t *testing.T) {
	l := NewLimiter[netip.Addr](10, 5) // one in six seconds
	now, addr := time.Now(), netip.MustParseAddr("192.0.2.1")
	for i := range 5 {
		if _, ok := l.Take(addr, now); !ok {
			t.Fatalf("attempt %d of the burst was refused", i+1)
		}
	}
	wait, ok := l.Take(addr, now)
	if ok || wait < 5*time.Second || wait > 7*time.Second {
		t.Fatalf("after the burst: %v, %v; want to wait about six seconds", wait, ok)
	}
	if _, ok := l.Take(netip.MustParseAddr("192.0.2.2"), now); !ok {
		t.Error("another address was refused, too")
	}
	now = now.Add(wait)
	if _, ok := l.Take(addr, now); !ok {
		t.Error("refused after the wait it asked for")
	}
	if _, ok := l.Take(addr, now); ok {
		t.Error("the wait bought two attempts")
	}
	l.giveBack(addr)
	if _, ok := l.Take(addr, now); !ok {
		t.Error("a token given back cannot be spent")
	}
	now = now.Add(time.Hour)
	for i := range 6 {
		if _, ok := l.Take(addr, now); ok != (i < 5) {
			t.Errorf("after an hour, attempt %d: %v", i+1, ok)
		}
	}
}

func TestALimiterForgetsTheOldestAddressFirst(t *testing.T) {
	l, now := NewLimiter[netip.Addr](10, 1), time.Now()
	nth := func(i int) netip.Addr {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(i))))
	}
	for i := range maxRemembered {
		l.Take(nth(i), now)
	}
	l.Take(nth(0), now) // seen again: no longer the oldest
	l.Take(nth(maxRemembered), now)
	if len(l.buckets) != maxRemembered || l.recent.Len() != maxRemembered {
		t.Fatalf("%d addresses are remembered, at most %d", len(l.buckets), maxRemembered)
	}
	if _, ok := l.Take(nth(0), now); ok {
		t.Error("an address seen lately was forgotten")
	}
	if _, ok := l.Take(nth(1), now); !ok {
		t.Error("the oldest address was not forgotten")
	}
}

func TestAnIPv6SubscriberIsOneAddress(t *testing.T) {
	for name, tc := range map[string]struct {
		a, b string
		same bool
	}{
		"one /64":                 {"[2001:db8::1]:1", "[2001:db8::ffff:2]:2", true},
		"two /64":                 {"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		"mapped IPv4":             {"[::ffff:192.0.2.1]:1", "192.0.2.1:9", true},
		"two IPv4":                {"192.0.2.1:1", "192.0.2.2:1", false},
		"one, with a zone":        {"[fe80::1%eth0]:1", "[fe80::1%eth1]:1", true},
		"text without an address": {"@", "pipe", true},
	} {
		if same := RemoteKey(tc.a) == RemoteKey(tc.b); same != tc.same {
			t.Errorf("%s: %s and %s the same: %v", name, tc.a, tc.b, same)
		}
	}
}
