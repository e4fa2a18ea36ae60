package access

import (
	"container/list"
	"math"
	"net/netip"
	"sync"
	"time"
)

// maxRemembered bounds the keys that a limiter remembers; the least recently seen one is dropped.
const maxRemembered = 10_000

// Limiter bounds how often each address, or login, may do something, with a bucket of tokens for
// each. It has its own buckets because a token must be returned exactly (a successful attempt does
// not count, but concurrent attempts must not pass before the first of them has failed).
type Limiter[K comparable] struct {
	perSecond float64
	burst     float64

	mu      sync.Mutex
	buckets map[K]*list.Element // of *bucket[K]
	recent  *list.List          // front: last seen
}

type bucket[K comparable] struct {
	key    K
	tokens float64
	at     time.Time
}

// NewLimiter allows each key perMinute, and burst at once.
func NewLimiter[K comparable](perMinute, burst float64) *Limiter[K] {
	return &Limiter[K]{
		perSecond: perMinute / 60, burst: burst,
		buckets: make(map[K]*list.Element), recent: list.New(),
	}
}

// Take takes a token from the key's bucket, or returns how long to wait for one.
func (l *Limiter[K]) Take(key K, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucketLocked(key, now)
	if passed := now.Sub(b.at).Seconds(); passed > 0 {
		b.tokens = min(l.burst, b.tokens+passed*l.perSecond)
		b.at = now
	}
	if b.tokens < 1 {
		return time.Duration(math.Ceil((1 - b.tokens) / l.perSecond * float64(time.Second))), false
	}
	b.tokens--
	return 0, true
}

// giveBack returns the token of an attempt that does not count.
func (l *Limiter[K]) giveBack(key K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.buckets[key]; ok {
		b := e.Value.(*bucket[K])
		b.tokens = min(l.burst, b.tokens+1)
	}
}

func (l *Limiter[K]) bucketLocked(key K, now time.Time) *bucket[K] {
	if e, ok := l.buckets[key]; ok {
		l.recent.MoveToFront(e)
		return e.Value.(*bucket[K])
	}
	if l.recent.Len() >= maxRemembered {
		oldest := l.recent.Back()
		delete(l.buckets, l.recent.Remove(oldest).(*bucket[K]).key)
	}
	b := &bucket[K]{key: key, tokens: l.burst, at: now}
	l.buckets[key] = l.recent.PushFront(b)
	return b
}

// RemoteKey returns the key that a connection counts for: its IPv4 address, or the /64 of its IPv6
// address, since one subscriber has a whole /64. Headers, which a client can write, are ignored.
func RemoteKey(remoteAddr string) netip.Addr {
	ap, err := netip.ParseAddrPort(remoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is4() {
		return addr
	}
	prefix, err := addr.Prefix(64)
	if err != nil {
		return netip.Addr{}
	}
	return prefix.Addr()
}
