package emqxtest

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/internal/emqxcall"
	"wfm/internal/mqtttest"
)

// The API key of every stand-in.
const (
	APIKey    = "test-key"
	APISecret = "test-secret"
)

// Settings are EMQX's configuration. They may be changed while it runs.
type Settings struct {
	// Database checks users against the built-in database, HTTPAuth by asking AuthURL. With both,
	// it first asks. With neither, anyone can log in.
	Database, HTTPAuth bool
	HashName           string // sha256
	SaltPosition       string // prefix
	// AuthURL and AuthzURL are asked with SharedKey. If AuthzURL is empty, there is no such source.
	AuthURL, AuthzURL, SharedKey string
	// AuthClientID is the template of the client id in the question to AuthURL; empty: the right
	// one.
	AuthClientID string
	AskTimeout   time.Duration
	// NoMatch is the result if no source of authorization decides: allow or deny.
	NoMatch string
	// DenyAction is ignore or disconnect.
	DenyAction string
	// AllowAll is a file source that ends with {allow, all}.
	AllowAll bool
	// CacheTTL is how long answers are cached for a connection, including a denial for lack of an
	// answer; 0: not at all.
	CacheTTL time.Duration
	// DeadFor is how long an address that could not be reached is not asked again: 15 s in EMQX.
	DeadFor time.Duration
	// Zone is that of the nodes' listener, OwnZone that of the appliance's.
	Zone, OwnZone Zone
	// ShareStrategy chooses the member of a shared subscription for a message, by EMQX's names.
	ShareStrategy string
	// Delayed makes $delayed/N/topic delay messages.
	Delayed bool
	// Version is EMQX's, as in 5.8.1; empty: the latest.
	Version string
	Told    Told
}

// before reports whether EMQX is older than major.minor.patch.
func (s Settings) before(major, minor, patch int) bool {
	var a, b, c int
	if n, _ := fmt.Sscanf(s.Version, "%d.%d.%d", &a, &b, &c); n < 2 {
		return false
	}
	return cmp.Or(cmp.Compare(a, major), cmp.Compare(b, minor), cmp.Compare(c, patch)) < 0
}

// Recommended are the settings that `wfm emqx config` prints for an appliance at the base URL.
func Recommended(base, sharedKey string) Settings {
	return Settings{
		HTTPAuth: true, HashName: "sha256", SaltPosition: "prefix",
		AuthURL: base + emqxcall.LoginPath, AuthzURL: base + emqxcall.TopicPath, SharedKey: sharedKey,
		AskTimeout: 5 * time.Second, NoMatch: "deny", DenyAction: "ignore", CacheTTL: time.Minute,
		Zone: defaultZone(), OwnZone: ownZone(), ShareStrategy: "hash_clientid", Told: told(),
	}
}

// Accounts are the settings that `wfm emqx config --logins accounts` prints.
func Accounts(base, sharedKey string) Settings {
	s := Recommended(base, sharedKey)
	s.Database, s.HTTPAuth = true, false
	return s
}

// User is a user of the built-in database.
type User struct {
	Hash, Salt string
	Superuser  bool
}

// Fault answers a request to the management API with its status, unless that is 0. It may block.
type Fault func(r *http.Request) (status int)

// Server is the stand-in.
type Server struct {
	tb      testing.TB
	tls     *tls.Config
	http    *http.Client
	apiURL  string
	address string
	own     string // address of the appliance's listener

	mu       sync.Mutex
	settings Settings
	users    map[string]User
	fault    Fault
	calls    []string // to the management API, as METHOD path
	asked    int      // questions about authorization
	broker   *broker  // nil while it is stopped
	toRefuse int      // number of logins to answer with "busy"
	deadTill map[string]time.Time
	held     map[string]Held // messages of $delayed, by id
}

// Start starts the stand-in on free ports of the loopback. It ends with the test.
func Start(tb testing.TB, s Settings) *Server {
	tb.Helper()
	return start(tb, s, "127.0.0.1:0", nil)
}

// StartAt is Start with MQTT on the address.
func StartAt(tb testing.TB, s Settings, addr string) *Server {
	tb.Helper()
	return start(tb, s, addr, nil)
}

