package emqx

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"wfm/appliance/ingress"
	"wfm/internal/emqxcall"
	"wfm/internal/floodlog"
	"wfm/protocol"
	"wfm/store"
)

// Errors of Publish.
var (
	// ErrAway is returned while there is no connection to EMQX.
	ErrAway = errors.New("EMQX is not connected")
	// ErrNotConnected is returned if no client is subscribed to the topic.
	ErrNotConnected = errors.New("node is not connected to EMQX, or has not subscribed")
)

const (
	// ClientIDPrefix begins the appliance's own client id; see Options.
	ClientIDPrefix = "wfm-backend-"
	// DefaultUsername is the appliance's own account at EMQX.
	DefaultUsername = "wfm-backend"

	publishLimit         = 5 * time.Second
	reasonNoSubscribers  = 0x10 // MQTT 5, 3.4.2.1
	reasonRefused        = 0x80 // and all greater ones
	reasonBadPassword    = 0x86
	reasonNotAuthorized  = 0x87
	reasonBusy           = 0x89
	reasonSharedRefused  = 0x9e
	waitForFirstAccounts = 5 * time.Second
)

// Ingress takes the messages and events from EMQX.
type Ingress interface {
	ingress.Port
	// ReceiveAll is Receive for several messages, in order and with one disk write. It returns the
	// result of each.
	ReceiveAll(messages []ingress.Message) []error
}

// Options configures New.
type Options struct {
	URL *url.URL // mqtt:// or mqtts://
	// TLS is for mqtts. Its ServerName defaults to the URL's host.
	TLS *tls.Config
	// Username and Password are the appliance's own account. It is created or repaired in EMQX's
	// built-in database, if EMQX uses it.
	Username, Password string
	// ClientID is the appliance's own, the same at every start. EMQX keeps the nodes' messages for
	// it, and for the ids that [ClientIDs] derives from it, while the appliance is away. A client
	// that may log in and knows such an id can take over the session, so it is a secret.
	ClientID string
	// Ask asks a connected node for its state. It is called after EMQX has lost messages. May be
	// nil.
	Ask     func(ctx context.Context, nodeID string) error
	API     *API
	Key     emqxcall.Key
	Store   *store.DB
	Ingress Ingress
	Logger  *slog.Logger // default: discard
}

// Broker is the external broker. Its methods may be called concurrently.
type Broker struct {
	o        Options
	log      *slog.Logger
	accounts *accounts
	lanes    *lanes
	life     context.Context // until Stop
	end      context.CancelFunc
	running  sync.WaitGroup
	ready    chan struct{} // closed once connecting has begun, or never will
	unwatch  func()        // the grants; nil before Start

	// gate is read-locked while a message is processed, and locked while the knowledge of all
	// connections changes.
	gate sync.RWMutex

	main   *link   // events about connections, and commands; set by connect
	shares []*link // messages of nodes
	// sharing is held while a session subscribes: EMQX lists the members of each filter in order of
	// subscription, and picks by position. The same order for all filters keeps a node in one
	// session.
	sharing sync.Mutex
	repair  chan struct{} // a session was lost

	mu       sync.Mutex
	cm       *autopaho.ConnectionManager
	epoch    *epoch        // of the main connection; nil while there is none or it has not subscribed
	waiting  []*epoch      // of shares, until the list of connected clients is known
	moved    chan struct{} // closed and replaced whenever a share comes up, goes down or is refused
	lostAt   time.Time     // when a session was last found missing
	missed   uint64        // sessions
	sessions map[string]*nodeSession
	gone     map[string]time.Time // by node: when one of its messages had waited for its connection in vain
	ended    map[string]ending    // by node: the newest connection known to have ended
	lastErr  error
	lastUp   time.Time
	relistAt time.Time   // the earliest time
	evicted  chan string // client ids to kick
	started  bool

	stored, published, refused atomic.Uint64 // messages
}

