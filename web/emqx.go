package web

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/internal/emqxcall"
	"wfm/internal/floodlog"
	"wfm/protocol"
	"wfm/rights"
	"wfm/store"
	"wfm/web/wire"
)

func (a *systemAPI) emqxRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: "/api/v1/system/mqtt/reconcile", Access: wire.Session, Handle: a.reconcileAccounts,
			Summary: "Compares all accounts with those that an external EMQX has now, and repairs what differs.",
			Data:    AccountsStatus{}, Codes: "MQTT_DISABLED MQTT_EMBEDDED MQTT_CONTROL_UNAVAILABLE",
		},
	}
}

// ExternalBroker is what the server needs where the broker is an external EMQX.
type ExternalBroker struct {
	// Key is what EMQX has to show when it asks. Required.
	Key emqxcall.Key
	// Username and Password are the appliance's own account, which may use every topic of ours and
	// read $SYS, under the ClientIDs of its sessions.
	Username, Password string
	ClientIDs          []string
	// Apart leaves EMQX's questions to [Server.ServeCallbacks], which takes them on a listener that
	// the public cannot reach.
	Apart bool
	// CACert is what agents need to trust to reach the broker with TLS, PEM.
	CACert string
	// Account says how far EMQX knows a node's account. Required.
	Account func(nodeID string) AccountState
	// Settled reports whether EMQX knows the node's account as it is now. Until it does, a session
	// may be one of the former agent, and is denied everything. It must be quick; nil: it always does.
	Settled func(nodeID string) bool
	// Ready reports whether the appliance takes what nodes publish. Until then nodes may not log in: after a
	// restart, EMQX acknowledges messages before the appliance has subscribed again. It must be quick; nil:
	// always.
	Ready func() bool
	// Reconcile compares all accounts with EMQX's and repairs what differs. Required.
	Reconcile func(ctx context.Context) error
}

// asker is the EMQX whose questions are answered. Its fields are those of [ExternalBroker].
type asker struct {
	Key                emqxcall.Key
	Username, Password string
	ClientIDs          []string
	Settled            func(nodeID string) bool
	Ready              func() bool
}

func (b *asker) ready() bool { return b.Ready == nil || b.Ready() }

// AccountState is how far an external broker knows a node's account.
type AccountState struct {
	State    string     `json:"state"` // synced, pending, or none: the node may not log in
	Detail   string     `json:"detail"`
	SyncedAt *time.Time `json:"synced_at"`
}

// AccountsStatus is the same for all nodes.
type AccountsStatus struct {
	Synced  int `json:"synced"`
	Pending int `json:"pending"`
	// LastError is what the last attempt failed with; empty when it did not.
	LastError        string     `json:"last_error"`
	LastReconciledAt *time.Time `json:"last_reconciled_at"`
}

// UpstreamStatus is how the appliance takes what nodes send from an external broker.
type UpstreamStatus struct {
	// Sessions counts the sessions that take messages now, of SessionsMost that share them.
	Sessions     int `json:"sessions"`
	SessionsMost int `json:"sessions_most"`
	// Plain is true where the broker refuses shared subscriptions and one session takes all messages.
	Plain bool `json:"plain"`
	// SessionsLost counts sessions that the broker has dropped since the start, with messages that nodes
	// believe delivered; LastLostAt is when that was last noticed.
	SessionsLost uint64     `json:"sessions_lost"`
	LastLostAt   *time.Time `json:"last_lost_at"`
}

const (
	// callbackLimit bounds a question in bytes: a topic name has 64 KiB at most, ours far less.
	callbackLimit = 8 << 10
	// sessionLife is how long EMQX lets a session live that it asked us about: the longest that one
	// can outlive its right where even kicking it fails.
	sessionLife = 24 * time.Hour
	// callbackIdle is longer than the pauses between EMQX's questions: a connection that is closed
	// just when it asks makes it deny.
	callbackIdle = 10 * time.Minute
)

// asked is the broker whose questions are answered: the external one, or an EMQX beside the embedded
// broker. Nil: none is.
func (s *Server) asked() *ExternalBroker {
	if s.opts.External != nil {
		return s.opts.External
	}
	return s.opts.Asked
}

// callbacks answers what an EMQX asks.
type callbacks struct {
	db        *store.DB
	log       *slog.Logger
	own       *asker
	questions questions
}

// asker is what of it answers need; nil while nothing is answered.
func (o Options) asker() *asker {
	b := o.External
	if b == nil {
		b = o.Asked
	}
	if b == nil {
		return nil
	}
	return &asker{b.Key, b.Username, b.Password, b.ClientIDs, b.Settled, b.Ready}
}

// callbackTable is what EMQX asks where the API is. It is no part of the API: the answers are bare.
func (s *Server) callbackTable() []wire.Route {
	if own := s.asked(); own == nil || own.Apart {
		return nil
	}
	return s.callbacks.callbackRoutes()
}

func (s *callbacks) callbackRoutes() []wire.Route {
	if s.own == nil {
		return nil
	}
	log := slog.New(floodlog.New(s.log.Handler()))
	return []wire.Route{
		{Method: http.MethodPost, Path: emqxcall.TopicPath, Access: wire.Open, Handle: s.callback(log, s.authz)},
		{Method: http.MethodPost, Path: emqxcall.LoginPath, Access: wire.Open, Handle: s.callback(log, s.authn)},
	}
}