// StartTLS is Start with MQTT over TLS.
func StartTLS(tb testing.TB, s Settings, c *tls.Config) *Server {
	tb.Helper()
	return start(tb, s, "127.0.0.1:0", c)
}

func start(tb testing.TB, s Settings, addr string, c *tls.Config) *Server {
	tb.Helper()
	e := &Server{tb: tb, tls: c, settings: s, users: make(map[string]User), deadTill: make(map[string]time.Time), http: &http.Client{}}
	l := e.listen(addr)
	own := e.listen("127.0.0.1:0")
	e.address, e.own = l.Addr().String(), own.Addr().String()
	e.serveMQTT(l, own)
	api := listen(tb, "127.0.0.1:0")
	e.apiURL = "http://" + api.Addr().String()
	server := &http.Server{Handler: e.api(), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(api) }()
	tb.Cleanup(func() {
		_ = server.Close()
		e.StopMQTT()
		e.http.CloseIdleConnections()
	})
	return e
}

// Each test process has a block of ports, so that none takes a port that a stopped listener of
// another is to listen on again. The ports lie below those that the system gives to clients:
// otherwise a client of a stopped listener could get its port, and would be connected to itself.
const (
	firstPort = 10_000
	blocks    = 10
	blockSize = 1000
)

// block listens on the first port of the process's block until the process ends, which marks the
// block as taken.
var block = sync.OnceValue(func() net.Listener {
	for i := range blocks {
		first := strconv.Itoa(firstPort + (os.Getpid()+i)%blocks*blockSize)
		if l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", net.JoinHostPort("127.0.0.1", first)); err == nil {
			return l
		}
	}
	panic("other processes have taken every block of ports")
})

var portsTaken atomic.Int32

// nextPort returns the port after the one that it returned last, in the block.
func nextPort() int {
	return block().Addr().(*net.TCPAddr).Port + 1 + int(portsTaken.Add(1))%(blockSize-1)
}

// listen listens on the address. Port 0 stands for a port that can be listened on again later.
func listen(tb testing.TB, addr string) net.Listener {
	tb.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		tb.Fatal(err)
	}
	for tries := range 1000 {
		if port == "0" {
			addr = net.JoinHostPort(host, strconv.Itoa(nextPort()))
		} else if tries > 0 {
			time.Sleep(10 * time.Millisecond) // another process of tests is looking for a free port
		}
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
		if err == nil {
			return l
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			tb.Fatal(err)
		}
	}
	tb.Fatalf("%s does not become free", addr)
	return nil
}

func (e *Server) listen(addr string) net.Listener {
	l := listen(e.tb, addr)
	if e.tls != nil {
		return tls.NewListener(l, e.tls)
	}
	return l
}

// APIURL returns the base URL of the management API, without /api/v5.
func (e *Server) APIURL() string { return e.apiURL }

// MQTTAddr returns the host and port of MQTT.
func (e *Server) MQTTAddr() string { return e.address }

// OwnAddr returns the host and port of the appliance's own listener.
func (e *Server) OwnAddr() string { return e.own }

// RefuseNext answers the next logins with "server busy", as an EMQX under load does.
func (e *Server) RefuseNext(count int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.toRefuse = count
}

func (e *Server) busy() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.toRefuse == 0 {
		return false
	}
	e.toRefuse--
	return true
}

// Own returns the client ids of the superusers' sessions, the appliance's, in order.
func (e *Server) Own() []string {
	b := e.running()
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.inboxes))
}

// Cut ends the connection of the client; its session stays.
func (e *Server) Cut(clientID string) {
	b := e.running()
	if b == nil {
		return
	}
	if cl := b.client(clientID); cl != nil {
		cl.Stop(packets.ErrUnspecifiedError)
		b.awaitEnd(cl)
	}
}

// Drop ends the session of the client as force_shutdown does, with all its waiting messages.
func (e *Server) Drop(clientID string) {
	if b := e.running(); b != nil {
		b.discard(clientID)
	}
}

// Expire ends the session of the client as its expiry does: other sessions get its waiting
// messages.
func (e *Server) Expire(clientID string) {
	if b := e.running(); b != nil {
		b.expire(clientID)
	}
}