// New returns a broker that does nothing before [Broker.Start].
func New(o Options) (*Broker, error) {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	o.Logger = slog.New(floodlog.New(o.Logger.Handler())) // anyone with an account at EMQX can cause messages at any rate
	accounts, err := newAccounts(o.Store, o.API, account{o.Username, o.Password, ClientIDs(o.ClientID)}, o.Key, o.Logger)
	if err != nil {
		return nil, err
	}
	address := *o.URL
	address.Host = hostPort(o.URL)
	o.URL = &address
	b := &Broker{
		o: o, log: o.Logger, accounts: accounts,
		sessions: make(map[string]*nodeSession), ended: make(map[string]ending), gone: make(map[string]time.Time), evicted: make(chan string, 64),
		repair: make(chan struct{}, 1), moved: make(chan struct{}),
	}
	b.lanes = newLanes(b.handle, b.early)
	accounts.sessions, accounts.told, accounts.listed = b.connections, b.accountsTold, b.applyListing
	b.ready = make(chan struct{})
	b.life, b.end = context.WithCancel(context.Background())
	return b, nil
}

// Start begins to connect. If EMQX is away, that is not an error: Start keeps trying.
func (b *Broker) Start() error {
	if err := b.o.Store.Update((*store.Tx).ForgetConnections); err != nil {
		return fmt.Errorf("forget the connections of the last run: %w", err)
	}
	first := b.accounts.changed
	b.unwatch = b.o.Store.WatchGrants(b.accounts.await)
	b.running.Go(func() { b.accounts.run(b.life) })
	b.running.Go(b.runEvictions)
	b.running.Go(b.runRepairs)
	go func() {
		defer close(b.ready)
		// The appliance's own account may be one that EMQX has yet to get.
		select {
		case <-first:
		case <-time.After(waitForFirstAccounts):
		case <-b.life.Done():
			return
		}
		b.connect()
	}()
	b.started = true
	return nil
}

// Stop disconnects, and returns when everything has ended or ctx ends. It may be called again. EMQX
// keeps the messages that nodes send meanwhile.
func (b *Broker) Stop(ctx context.Context) error {
	if b.unwatch != nil {
		b.unwatch()
	}
	b.end()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if !b.started {
			return
		}
		<-b.ready
		for _, l := range append(b.shares, b.main) {
			if l != nil && l.cm != nil {
				<-l.cm.Done()
			}
		}
		b.running.Wait()
		b.lost()
		b.lanes.stop()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("disconnect from EMQX: %w", ctx.Err())
	}
}

// Publish gives EMQX a command for the node. It expires after expiry if the node has not received
// it by then. A nil error means that EMQX passed it on to a session of the node, not that it
// arrived. Errors: [ErrAway], [ErrNotConnected].
func (b *Broker) Publish(topic protocol.Topic, message []byte, expiry time.Duration) error {
	b.mu.Lock()
	cm, epoch := b.cm, b.epoch
	b.mu.Unlock()
	if epoch == nil {
		return fmt.Errorf("publish to %s: %w", topic, ErrAway)
	}
	ctx, cancel := context.WithTimeout(epoch.ctx, publishLimit)
	defer cancel()
	seconds := uint32(max(1, expiry/time.Second)) //nolint:gosec // minutes
	res, err := cm.Publish(ctx, &paho.Publish{
		Topic: topic.String(), QoS: 1, Payload: message, Properties: &paho.PublishProperties{MessageExpiry: &seconds},
	})
	if err != nil {
		return fmt.Errorf("publish to %s: %w", topic, err)
	}
	if res.ReasonCode == reasonNoSubscribers {
		b.askAgain(topic.NodeID)
		return fmt.Errorf("publish to %s: %w", topic, ErrNotConnected)
	}
	b.published.Add(1)
	return nil
}

// Connected reports whether the node has a connection, even if it has not subscribed yet.
func (b *Broker) Connected(nodeID string) bool { return b.SessionID(nodeID) != 0 }

// Up reports whether the appliance is connected to EMQX.
func (b *Broker) Up() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.epoch != nil
}

