package access

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"wfm/store"
	"wfm/web/wire"
)

// maxWaiting bounds the logins that wait for their hash, separately for known addresses and for
// strangers. A hash takes some 30 ms, so the last of them waits well under a second.
const maxWaiting = 16

// maxSameAddress bounds the logins that wait for others of their address.
const maxSameAddress = 64

// place is the origin of a login: its network, and whether its address is known.
type place struct {
	known   bool         // an admin has logged in from the address
	network netip.Prefix // strangers share their places by network
}

// loginQueue bounds the number of hashes computed at a time, and so the memory and processors that
// logins use, and decides which login is next.
//
// Known addresses have places of their own and go first. They cannot starve strangers: each is
// subject to the limit of failed attempts, and only a right password makes an address known.
//
// Strangers share the rest by network. Once their places are taken, a newcomer takes a place of the
// network that has the most, its own included, and there of a login whose network has not been
// refused before. A refused network is remembered for claimFor. So if strangers from ever new
// networks hold all places, an admin at a new address is refused once, and at the next try goes
// before all first-time networks. Strangers that return too share the places with the admin by
// network.
type loginQueue struct {
	mu        sync.Mutex
	free      int // slots
	known     []*waiter
	strangers []*waiter
	claims    map[netip.Prefix]time.Time // the time of each network's last refusal
}

// claimFor is the time for which a refused network goes before others. maxClaims bounds the number
// of such networks.
const (
	claimFor  = time.Minute
	maxClaims = 10_000
)

type waiter struct {
	network netip.Prefix
	claim   bool       // its network was refused before
	turn    chan error // receives nil when it is its turn, or wire.ErrBusy if its place went to another
}

// newLoginQueue returns a queue with half as many slots as processors, but at least one, as far as
// memory allows: hashes may use a quarter of the runtime's memory limit.
func newLoginQueue() *loginQueue {
	byMemory := debug.SetMemoryLimit(-1) / 4 / (argonMemory << 10)
	return &loginQueue{claims: make(map[netip.Prefix]time.Time), free: int(max(1, min(int64(runtime.NumCPU()/2), byMemory)))}
}

// acquire waits for a slot. The caller must release it. Errors: wire.ErrBusy, ctx's.
func (q *loginQueue) acquire(ctx context.Context, from place) error {
	w := &waiter{network: from.network, turn: make(chan error, 1)}
	q.mu.Lock()
	switch {
	case q.free > 0: // then no login waits
		q.free--
		q.mu.Unlock()
		return nil
	case from.known && len(q.known) >= maxWaiting, !from.known && !q.makeRoomLocked(w):
		q.mu.Unlock()
		return wire.ErrBusy
	case from.known:
		q.known = append(q.known, w)
	default:
		q.strangers = append(q.strangers, w)
	}
	q.mu.Unlock()
	select {
	case err := <-w.turn:
		return err
	case <-ctx.Done():
		q.leave(w)
		return ctx.Err()
	}
}

// makeRoomLocked takes a place from a waiting stranger for the newcomer, if none is free. It
// reports whether there is a place.
func (q *loginQueue) makeRoomLocked(newcomer *waiter) bool {
	at, claimed := q.claims[newcomer.network]
	newcomer.claim = claimed && time.Since(at) < claimFor
	if len(q.strangers) < maxWaiting {
		return true
	}
	count, most := map[netip.Prefix]int{newcomer.network: 1}, 1
	for _, w := range q.strangers {
		count[w.network]++
		most = max(most, count[w.network])
	}
	candidates := slices.DeleteFunc(append(slices.Clone(q.strangers), newcomer), func(w *waiter) bool { return count[w.network] < most })
	claims := func(w *waiter) bool { return w.claim }
	if !slices.ContainsFunc(candidates, func(w *waiter) bool { return !w.claim }) {
		claims = func(*waiter) bool { return false }
	}
	candidates = slices.DeleteFunc(candidates, claims)
	loser := candidates[rand.IntN(len(candidates))] //nolint:gosec // fairness, not secrecy
	q.claimLocked(loser.network)
	if loser == newcomer {
		return false
	}
	q.strangers = slices.DeleteFunc(q.strangers, func(w *waiter) bool { return w == loser })
	loser.turn <- wire.ErrBusy
	return true
}

