package emqx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"wfm/protocol"
	"wfm/store"
)

// applySize bounds the accounts per batch.
const applySize = 1000

// change is an account to bring to EMQX, and whether its session must be ended.
type change struct {
	store.AccountChange
	kick bool
}

// apply brings the changes to EMQX and kicks the strangers. It takes rights away first, so that a
// failure to give one does not prevent that.
func (s *accounts) apply(ctx context.Context, kinds kinds, changes []change, strangers []string) error {
	var gone, given []change
	for _, c := range changes {
		if c.Granted {
			given = append(given, c)
		} else {
			gone = append(gone, c)
		}
	}
	err := s.revoke(ctx, kinds, gone, strangers)
	for batch := range slices.Chunk(given, applySize) {
		failed := s.give(ctx, kinds, batch)
		err = cmp.Or(err, failed)
		if _, answered := errors.AsType[*APIError](failed); failed != nil && !answered {
			break // EMQX is away
		}
	}
	return err
}

// revoke deletes accounts and kicks their sessions.
func (s *accounts) revoke(ctx context.Context, kinds kinds, gone []change, strangers []string) error {
	var deleted error
	if kinds.database {
		deleted = s.deleteAll(ctx, gone)
	}
	if err := s.end(ctx, gone, strangers, deleted == nil); deleted == nil {
		return err
	}
	return deleted
}

// give creates or updates accounts, and kicks the sessions of accounts that were replaced.
func (s *accounts) give(ctx context.Context, kinds kinds, batch []change) error {
	var failed error
	if kinds.database {
		rows := make([]userRow, len(batch))
		for i, c := range batch {
			salt, hash := c.Grant.PasswordHash()
			rows[i] = userRow{UserID: c.NodeID, PasswordHash: hash, Salt: salt}
		}
		failed = s.api.importUsers(ctx, rows)
	}
	if err := s.end(ctx, batch, nil, failed == nil); failed == nil {
		return err
	}
	return failed
}

// end kicks sessions. Only then does it record that EMQX has the account. It clears EMQX's cached
// permissions last: until the record, a client that has come back is denied.
func (s *accounts) end(ctx context.Context, batch []change, strangers []string, wasTold bool) error {
	kicks := slices.Clone(strangers)
	var nodes []string
	changes := make([]store.AccountChange, len(batch))
	for i, c := range batch {
		changes[i] = c.AccountChange
		if c.kick {
			kicks, nodes = append(kicks, protocol.ClientID(c.NodeID)), append(nodes, c.NodeID)
		}
	}
	kicked := s.sessions(nodes) // a newer session belongs to an agent that logged in with the new account
	if err := s.api.kick(ctx, kicks); err != nil {
		return err
	}
	if wasTold {
		if err := s.record(changes); err != nil {
			return err
		}
	}
	s.told(nodes, kicked)
	return s.api.clearCaches(ctx, kicks)
}

// deleteAll tries to delete each account even if others fail, unless EMQX is away.
func (s *accounts) deleteAll(ctx context.Context, gone []change) error {
	g := &errgroup.Group{}
	g.SetLimit(8)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, c := range gone {
		g.Go(func() error {
			err := s.api.deleteUser(ctx, c.NodeID)
			if _, answered := errors.AsType[*APIError](err); err != nil && !answered {
				cancel()
			}
			return err
		})
	}
	return g.Wait()
}

// record stores which accounts EMQX has, unless nothing changed.
func (s *accounts) record(changes []store.AccountChange) error {
	s.mu.Lock()
	var news []store.AccountChange
	for _, c := range changes {
		if known, ok := s.known[c.NodeID]; ok != c.Granted || known.Generation != c.Grant.Generation {
			news = append(news, c)
		}
	}
	s.mu.Unlock()
	if len(news) == 0 {
		return nil
	}
	at, err := store.Write(s.db, func(tx *store.Tx) (time.Time, error) { return tx.Now().UTC(), tx.AccountsTold(news) })
	if err != nil {
		return fmt.Errorf("record EMQX's accounts: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range news {
		if c.Granted {
			s.known[c.NodeID] = store.Account{NodeID: c.NodeID, Generation: c.Grant.Generation, SyncedAt: at}
		} else {
			delete(s.known, c.NodeID)
		}
	}
	return nil
}
