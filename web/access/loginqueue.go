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

// maxWaiting bounds how many logins wait for their hash, of known addresses and of strangers each. A
// hash takes some 30 ms, so the last of them waits well under a second.
const maxWaiting = 16

// maxSameAddress bounds how many logins wait for others of their address.
const maxSameAddress = 64

// place is where a login comes from.
type place struct {
	known   bool         // an admin has logged in from there
	network netip.Prefix // which strangers share their part with
}

// loginQueue bounds how many hashes are computed at a time, and with it the memory and the processors
// that logins take, and decides who is next.
//
// Known addresses have places of their own and go first. They cannot starve strangers: the limit of
// failed attempts holds for each, and only a right password makes an address known.
//
// Strangers share the rest by network. Once their places are taken, a newcomer takes one of the network
// that has the most, its own included, and there of one that has not been refused before. A network
// that was refused is remembered for claimFor: the admin who logs in from a new address while strangers
// of ever new networks keep all places is refused at first, and at the next try stands before all that
// come for the first time. Strangers who come back too share with him by network.
type loginQueue struct {
	mu        sync.Mutex
	free      int // slots
	known     []*waiter
	strangers []*waiter
	claims    map[netip.Prefix]time.Time // when a network was refused last
}

// claimFor is how long a network that was refused stands before others, and maxClaims how many do.
const (
	claimFor  = time.Minute
	maxClaims = 10_000
)

type waiter struct {
	network netip.Prefix
	claim   bool       // it was refused before
	turn    chan error // nil: go on; wire.ErrBusy: the place was given to another
}

// newLoginQueue has a slot for each two processors, as far as memory allows: hashes may take a quarter
// of what the runtime is limited to.
func newLoginQueue() *loginQueue {
	byMemory := debug.SetMemoryLimit(-1) / 4 / (argonMemory << 10)
	return &loginQueue{claims: make(map[netip.Prefix]time.Time), free: int(max(1, min(int64(runtime.NumCPU()/2), byMemory)))}
}

// acquire waits for a slot, which release gives back. Errors: wire.ErrBusy, ctx's.
func (q *loginQueue) acquire(ctx context.Context, from place) error {
	w := &waiter{network: from.network, turn: make(chan error, 1)}
	q.mu.Lock()
	switch {
	case q.free > 0: // then nobody waits
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

// makeRoomLocked has a stranger give up its place for the newcomer, if that has to be. It reports
// whether there is one.
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

// claimLocked remembers that the network was refused.
func (q *loginQueue) claimLocked(network netip.Prefix) {
	if _, ok := q.claims[network]; !ok && len(q.claims) >= maxClaims {
		for other := range q.claims { // any
			delete(q.claims, other)
			break
		}
	}
	q.claims[network] = time.Now()
}

// leave takes back a waiter whose client has given up.
func (q *loginQueue) leave(w *waiter) {
	q.mu.Lock()
	is := func(other *waiter) bool { return other == w }
	q.known, q.strangers = slices.DeleteFunc(q.known, is), slices.DeleteFunc(q.strangers, is)
	q.mu.Unlock()
	select {
	case err := <-w.turn:
		if err == nil { // its turn came meanwhile
			q.release()
		}
	default:
	}
}

// release gives the slot to who is next.
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

// maxKnown bounds the addresses that are remembered; the one not used for longest makes room.
const maxKnown = 1000

// knownAddresses are those that an admin has logged in from since the start, and those of sessions
// that were there before.
type knownAddresses struct {
	mu   sync.Mutex
	last map[netip.Addr]time.Time
}

// newKnownAddresses begins with those of the sessions in the store. If they cannot be read, the next
// logins make them known.
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

// networkOf is the network that one customer may have all of: the /24 of an IPv4 address, the /48 of an
// IPv6 one.
func networkOf(addr netip.Addr) netip.Prefix {
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	network, _ := addr.Prefix(bits) // of the zero address the zero one
	return network
}

// underWay counts the attempts of each address whose outcome is open. Their tokens are spent, and most
// come back: so who comes meanwhile from the same address waits for them, and is refused only when
// passwords were wrong. Scripts that log in at once from one address all succeed that way.
type underWay struct {
	mu   sync.Mutex
	open map[netip.Addr]*openAttempts
}

type openAttempts struct {
	n       int           // under way
	waiting int           // for one of them to end
	ended   chan struct{} // closed, and made anew, when one ends
}

// start calls take, again whenever an attempt from the address ends, until there is a token or nothing
// under way that could give one back. The attempt is under way until end is called. Errors: those of
// take, ctx's.
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