// claimLocked records that the network was refused.
func (q *loginQueue) claimLocked(network netip.Prefix) {
	if _, ok := q.claims[network]; !ok && len(q.claims) >= maxClaims {
		for other := range q.claims { // any
			delete(q.claims, other)
			break
		}
	}
	q.claims[network] = time.Now()
}

// leave removes a waiter whose client has given up.
func (q *loginQueue) leave(w *waiter) {
	q.mu.Lock()
	is := func(other *waiter) bool { return other == w }
	q.known, q.strangers = slices.DeleteFunc(q.known, is), slices.DeleteFunc(q.strangers, is)
	q.mu.Unlock()
	select {
	case err := <-w.turn:
		if err == nil { // its turn came in the meantime
			q.release()
		}
	default:
	}
}

// release gives the slot to the next login.
func (q *loginQueue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	next := &q.known
	if len(q.known) == 0 {
		next = &q.strangers
	}
	if len(*next) == 0 {
		q.free++
		return
	}
	delete(q.claims, (*next)[0].network)
	(*next)[0].turn <- nil
	*next = slices.Delete(*next, 0, 1)
}

// maxKnown bounds the remembered addresses. The least recently used one makes room.
const maxKnown = 1000

// knownAddresses holds the addresses that an admin has logged in from since the start, and those of
// sessions from before.
type knownAddresses struct {
	mu   sync.Mutex
	last map[netip.Addr]time.Time
}

// newKnownAddresses returns the addresses of the sessions in the store. If these cannot be read,
// the next logins make their addresses known.
func newKnownAddresses(db *store.DB) *knownAddresses {
	k := &knownAddresses{last: make(map[netip.Addr]time.Time)}
	_ = db.View(func(tx *store.Tx) error {
		sessions, err := tx.Sessions()
		for _, one := range sessions {
			k.add(RemoteKey(net.JoinHostPort(one.RemoteAddr, "0")), one.CreatedAt)
		}
		return err
	})
	return k
}

func (k *knownAddresses) add(addr netip.Addr, at time.Time) {
	if !addr.IsValid() {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last[addr] = at
	if len(k.last) <= maxKnown {
		return
	}
	oldest := addr
	for other, when := range k.last {
		if when.Before(k.last[oldest]) {
			oldest = other
		}
	}
	delete(k.last, oldest)
}

func (k *knownAddresses) has(addr netip.Addr) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.last[addr]
	return ok
}

// networkOf returns the network that may belong to one customer as a whole: the /24 of an IPv4
// address, the /48 of an IPv6 one.
func networkOf(addr netip.Addr) netip.Prefix {
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	network, _ := addr.Prefix(bits) // for the zero Addr, the zero Prefix
	return network
}

// underWay counts the open attempts of each address. They have spent tokens, and most give them
// back. So a further attempt from the same address waits for them and is refused only if passwords
// were wrong. That way, many scripts at one address can log in at once.
type underWay struct {
	mu   sync.Mutex
	open map[netip.Addr]*openAttempts
}

type openAttempts struct {
	n       int           // under way
	waiting int           // attempts that wait for one of these to end
	ended   chan struct{} // closed and replaced when one ends
}

// start calls take until it gets a token, again after each end of an attempt from the address, as
// long as there are open attempts that may give one back. The attempt is open until end is called.
// Errors: those of take, ctx's.
func (u *underWay) start(ctx context.Context, from netip.Addr, take func() (giveBack func(), err error)) (end func(right bool), err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		giveBack, err := take()
		a := u.open[from]
		if err == nil {
			if a == nil {
				a = &openAttempts{ended: make(chan struct{})}
				u.open[from] = a
			}
			a.n++
			return func(right bool) { u.end(from, right, giveBack) }, nil
		}
		if a == nil || a.n == 0 || a.waiting >= maxSameAddress {
			return nil, err
		}
		ended := a.ended
		a.waiting++
		u.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
		}
		u.mu.Lock()
		a.waiting--
		u.forgetLocked(from, a)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

func (u *underWay) end(from netip.Addr, right bool, giveBack func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if right {
		giveBack()
	}
	a := u.open[from]
	a.n--
	close(a.ended)
	a.ended = make(chan struct{})
	u.forgetLocked(from, a)
}

func (u *underWay) forgetLocked(from netip.Addr, a *openAttempts) {
	if a.n == 0 && a.waiting == 0 {
		delete(u.open, from)
	}
}
