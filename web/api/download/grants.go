package download

import (
	"sync"
	"time"

	"wfm/protocol"
)

// grantTTL is the lifetime of a token or an archive, and mostGrants how many of each there are. The
// oldest one makes room.
const (
	grantTTL   = 5 * time.Minute
	mostGrants = 1000
)

// grants has values under secret names for a short time. The zero value is empty.
type grants[T any] struct {
	mu  sync.Mutex
	all []grant[T] // oldest first
}

type grant[T any] struct {
	name    string
	value   T
	expires time.Time
}

// add keeps the value under a new name.
func (g *grants[T]) add(v T, now time.Time) (name string, expires time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expire(now)
	if len(g.all) == mostGrants {
		g.all = g.all[1:]
	}
	one := grant[T]{protocol.NewSecret(), v, now.Add(grantTTL)}
	g.all = append(g.all, one)
	return one.name, one.expires
}

// get returns the value under the name.
func (g *grants[T]) get(name string, now time.Time) (v T, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expire(now)
	for _, one := range g.all {
		if one.name == name {
			return one.value, true
		}
	}
	return v, false
}

// remove removes the name and reports whether it was there.
func (g *grants[T]) remove(name string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expire(now)
	for i, one := range g.all {
		if one.name == name {
			g.all = append(g.all[:i:i], g.all[i+1:]...)
			return true
		}
	}
	return false
}

func (g *grants[T]) expire(now time.Time) {
	for len(g.all) > 0 && !now.Before(g.all[0].expires) {
		g.all = g.all[1:]
	}
}
