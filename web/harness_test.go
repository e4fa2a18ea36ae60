package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/web"
	"wfm/web/access"
	"wfm/web/view"
)

const setupToken = "the-setup-token"

// api is a server over a real store, and a client for it.
type api struct {
	t        *testing.T
	db       *store.DB
	url      string
	server   *web.Server
	token    string // of the admin's session
	commands *commands
	broker   *broker
	log      *lockedBuffer
}

// bareAPI starts a server without an admin account.
func bareAPI(t *testing.T, adjust ...func(*web.Options)) *api {
	t.Helper()
	return apiOver(t, openStore(t, 0), adjust...)
}

func openStore(t *testing.T, maxSize int) *store.DB {
	t.Helper()
	db, err := store.Open(t.TempDir(), store.Options{MaxSize: maxSize})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func apiOver(t *testing.T, db *store.DB, adjust ...func(*web.Options)) *api {
	t.Helper()
	a := &api{t: t, db: db, commands: &commands{db: db}, broker: &broker{}, log: &lockedBuffer{}}
	db.WatchGrants(a.broker.changed)
	o := web.Options{
		Store: db, Logger: slog.New(slog.NewTextHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Commands: a.commands, Broker: a.broker, Version: "1.2.3", MQTTEnabled: true,
		MQTTPort: 1883, SetupToken: setupToken,
	}
	for _, f := range adjust {
		f(&o)
	}
	a.server = web.New(o)
	server := httptest.NewServer(a.server.Handler())
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// newAPI starts a server with a session of the admin. The account has a hash that no password has,
// to save the time of hashing.
func newAPI(t *testing.T, adjust ...func(*web.Options)) *api {
	t.Helper()
	a := bareAPI(t, adjust...)
	a.token = adminSession(t, a.db, time.Hour)
	return a
}

func adminSession(t *testing.T, db *store.DB, ttl time.Duration) (token string) {
	t.Helper()
	token = protocol.NewSecret()
	if err := db.Update(func(tx *store.Tx) error {
		if err := tx.CreateAdmin(access.AdminUser, "nothing"); err != nil && !errors.Is(err, store.ErrAdminExists) {
			return err
		}
		_, err := tx.CreateSession(token, access.AdminUser, "192.0.2.1", ttl)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return token
}

// reply is an answer without its envelope.
type reply struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   string

	Success    bool            `json:"success"`
	Data       json.RawMessage `json:"data"`
	NextCursor string          `json:"next_cursor"`
	Error      struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  struct {
			Field     string
			Fields    map[string]string `json:"fields"`
			RequestID string            `json:"request_id"`

			Line           int    `json:"line"`
			Problem        string `json:"problem"`
			DesiredVersion int    `json:"desired_version"`
			Warnings       []struct {
				Code    string `json:"code"`
				Line    int    `json:"line"`
				Message string `json:"message"`
				CutsOff bool   `json:"cuts_off"`
			} `json:"warnings"`
		} `json:"detail"`
	} `json:"error"`
}

// call sends body (a string as it is, anything else as JSON, nil as nothing) with the admin's token.
func (a *api) call(method, path string, body any, adjust ...func(*http.Request)) *reply {
	a.t.Helper()
	var r io.Reader = http.NoBody
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			a.t.Fatal(err)
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, a.url+path, r)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	for _, f := range adjust {
		f(req)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	out := &reply{t: a.t, what: method + " " + path, status: resp.StatusCode, header: resp.Header, body: string(raw)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(raw, out); err != nil {
			a.t.Fatalf("%s %s: %v in %s", method, path, err, raw)
		}
	}
	a.conforms(out, method, path)
	return out
}

func (a *api) get(path string) *reply            { a.t.Helper(); return a.call("GET", path, nil) }
func (a *api) post(path string, body any) *reply { a.t.Helper(); return a.call("POST", path, body) }
func (a *api) put(path string, body any) *reply  { a.t.Helper(); return a.call("PUT", path, body) }
func (a *api) del(path string) *reply            { a.t.Helper(); return a.call("DELETE", path, nil) }

// as makes a request use another token, or none if it is empty.
func as(token string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del("Authorization")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
	}
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

// ok expects a success and reads its data into v, if v is not nil.
func (r *reply) ok(v any) *reply {
	r.t.Helper()
	if r.status != http.StatusOK || !r.Success {
		r.t.Fatalf("%s: %d %s", r.what, r.status, r.body)
	}
	if v != nil {
		if err := json.Unmarshal(r.Data, v); err != nil {
			r.t.Fatalf("%s: %v in %s", r.what, err, r.body)
		}
	}
	return r
}

// fails expects an error with the status and code.
func (r *reply) fails(status int, code string) *reply {
	r.t.Helper()
	if r.status != status || r.Error.Code != code || r.Success || r.Error.Message == "" {
		r.t.Errorf("%s: %d %s, want %d %s", r.what, r.status, r.body, status, code)
	}
	return r
}

// invalid expects a validation error that names the field.
func (r *reply) invalid(field string) {
	r.t.Helper()
	r.fails(http.StatusUnprocessableEntity, "VALIDATION_ERROR")
	if field != "" && r.Error.Detail.Fields[field] == "" {
		r.t.Errorf("%s: fields %v, want %s among them", r.what, r.Error.Detail.Fields, field)
	}
}

type object = map[string]any

// addConfig makes a mesh without a subnet, whose nodes' tunnel configs are written by hand.
func (a *api) addConfig(name string) (id string) {
	a.t.Helper()
	var c struct{ ID string }
	a.post("/api/v1/configs", object{"name": name, "virtual_subnet": nil}).ok(&c)
	return c.ID
}

func (a *api) addNode(configID, name string) (id string) {
	a.t.Helper()
	var n struct{ ID string }
	a.post("/api/v1/configs/"+configID+"/nodes", object{"name": name}).ok(&n)
	return n.ID
}

func nodePath(configID, nodeID string) string {
	return "/api/v1/configs/" + configID + "/nodes/" + nodeID
}

// bindToken asks for a bind command and returns its token.
func (a *api) bindToken(configID, nodeID string) string {
	a.t.Helper()
	var v struct{ Token string }
	a.post(nodePath(configID, nodeID)+"/bind-command", nil).ok(&v)
	return v.Token
}

// bind binds an agent to the node directly in the store, to avoid the API's rate limit.
func (a *api) bind(nodeID string) {
	a.t.Helper()
	a.update(func(tx *store.Tx) error {
		token, _, err := tx.IssueBindToken(nodeID, time.Minute)
		if err != nil {
			return err
		}
		_, err = tx.Bind(token, store.Client{Hostname: "host-1", Platform: "linux", Version: "0.9"})
		return err
	})
}

func (a *api) update(fn func(*store.Tx) error) {
	a.t.Helper()
	if err := a.db.Update(fn); err != nil {
		a.t.Fatal(err)
	}
}

// commands records the calls, writes real records, and returns the set error.
type commands struct {
	db   *store.DB
	mu   sync.Mutex
	err  error
	errs map[string]error // by node
	wait func(context.Context, string)
	got  []issued
}

type issued struct {
	node   string
	action protocol.Action
	by     string
	queue  bool
}

func (c *commands) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (c *commands) issuedSoFar() []issued {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]issued(nil), c.got...)
}

func (c *commands) Issue(ctx context.Context, nodeID string, action protocol.Action, by string, queue bool) (store.Command, error) {
	c.mu.Lock()
	c.got = append(c.got, issued{nodeID, action, by, queue})
	err := errors.Join(c.err, c.errs[nodeID])
	c.mu.Unlock()
	if err != nil {
		return store.Command{}, err
	}
	return c.add(ctx, store.Command{NodeID: nodeID, Action: action, RequestedBy: by})
}

// Push goes through the real door.
func (c *commands) Push(ctx context.Context, nodeID string, o tunnel.Order, by string) (cmd store.Command, t tunnel.Taken, err error) {
	c.mu.Lock()
	c.got = append(c.got, issued{nodeID, protocol.ActionPush, by, false})
	err = errors.Join(c.err, c.errs[nodeID])
	c.mu.Unlock()
	if err != nil {
		return cmd, t, err
	}
	t, err = mesh.Door(c.db, nil).Push(ctx, nodeID, o, func(tx *store.Tx, t tunnel.Taken) error {
		cmd = store.Command{
			NodeID: nodeID, Action: protocol.ActionPush, RequestedBy: by,
			Payload: json.RawMessage(fmt.Sprintf(`{"config_version":%d}`, t.Ref.Version)),
		}
		return c.write(tx, &cmd)
	})
	return cmd, t, err
}

func (c *commands) write(tx *store.Tx, cmd *store.Command) error {
	n, err := tx.Node(cmd.NodeID)
	if err != nil {
		return err
	}
	cmd.RequestID, cmd.Kind, cmd.State, cmd.ConfigID = protocol.NewID("cmd"), cmd.Action.Kind(), store.CommandQueued, n.ConfigID
	return tx.AddCommand(cmd)
}

func (c *commands) add(ctx context.Context, cmd store.Command) (store.Command, error) {
	if cmd.Payload == nil {
		cmd.Payload = json.RawMessage(`{}`)
	}
	err := c.db.UpdateFor(ctx, func(tx *store.Tx) error { return c.write(tx, &cmd) })
	return cmd, err
}

func (c *commands) Wait(ctx context.Context, requestID string) (cmd store.Command, err error) {
	c.mu.Lock()
	wait := c.wait
	c.mu.Unlock()
	if wait != nil {
		wait(ctx, requestID)
	}
	err = c.db.View(func(tx *store.Tx) error { cmd, err = tx.Command(requestID); return err })
	return cmd, err
}

func (c *commands) Cancel(ctx context.Context, requestID, by string) (cmd store.Command, err error) {
	return c.end(ctx, requestID, func(cmd *store.Command) { cmd.State, cmd.Detail = store.CommandCancelled, "cancelled by "+by })
}

func (c *commands) end(ctx context.Context, requestID string, change func(*store.Command)) (cmd store.Command, err error) {
	err = c.db.UpdateFor(ctx, func(tx *store.Tx) error {
		if cmd, err = tx.Command(requestID); err != nil {
			return err
		}
		if cmd.State.Ended() {
			return store.ErrCommandEnded
		}
		change(&cmd)
		return tx.PutCommand(cmd)
	})
	return cmd, err
}

// broker records the nodes whose rights changed, and the state at that moment.
type broker struct {
	mu     sync.Mutex
	status view.BrokerStatus
	rights []string
	settle func(nodeID string)
}

func (b *broker) changed(nodeIDs []string) {
	b.mu.Lock()
	b.rights = append(b.rights, nodeIDs...)
	f := b.settle
	b.mu.Unlock()
	for _, id := range nodeIDs {
		if f != nil {
			f(id)
		}
	}
}

func (b *broker) Status() view.BrokerStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}

// taken returns the nodes whose rights have changed since the last call.
func (b *broker) taken() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.rights
	b.rights = nil
	return out
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
