package emqx

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"wfm/internal/emqxcall"
	"wfm/internal/retry"
	"wfm/protocol"
	"wfm/store"
)

const (
	// auditEvery is the time between full comparisons while nothing goes wrong.
	auditEvery = 15 * time.Minute
	// retryMost is the longest pause between attempts.
	retryMost = 30 * time.Second
	// awaitLimit bounds how long a change of rights waits until EMQX knows.
	awaitLimit = 3 * time.Second
)

// accounts keeps EMQX's accounts in agreement with the store.
type accounts struct {
	db  *store.DB
	api *API
	own account
	key emqxcall.Key
	log *slog.Logger
	// sessions returns the connections of nodes that are about to be kicked, and told is called
	// with them once EMQX knows the accounts.
	sessions func(nodeIDs []string) map[string]moment
	told     func(nodeIDs []string, kicked map[string]moment)
	// listed is called with the open connections of nodes, as of began.
	listed func(rows []clientRow, began time.Time)

	recover chan struct{}   // EMQX is back: compare all accounts
	demand  chan chan error // requests for a full comparison
	retry   func(attempt int) time.Duration

	mu         sync.Mutex
	known      map[string]store.Account
	changed    chan struct{} // closed and replaced after every attempt
	err        error         // of the last attempt
	attempts   int           // failures in a row
	reconciled time.Time
}

// account is the appliance's own account at EMQX.
type account struct {
	username, password string
	clientIDs          []string
}

func newAccounts(db *store.DB, api *API, own account, key emqxcall.Key, log *slog.Logger) (*accounts, error) {
	known, err := store.Read(db, (*store.Tx).Accounts)
	if err != nil {
		return nil, fmt.Errorf("read the accounts: %w", err)
	}
	return &accounts{
		known: known, db: db, api: api, own: own, key: key, log: log,
		sessions: func([]string) map[string]moment { return nil }, told: func([]string, map[string]moment) {},
		listed: func([]clientRow, time.Time) {}, retry: backoff,
		recover: make(chan struct{}, 1), demand: make(chan chan error), changed: make(chan struct{}),
	}, nil
}

// backoff returns a pause that doubles from half a second.
func backoff(attempt int) time.Duration {
	return retry.Pause(250*time.Millisecond, retryMost, attempt)
}

// run passes every change on to EMQX as it happens. It compares all accounts at the start, after
// failures, on request and at intervals.
func (s *accounts) run(ctx context.Context) {
	changes := s.db.Subscribe(4096)
	defer func() { changes.Close() }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	full := true
	for {
		var waiting []chan error
		select {
		case <-ctx.Done():
			return
		case c, ok := <-changes.C:
			if !ok {
				changes = s.db.Subscribe(4096) // it fell behind, and the comparison misses nothing
			} else if !concerns(c, changes.C) {
				continue
			}
			if s.failing() {
				continue // it is done with the next attempt
			}
		case <-s.recover:
			full = true
		case reply := <-s.demand:
			full, waiting = true, append(waiting, reply)
		case <-timer.C:
			full = true
		}
		err := s.attempt(ctx, full)
		switch {
		case err != nil:
			timer.Reset(s.pause(err))
		case full:
			timer.Reset(auditEvery)
		}
		full = err != nil
		for _, reply := range waiting {
			reply <- err
		}
	}
}

// pause returns how long to wait after a failed attempt.
func (s *accounts) pause(err error) time.Duration {
	wait := s.retry(s.failures())
	if refused, ok := errors.AsType[*APIError](err); ok {
		wait = max(wait, min(refused.RetryAfter, time.Minute))
	}
	return wait
}

// concerns drains the waiting changes, and reports whether any of them can have changed a grant.
func concerns(c store.Change, more <-chan store.Change) bool {
	for yes := false; ; {
		yes = yes || c.Kind == store.ChangeNode || c.Kind == store.ChangeConfig
		select {
		case next, ok := <-more:
			if !ok {
				return true
			}
			c = next
		default:
			return yes
		}
	}
}