func (s *Server) newCallbacks() *http.Server {
	return &http.Server{
		Handler: s.serving(s.callbacks.callbackRoutes()), ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: callbackIdle, MaxHeaderBytes: maxHeaderBytes, ErrorLog: s.http.ErrorLog,
	}
}

// ServeCallbacks answers EMQX's questions, and nothing else, on l until Stop, and closes l. It
// returns nil after Stop.
func (s *Server) ServeCallbacks(l net.Listener) error { return serve(s.callbackHTTP, l) }

var (
	allow  = emqxcall.Answer{Result: emqxcall.Allow}
	deny   = emqxcall.Answer{Result: emqxcall.Deny}
	ignore = emqxcall.Answer{Result: emqxcall.Ignore}
)

func (s *callbacks) callback(log *slog.Logger, decide func(emqxcall.Question) emqxcall.Answer) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !s.own.Key.Fits(c.Request().Header.Get(emqxcall.KeyHeader)) {
			s.questions.wrongKey()
			log.Warn("a question about MQTT access came with a wrong key", "remote_addr", c.Request().RemoteAddr, "route", c.Path())
			return c.NoContent(http.StatusUnauthorized)
		}
		var q emqxcall.Question
		body, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, callbackLimit))
		if err == nil {
			err = json.Unmarshal(body, &q)
		}
		if err != nil { // not err itself, which may quote a password
			log.Warn("a question about MQTT access cannot be read, and is denied; compare EMQX's body template with `wfm emqx config`", "route", c.Path())
			s.questions.answered(c.Request(), deny, time.Now().UTC())
			return c.JSON(http.StatusOK, deny)
		}
		v := decide(q)
		s.questions.answered(c.Request(), v, time.Now().UTC())
		return c.JSON(http.StatusOK, v)
	}
}

// grantOf returns the right of a node, or of the temporary account of a check. The zero Grant is that of
// any other user.
func (s *callbacks) grantOf(user string) (g store.Grant, node bool) {
	if g, ok := s.db.Grant(user); ok {
		return g, true
	}
	if key := s.own.Key; key.IsCheck(user, time.Now()) {
		return store.NewGrant(user, emqxcall.CheckConfigID, key.Password(user)), false
	}
	return store.Grant{}, false
}

// authz decides about a topic. EMQX has checked the login.
func (s *callbacks) authz(q emqxcall.Question) emqxcall.Answer {
	own := s.own
	if own.Username != "" && q.Username == own.Username && slices.Contains(own.ClientIDs, q.ClientID) {
		if strings.HasPrefix(q.Topic, protocol.TopicPrefix+"/") || (q.Action == emqxcall.Subscribe && strings.HasPrefix(q.Topic, "$SYS/")) {
			return allow
		}
		return deny
	}
	grant, node := s.grantOf(q.Username)
	if node && own.Settled != nil && !own.Settled(q.Username) {
		return deny
	}
	// EMQX does not know generations. Once it knows the account, sessions of former ones are gone.
	session := rights.Session{ClientID: q.ClientID, Generation: grant.Generation}
	switch q.Action {
	case emqxcall.Publish:
		if rights.MayPublish(grant, session, q.Topic, q.Retained()) {
			return allow
		}
	case emqxcall.Subscribe:
		if rights.MaySubscribe(grant, session, q.Topic) {
			return allow
		}
	}
	return deny
}

// authn decides who may log in. Of users that are not ours it says nothing: EMQX asks its other
// authenticators then, and refuses when none knows them.
func (s *callbacks) authn(q emqxcall.Question) emqxcall.Answer {
	own := s.own
	if own.Username != "" && q.Username == own.Username {
		if subtle.ConstantTimeCompare([]byte(q.Password), []byte(own.Password)) != 1 || !slices.Contains(own.ClientIDs, q.ClientID) {
			return deny
		}
		return emqxcall.Answer{Result: emqxcall.Allow, IsSuperuser: true}
	}
	grant, node := s.grantOf(q.Username)
	switch v := rights.Admit(grant, rights.Login{ClientID: q.ClientID, Password: []byte(q.Password)}); {
	case v == rights.UnknownUser && !protocol.IsNewID("node", q.Username):
		return ignore
	case v != rights.Admitted, node && !own.ready():
		return deny
	}
	// Not all at once: each after between half and once the time.
	life := sessionLife/2 + rand.N(sessionLife/2) //nolint:gosec // no secret
	return emqxcall.Answer{Result: emqxcall.Allow, ExpireAt: time.Now().Add(life).Unix()}
}

func (r *reader) accountState(nodeID string) *AccountState {
	if r.account == nil {
		return nil
	}
	state := r.account(nodeID)
	return &state
}

// reconcileAccounts compares all accounts with EMQX's now.
func (a *systemAPI) reconcileAccounts(c echo.Context) error {
	if err := a.reader.mqtt(); err != nil {
		return err
	}
	if a.external == nil {
		return wire.ErrEmbeddedBroker
	}
	if err := a.external.Reconcile(c.Request().Context()); err != nil {
		return err
	}
	a.log.Info("accounts reconciled", "by", loginOf(c).Username)
	return wire.Respond(c, a.reader.brokerStatus().Accounts)
}