// Takes reports whether EMQX hands nodes' messages to the appliance: it does while the main session
// and some share are up, since the shares that are up get all, or while all shares are up.
func (b *Broker) Takes() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	up, refused := 0, 0
	for _, l := range b.shares {
		switch l.state {
		case linkUp:
			up++
		case linkRefused: // the main session takes all messages
			refused++
		case linkDown:
		}
	}
	if b.epoch != nil {
		return up+refused > 0
	}
	return up == shareCount
}

// Ready reports whether a command may be published to the node now. Whether the node has subscribed
// is only known from EMQX's answer to the publish.
func (b *Broker) Ready(topic protocol.Topic) bool { return b.Connected(topic.NodeID) }

// SessionID returns the number of the node's connection. It is 0 if there is none, if EMQX is away,
// or if EMQX does not know the node's present account yet: a session would then be the former
// agent's.
func (b *Broker) SessionID(nodeID string) uint64 {
	if settled, granted := b.accounts.settled(nodeID); !settled || !granted {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.sessions[nodeID]; s != nil && b.epoch != nil {
		return uint64(s.connectedAt)
	}
	return 0
}

// Reconcile compares all accounts with EMQX's and repairs differences. Its error is for an
// operator.
func (b *Broker) Reconcile(ctx context.Context) error {
	reply := make(chan error, 1)
	select {
	case b.accounts.demand <- reply:
	case <-ctx.Done():
		return fmt.Errorf("reconcile accounts: %w", ctx.Err())
	case <-b.life.Done():
		return store.ErrClosed
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return fmt.Errorf("reconcile accounts: %w", ctx.Err())
	case <-b.life.Done():
		return store.ErrClosed
	}
}

// Status describes the connection to EMQX.
type Status struct {
	Connected bool
	LastError string // empty while there is none
	LastUp    time.Time
	Sessions  int // known connections of nodes
	// Shares is the number of the appliance's sessions for nodes' messages that are up, of
	// SharesMost. With Plain, EMQX refuses shared subscriptions, and the main session takes all
	// messages alone.
	Shares, SharesMost int
	Plain              bool
	// SessionsLost counts the appliance's sessions that EMQX has dropped since the start, with the
	// messages waiting in them. LastSessionLost is when the last loss was noticed.
	SessionsLost    uint64
	LastSessionLost time.Time
	// Messages since the start: stored ones of nodes, published ones to nodes, refused ones of
	// nodes.
	Stored, Published, Refused uint64
	// Synced counts the nodes whose account EMQX knows, Pending those with changes it does not
	// know.
	Synced, Pending int
	AccountError    string // of the last attempt; empty if it succeeded
	ReconciledAt    time.Time
}

// Status returns the present status without waiting.
func (b *Broker) Status() Status {
	var s Status
	b.mu.Lock()
	s.Connected, s.LastUp, s.Sessions = b.epoch != nil, b.lastUp, len(b.sessions)
	s.SharesMost, s.SessionsLost, s.LastSessionLost = shareCount, b.missed, b.lostAt
	for _, l := range b.shares {
		s.Plain = s.Plain || l.state == linkRefused
		if l.state == linkUp {
			s.Shares++
		}
	}
	s.Stored, s.Published, s.Refused = b.stored.Load(), b.published.Load(), b.refused.Load()
	if b.lastErr != nil && !s.Connected {
		s.LastError = b.lastErr.Error()
	}
	b.mu.Unlock()
	s.Pending = len(b.accounts.pending())
	s.Synced = max(0, len(b.o.Store.Grants())-s.Pending)
	b.accounts.mu.Lock()
	defer b.accounts.mu.Unlock()
	s.ReconciledAt = b.accounts.reconciled
	if b.accounts.err != nil {
		s.AccountError = b.accounts.err.Error()
	}
	return s
}

// Account reports whether EMQX knows the account's present state, whether the account exists, and
// since when EMQX has known it (zero: never).
func (b *Broker) Account(nodeID string) (settled, granted bool, at time.Time) {
	settled, granted = b.accounts.settled(nodeID)
	b.accounts.mu.Lock()
	defer b.accounts.mu.Unlock()
	return settled, granted, b.accounts.known[nodeID].SyncedAt
}
