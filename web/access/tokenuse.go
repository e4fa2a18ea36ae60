package access

import (
	"sync"
	"time"

	"wfm/store"
)

// tokenUseNoted is the accuracy of an API token's last use: it costs at most one write in that
// time.
const tokenUseNoted = 5 * time.Minute

// tokenUses bounds how often the use of a token is stored.
type tokenUses struct {
	mu    sync.Mutex
	noted map[string]time.Time // by id; there are few tokens
}

func (u *tokenUses) due(id string, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.Sub(u.noted[id]) < tokenUseNoted {
		return false
	}
	if u.noted == nil {
		u.noted = make(map[string]time.Time)
	}
	u.noted[id] = now
	return true
}

func (u *tokenUses) forget(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.noted, id)
}

// ForgetToken forgets the use of a deleted token.
func (g *Guard) ForgetToken(id string) { g.uses.forget(id) }

// noteTokenUse stores when an API token was last used. If that fails, the request is not refused.
func (g *Guard) noteTokenUse(l Login) {
	if l.Scope == "" || !g.uses.due(l.ID, time.Now()) {
		return
	}
	if err := g.db.Update(func(tx *store.Tx) error { return tx.TokenUsed(l.Token) }); err != nil {
		g.log.Debug("the use of an API token was not noted", "token_id", l.ID, "err", err)
	}
}
