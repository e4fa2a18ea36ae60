package emqx

import (
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
	"wfm/internal/emqxkey"
	"wfm/internal/floodlog"
	"wfm/protocol"
	"wfm/store"
)

// Errors of Publish.
var (
	// ErrAway is returned while there is no connection to EMQX.
	ErrAway = errors.New("EMQX is not connected")
	// ErrNotConnected is returned when nobody is subscribed to the topic.
	ErrNotConnected = errors.New("node is not connected to EMQX, or has not subscribed")
)

const (
	// ClientIDPrefix begins the appliance's own client id, see Options.
	ClientIDPrefix = "wfm-backend-"
	// DefaultUsername is the appliance's own account at EMQX.
	DefaultUsername = "wfm-backend"

	publishLimit         = 5 * time.Second
	reasonNoSubscribers  = 0x10 // MQTT 5, 3.4.2.1
	reasonRefused        = 0x80 // and all above
	reasonBadPassword    = 0x86
	reasonNotAuthorized  = 0x87
	reasonBusy           = 0x89
	reasonSharedRefused  = 0x9e
	waitForFirstAccounts = 5 * time.Second
)

// Ingress takes what comes from EMQX.
type Ingress interface {
	ingress.Port
	// ReceiveAll does as Receive with several messages, in order and with one disk write. It returns
	// the result of each.
	ReceiveAll(messages []ingress.Message) []error
}

// Options are what New needs.
type Options struct {
	URL *url.URL // mqtt:// or mqtts://
	// TLS is for mqtts; its ServerName is the URL's host unless set.
	TLS *tls.Config
	// Username and Password are the appliance's own account. It is made, or repaired, in EMQX's
	// built-in database where there is one.
	Username, Password string
	// ClientID is the appliance's own, and the same at every start: EMQX keeps under it, and under
	// those that [ClientIDs] derives from it, what nodes send meanwhile. A client that may log in and
	// knows one can take that session over, so it is a secret.
	ClientID string
	// Ask has a connected node asked for its state. It is called after EMQX has lost messages; nil: nodes
	// are not asked.
	Ask     func(ctx context.Context, nodeID string) error
	API     *API
	Key     emqxkey.Key
	Store   *store.DB
	Ingress Ingress
	Logger  *slog.Logger
}

// Broker is the external broker. Its methods may be called concurrently.
type Broker struct {
	o   Options
	log *slog.Logger
	// strangers is the log for what anybody with an account can cause at will.
	strangers *slog.Logger
	accounts  *accounts
	lanes     *lanes
	life      context.Context // ends with Stop
	end       context.CancelFunc
	running   sync.WaitGroup
	ready     chan struct{} // closed when connecting has begun, or never will

	// gate is held for reading while a message is dealt with, and for writing while what is known of
	// all connections changes.
	gate sync.RWMutex

	main   *link   // events about connections, and commands; set by connect
	shares []*link // messages of nodes
	// sharing is held while a session subscribes: EMQX lists the members of each filter in the order
	// in which they came, and picks by place. One order for all filters keeps a node in one session.
	sharing sync.Mutex
	repair  chan struct{} // a session was lost

	mu       sync.Mutex
	cm       *autopaho.ConnectionManager
	epoch    *epoch        // of the main connection; nil while there is none, or it is not subscribed yet
	waiting  []*epoch      // of shares, until the list of who is connected is there
	moved    chan struct{} // closed and replaced when a share came up, went down or was refused
	lostAt   time.Time     // when a session was last missed
	missed   uint64        // sessions
	sessions map[string]*nodeSession
	gone     map[string]time.Time // by node: when a message of it had waited for its connection in vain
	ended    map[string]ending    // by node: the newest connection that is known to have ended
	lastErr  error
	lastUp   time.Time
	relistAt time.Time   // not before
	evicted  chan string // client ids to kick
	started  bool

	stored, published, refused atomic.Uint64 // messages
}

