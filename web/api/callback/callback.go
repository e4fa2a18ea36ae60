package callback

import (
	"crypto/subtle"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
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

// Asker is the EMQX whose questions are answered.
type Asker struct {
	// Key is the key that EMQX has to send with its questions.
	Key emqxcall.Key
	// Username and Password are the appliance's own account, under the ClientIDs of its sessions.
	Username, Password string
	ClientIDs          []string
	// Settled reports whether EMQX knows the node's account as it is now; nil: it always does.
	Settled func(nodeID string) bool
	// Ready reports whether the appliance takes the messages that nodes publish; nil: always.
	Ready func() bool
}

func (b *Asker) ready() bool { return b.Ready == nil || b.Ready() }

const (
	// callbackLimit is the size limit of a question in bytes. A topic name has at most 64 KiB;
	// those of the appliance are far shorter.
	callbackLimit = 8 << 10
	// sessionLife is the longest lifetime of a session that EMQX asked about, and so the longest
	// time that one can outlive its right if even kicking it fails.
	sessionLife = 24 * time.Hour
)

// API answers an EMQX's questions. Its fields are set before the first request and not changed
// after that.
type API struct {
	DB        *store.DB
	Log       *slog.Logger
	Own       *Asker // nil: nothing is answered
	questions questions
}

// Routes has what EMQX asks; nothing while no EMQX may.
func (a *API) Routes() []wire.Route {
	if a.Own == nil {
		return nil
	}
	log := slog.New(floodlog.New(a.Log.Handler()))
	return []wire.Route{
		{Method: http.MethodPost, Path: emqxcall.TopicPath, Access: wire.Open, Handle: a.callback(log, a.authz)},
		{Method: http.MethodPost, Path: emqxcall.LoginPath, Access: wire.Open, Handle: a.callback(log, a.authn)},
	}
}

var (
	allow  = emqxcall.Answer{Result: emqxcall.Allow}
	deny   = emqxcall.Answer{Result: emqxcall.Deny}
	ignore = emqxcall.Answer{Result: emqxcall.Ignore}
)

func (a *API) callback(log *slog.Logger, decide func(emqxcall.Question) emqxcall.Answer) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !a.Own.Key.Fits(c.Request().Header.Get(emqxcall.KeyHeader)) {
			a.questions.wrongKey()
			log.Warn("a question about MQTT access came with a wrong key", "remote_addr", c.Request().RemoteAddr, "route", c.Path())
			return c.NoContent(http.StatusUnauthorized)
		}
		var q emqxcall.Question
		body, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, callbackLimit))
		if err == nil {
			err = json.Unmarshal(body, &q)
		}
		if err != nil { // not err, which may quote a password
			log.Warn("a question about MQTT access cannot be read, and is denied; compare EMQX's body template with `wfm emqx config`", "route", c.Path())
			a.questions.answered(c.Request(), deny, time.Now().UTC())
			return c.JSON(http.StatusOK, deny)
		}
		v := decide(q)
		a.questions.answered(c.Request(), v, time.Now().UTC())
		return c.JSON(http.StatusOK, v)
	}
}

// grantOf returns the grant of a node, or of the temporary account of a check. Any other user gets
// the zero Grant.
func (a *API) grantOf(user string) (g store.Grant, node bool) {
	if g, ok := a.DB.Grant(user); ok {
		return g, true
	}
	if key := a.Own.Key; key.IsCheck(user, time.Now()) {
		return store.NewGrant(user, emqxcall.CheckConfigID, key.Password(user)), false
	}
	return store.Grant{}, false
}

// authz decides whether a client may use a topic. EMQX has checked its login.
func (a *API) authz(q emqxcall.Question) emqxcall.Answer {
	own := a.Own
	if own.Username != "" && q.Username == own.Username && slices.Contains(own.ClientIDs, q.ClientID) {
		if strings.HasPrefix(q.Topic, protocol.TopicPrefix+"/") || (q.Action == emqxcall.Subscribe && strings.HasPrefix(q.Topic, "$SYS/")) {
			return allow
		}
		return deny
	}
	grant, node := a.grantOf(q.Username)
	if node && own.Settled != nil && !own.Settled(q.Username) {
		return deny
	}
	// EMQX does not know generations. Once it has the current account, all sessions of former
	// generations are gone.
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

// authn decides whether a client may log in. It ignores users that are not the appliance's: EMQX
// then asks its other authenticators, and refuses a user that none of them knows.
func (a *API) authn(q emqxcall.Question) emqxcall.Answer {
	own := a.Own
	if own.Username != "" && q.Username == own.Username {
		if subtle.ConstantTimeCompare([]byte(q.Password), []byte(own.Password)) != 1 || !slices.Contains(own.ClientIDs, q.ClientID) {
			return deny
		}
		return emqxcall.Answer{Result: emqxcall.Allow, IsSuperuser: true}
	}
	grant, node := a.grantOf(q.Username)
	switch v := rights.Admit(grant, rights.Login{ClientID: q.ClientID, Password: []byte(q.Password)}); {
	case v == rights.UnknownUser && !protocol.IsNewID("node", q.Username):
		return ignore
	case v != rights.Admitted, node && !own.ready():
		return deny
	}
	// Spread the ends of sessions: each lives between half of the time and all of it.
	life := sessionLife/2 + rand.N(sessionLife/2) //nolint:gosec // no secret
	return emqxcall.Answer{Result: emqxcall.Allow, ExpireAt: time.Now().Add(life).Unix()}
}