func (s *accounts) attempt(ctx context.Context, full bool) error {
	work := s.catchUp
	if full {
		work = s.reconcile
	}
	err := work(ctx)
	if ctx.Err() != nil {
		return err
	}
	s.mu.Lock()
	was := s.err
	s.err = err
	s.attempts++
	if err == nil {
		s.attempts = 0
		if full {
			s.reconciled = time.Now()
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	switch {
	case err != nil && (was == nil || was.Error() != err.Error()):
		s.log.Warn("EMQX's accounts cannot be brought up to date; trying again", "err", err)
	case err == nil && was != nil:
		s.log.Info("EMQX's accounts are up to date again")
	}
	return err
}

// catchUp passes the pending changes on to EMQX.
func (s *accounts) catchUp(ctx context.Context) error {
	for {
		differ := s.pending()
		if len(differ) == 0 {
			return nil
		}
		changes := make([]change, len(differ))
		for i, c := range differ {
			changes[i] = change{AccountChange: c, kick: true}
		}
		kinds, err := s.kinds(ctx)
		if err != nil {
			return err
		}
		if err := s.apply(ctx, kinds, changes, nil); err != nil {
			return err
		}
	}
}

// pending returns the changes that EMQX does not know yet.
func (s *accounts) pending() []store.AccountChange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.db.AccountChanges(s.known)
}

// kinds says which of its two ways of checking logins EMQX uses.
type kinds struct{ database, http bool }

var (
	errNobodyChecks = errors.New("EMQX does not check logins, or asks neither its built-in database nor the appliance: set it up as `wfm emqx config` prints")
	errHash         = errors.New("EMQX's built-in database does not take users by name with sha256 hashes and the salt as prefix, so no node could log " +
		"in: set it up as `wfm emqx config` prints")
)

func (s *accounts) kinds(ctx context.Context) (kinds, error) {
	all, err := s.api.authenticators(ctx)
	if err != nil {
		return kinds{}, err
	}
	return kindsOf(all)
}

func kindsOf(all []authenticator) (k kinds, err error) {
	for _, a := range all {
		switch {
		case !a.enabled() || a.Mechanism != "password_based":
		case a.Backend == "built_in_database":
			k.database = true
			if a.Hash.Name != "sha256" || a.Hash.SaltPosition != "prefix" || (a.UserID != "" && a.UserID != "username") {
				return k, errHash
			}
		case a.Backend == "http":
			k.http = true
		}
	}
	if !k.database && !k.http {
		return k, errNobodyChecks
	}
	return k, nil
}

// reconcile compares all accounts with EMQX's, repairs differences, ends sessions without a right,
// and reads which nodes are connected.
func (s *accounts) reconcile(ctx context.Context) error {
	kinds, err := s.kinds(ctx)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	var own error // a failure here must not keep other sessions alive
	if kinds.database {
		own = s.api.importUsers(ctx, []userRow{s.ownRow()})
		if there, err = s.api.users(ctx); err != nil {
			return err
		}
	}
	began := time.Now()
	clients, err := s.api.clients(ctx)
	if err != nil {
		return err
	}
	// EMQX does not return hashes, so every account is imported again; EMQX skips those that are
	// equal.
	grants := s.db.Grants()
	s.mu.Lock()
	known := s.known
	var batch []change
	for id, g := range grants {
		superuser, found := there[id]
		fresh := known[id].Generation == g.Generation && (found || !kinds.database) && !superuser
		batch = append(batch, change{store.AccountChange{NodeID: id, Grant: g, Granted: true}, !fresh})
	}
	for id := range known {
		if _, ok := grants[id]; !ok {
			batch = append(batch, change{store.AccountChange{NodeID: id}, true})
		}
	}
	for id := range there {
		if _, ok := grants[id]; !ok && s.ours(id) && known[id].NodeID == "" {
			batch = append(batch, change{store.AccountChange{NodeID: id}, true})
		}
	}
	s.mu.Unlock()
	rows, strangers := s.sortClients(clients, grants)
	kicked := make(map[string]bool)
	for _, c := range batch {
		kicked[c.NodeID] = c.kick
	}
	rows = slices.DeleteFunc(rows, func(r clientRow) bool { return kicked[r.Username] })
	err = s.apply(ctx, kinds, batch, strangers)
	s.listed(rows, began)
	return cmp.Or(own, err)
}

// ours reports whether the user is a node's, or was left by a check that did not finish.
func (s *accounts) ours(user string) bool {
	return protocol.IsNewID("node", user) || s.key.LeftOver(user, time.Now())
}

// sortClients separates the connections of nodes from those of strangers.
func (s *accounts) sortClients(clients []clientRow, grants map[string]store.Grant) (nodes []clientRow, strangers []string) {
	for _, c := range clients {
		_, granted := grants[c.Username]
		switch {
		case granted && c.ClientID == protocol.ClientID(c.Username):
			nodes = append(nodes, c)
		case s.stranger(c.ClientID, c.Username):
			strangers = append(strangers, c.ClientID)
		}
	}
	return nodes, strangers
}

// stranger reports whether the client must be kicked: its user is a node without a grant, or its
// client id belongs to another user.
func (s *accounts) stranger(clientID, username string) bool {
	fits := clientID == protocol.ClientID(username)
	_, granted := s.db.Grant(username)
	switch {
	case slices.Contains(s.own.clientIDs, clientID): // kicking it would end our own session
		return false
	case granted:
		return !fits
	case protocol.IsNewID("node", username):
		return true
	}
	return !fits && strings.HasPrefix(clientID, protocol.ClientIDPrefix)
}

func (s *accounts) ownRow() userRow {
	salt := rand.Text()
	sum := sha256.Sum256([]byte(salt + s.own.password))
	return userRow{UserID: s.own.username, Salt: salt, PasswordHash: hex.EncodeToString(sum[:]), Superuser: true}
}

// settled reports whether EMQX knows the account's present state, and whether the account exists.
func (s *accounts) settled(nodeID string) (settled, granted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	grant, granted := s.db.Grant(nodeID)
	known, ok := s.known[nodeID]
	return ok == granted && known.Generation == grant.Generation, granted
}

// generation returns the generation of the node's right if EMQX knows its present state, otherwise
// 0.
func (s *accounts) generation(nodeID string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	grant, granted := s.db.Grant(nodeID)
	if known, ok := s.known[nodeID]; !granted || !ok || known.Generation != grant.Generation {
		return 0
	}
	return grant.Generation
}

func (s *accounts) failing() bool { return s.failures() > 0 }

func (s *accounts) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts
}

// await waits until EMQX knows the accounts and former sessions are kicked, but only briefly, and not
// for an EMQX that is away.
func (s *accounts) await(nodeIDs []string) {
	timeout := time.NewTimer(awaitLimit)
	defer timeout.Stop()
	unsettled := func(id string) bool { settled, _ := s.settled(id); return !settled }
	for {
		s.mu.Lock()
		changed, failing := s.changed, s.attempts > 0
		s.mu.Unlock()
		if failing || !slices.ContainsFunc(nodeIDs, unsettled) {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			return
		}
	}
}

// recovered requests a full comparison, since EMQX has come back.
func (s *accounts) recovered() {
	select {
	case s.recover <- struct{}{}:
	default: // a request is pending
	}
}