// New makes the broker; nothing runs before [Broker.Start].
func New(o Options) (*Broker, error) {
	accounts, err := newAccounts(o.Store, o.API, account{o.Username, o.Password, ClientIDs(o.ClientID)}, o.Key, o.Logger)
	if err != nil {
		return nil, err
	}
	address := *o.URL
	address.Host = hostPort(o.URL)
	o.URL = &address
	b := &Broker{
		o: o, log: o.Logger, strangers: slog.New(floodlog.New(o.Logger.Handler())), accounts: accounts,
		sessions: make(map[string]*nodeSession), ended: make(map[string]ending), gone: make(map[string]time.Time), evicted: make(chan string, 64),
		repair: make(chan struct{}, 1), moved: make(chan struct{}),
	}
	b.lanes = newLanes(b.handle, b.early)
	accounts.sessions, accounts.told, accounts.listed = b.connections, b.accountsTold, b.applyListing
	b.ready = make(chan struct{})
	b.life, b.end = context.WithCancel(context.Background())
	return b, nil
}

// Start begins to connect. That EMQX is away is no error: it goes on trying.
func (b *Broker) Start() error {
	if err := b.o.Store.Update((*store.Tx).ForgetConnections); err != nil {
		return fmt.Errorf("forget the connections of the last run: %w", err)
	}
	first := b.accounts.changed
	b.running.Go(func() { b.accounts.run(b.life) })
	b.running.Go(b.runEvictions)
	b.running.Go(b.runRepairs)
	go func() {
		defer close(b.ready)
		// The appliance's own account may be among what EMQX has to be told first.
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

// Stop disconnects and returns when all is over or ctx ends. It may be called again. What nodes
// send meanwhile waits at EMQX.
func (b *Broker) Stop(ctx context.Context) error {
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

// Publish hands a command to EMQX for the node; it expires after expiry if the node has not got it
// by then. A nil error means that EMQX passed it on to a session of the node, not that it arrived.
// Errors: [ErrAway], [ErrNotConnected].
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

// Connected reports whether the node has a connection, be it that it has not subscribed yet.
func (b *Broker) Connected(nodeID string) bool { return b.SessionID(nodeID) != 0 }

// Up reports whether there is a connection to EMQX.
func (b *Broker) Up() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.epoch != nil
}

// Ready reports whether a command may be published to the node now. Whether it has subscribed,
// EMQX says to the publish.
func (b *Broker) Ready(topic protocol.Topic) bool { return b.Connected(topic.NodeID) }

// SessionID names the node's connection, 0 when it has none, EMQX is away, or EMQX does not know
// the account yet that the node is bound with: a session now would be one of the former agent.
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

// Kick has the node's session ended and returns when EMQX knows that it may not come back, but does
// not wait for an EMQX that is away. The caller has committed before why.
func (b *Broker) Kick(nodeID string) { b.accounts.await(nodeID) }

// Reconcile compares all accounts with EMQX's and repairs what differs. Its error is one for an
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

// Status is how the connection to EMQX is.
type Status struct {
	Connected bool
	LastError string // empty while there is none
	LastUp    time.Time
	Sessions  int // connections of nodes that are known
	// Shares counts the appliance's sessions that take nodes' messages and are up, of SharesMost. With
	// Plain, EMQX refuses shared subscriptions, and the main session takes all messages alone.
	Shares, SharesMost int
	Plain              bool
	// SessionsLost counts the appliance's sessions that EMQX has dropped since the start, with what
	// waited in them; LastSessionLost is when that was last noticed.
	SessionsLost    uint64
	LastSessionLost time.Time
	// Messages since the start: of nodes, and stored; to nodes; of nodes, and not taken.
	Stored, Published, Refused uint64
	// Synced and Pending count the nodes whose account EMQX knows, and those it has to be told of.
	Synced, Pending int
	AccountError    string // of the last attempt; empty when it did not fail
	ReconciledAt    time.Time
}

// Status says how the connection is; it does not wait for anything.
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

// Account says whether EMQX knows the node's account as it is now, whether there is one, and since
// when (zero: never).
func (b *Broker) Account(nodeID string) (settled, granted bool, at time.Time) {
	settled, granted = b.accounts.settled(nodeID)
	b.accounts.mu.Lock()
	defer b.accounts.mu.Unlock()
	return settled, granted, b.accounts.known[nodeID].SyncedAt
}