// NetAddr is MQTTAddr for dialling.
func (e *Server) NetAddr() net.Addr {
	addr, err := net.ResolveTCPAddr("tcp", e.address)
	if err != nil {
		e.tb.Fatal(err)
	}
	return addr
}

// Configure changes the settings.
func (e *Server) Configure(change func(*Settings)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.settings)
}

func (e *Server) config() Settings {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.settings
}

// SetFault makes requests to the management API fail; nil ends that.
func (e *Server) SetFault(f Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fault = f
}

// Users returns the users of the built-in database.
func (e *Server) Users() map[string]User {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.users)
}

// PutUser creates or changes a user.
func (e *Server) PutUser(id string, u User) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.users[id] = u
}

// Wipe forgets every user, like an EMQX without a volume for its data.
func (e *Server) Wipe() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.users)
}

// Calls returns the requests to the management API since the last call.
func (e *Server) Calls() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.calls
	e.calls = nil
	return out
}

// Asked returns how often the authorization source was asked.
func (e *Server) Asked() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked
}

// StopMQTT ends every MQTT connection and session, and stops listening.
func (e *Server) StopMQTT() { e.stopMQTT(func(*broker) {}) }

// stopMQTT is StopMQTT after a call of first.
func (e *Server) stopMQTT(first func(*broker)) {
	e.mu.Lock()
	b := e.broker
	e.broker = nil
	e.mu.Unlock()
	if b == nil {
		return
	}
	first(b)
	done := make(chan struct{})
	close(b.done)
	go func() { defer close(done); _ = b.server.Close() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		e.tb.Error("the stand-in's broker does not stop")
	}
}

// Waiting is a message that EMQX had for the appliance.
type Waiting struct{ Topic, Payload string }

// KillMQTT ends the broker as a kill does, together with the messages waiting in the appliance's
// sessions, which it returns. Messages in flight may have arrived.
func (e *Server) KillMQTT() (waiting []Waiting) {
	var killed *broker
	e.stopMQTT(func(b *broker) {
		killed = b
		for _, l := range b.listen {
			l.Cut()
		}
	})
	killed.mu.Lock()
	defer killed.mu.Unlock()
	for _, i := range killed.inboxes {
		for _, pk := range i.all() {
			waiting = append(waiting, Waiting{pk.TopicName, string(pk.Payload)})
		}
	}
	return waiting
}

// StartMQTT listens again at the same addresses.
func (e *Server) StartMQTT() { e.serveMQTT(e.listen(e.address), e.listen(e.own)) }

// ownListener names the appliance's listener.
const ownListener = "wfm"

func (e *Server) serveMQTT(l, own net.Listener) {
	c := mqtt.NewDefaultServerCapabilities()
	c.MaximumInflight, c.MaximumClientWritesPending = 60_000, 60_000
	server := mqtt.New(&mqtt.Options{InlineClient: true, Capabilities: c, Logger: slog.New(slog.DiscardHandler), SysTopicResendInterval: 3600})
	b := newBroker(e, server, []*mqtttest.Listener{mqtttest.NewListener(server, "tcp", l), mqtttest.NewListener(server, ownListener, own)})
	if err := server.AddHook(b, nil); err != nil {
		e.tb.Fatal(err)
	}
	for _, l := range b.listen {
		if err := server.AddListener(l); err != nil {
			e.tb.Fatal(err)
		}
	}
	if err := server.Serve(); err != nil {
		e.tb.Fatal(err)
	}
	e.mu.Lock()
	e.broker = b
	e.mu.Unlock()
}

func (e *Server) running() *broker {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.broker
}

// Connected reports whether the client has a connection.
func (e *Server) Connected(clientID string) bool {
	b := e.running()
	return b != nil && b.client(clientID) != nil
}

// Unacknowledged returns the number of messages, sent or kept, that the client, or clients whose
// ids begin with its id and a hyphen, have not acknowledged.
func (e *Server) Unacknowledged(clientID string) int {
	b := e.running()
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	count := 0
	for id, i := range b.inboxes {
		if id == clientID || strings.HasPrefix(id, clientID+"-") {
			count += i.size()
		}
	}
	return count
}
