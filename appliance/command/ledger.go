package command

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"wfm/internal/bounded"
	"wfm/internal/refusal"
	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
)

// Publisher passes messages to nodes.
type Publisher interface {
	// Connected reports whether the node has a session, even if it has not subscribed yet.
	Connected(nodeID string) bool
	// Ready reports whether the node has a session that would get a message on the topic now.
	Ready(topic protocol.Topic) bool
	// Publish passes the message on. An error means that the node did not get it.
	Publish(topic protocol.Topic, message []byte, expiry time.Duration) error
}

const (
	// maxOpen bounds a node's open commands.
	maxOpen = 64
	// maxAttempts bounds how often one command is sent.
	maxAttempts = 10
	// restartGrace is how long after a start the appliance still waits for an answer that was due
	// earlier: agents need some time to reconnect.
	restartGrace = 60 * time.Second
	// retryWrite is the pause before a change that could not be stored is tried again.
	retryWrite = 5 * time.Second
)

// Ledger runs the commands of all nodes.
type Ledger struct {
	db        *store.DB
	door      tunnel.Door
	publisher Publisher // set by Start
	log       *slog.Logger

	detectLimit time.Duration // within which a node must answer a detect

	running sync.WaitGroup // running timers and senders
	done    chan struct{}  // closed by Stop

	mu      sync.Mutex
	stopped bool
	timers  map[string]*time.Timer // by request id, of open commands
	senders map[string]*sync.Mutex // by node id: commands go out in order
	ready   map[string]*readyTurn  // by node id, while one is processed
}

// Options configures New.
type Options struct {
	Store *store.DB
	// DetectLimit is how long a node may take to answer a detect. Default: that of the table of actions.
	DetectLimit time.Duration
	Logger      *slog.Logger // default: discard
}

// New makes the ledger. Nothing happens before [Ledger.Start].
func New(o Options) *Ledger {
	return &Ledger{
		db: o.Store, door: mesh.Door(o.Store, nil), log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)),
		detectLimit: cmp.Or(o.DetectLimit, protocol.ActionDetect.Spec().AnswerTime),
		done:        make(chan struct{}), timers: make(map[string]*time.Timer), senders: make(map[string]*sync.Mutex),
		ready: make(map[string]*readyTurn),
	}
}

// Start continues the commands that were open when the appliance last stopped, even if it was
// killed, and sends commands through p from now on. While the disk takes no writes, Start has that
// done later, and returns nil. Before Start, no other method but Stop may be called.
func (c *Ledger) Start(p Publisher) error {
	c.publisher = p
	err := c.resume()
	if !store.Unwritable(err) {
		return err
	}
	c.log.Warn("the disk takes no writes; open commands wait for it", "err", err)
	c.running.Go(func() {
		ticks := time.NewTicker(retryWrite)
		defer ticks.Stop()
		for store.Unwritable(err) {
			select {
			case <-c.done:
				return
			case <-ticks.C:
				err = c.resume()
			}
		}
		if err != nil {
			c.log.Error("cannot continue open commands", "err", err)
		}
	})
	return nil
}

func (c *Ledger) resume() error {
	return c.db.Update(func(tx *store.Tx) error {
		open, err := tx.OpenCommands("")
		if err != nil {
			return err
		}
		for _, cmd := range open {
			limit, err := c.limitOf(tx, cmd)
			if err != nil {
				return err
			}
			grace := tx.Now().Add(max(restartGrace, limit)).UTC()
			due := &cmd.DeadlineAt
			if cmd.State == store.CommandQueued {
				due = &cmd.ExpiresAt
			}
			if cmd.Attempts > 0 && due.Before(grace) {
				*due = grace
				if err := tx.PutCommand(cmd); err != nil {
					return err
				}
			}
			tx.OnCommit(func() { c.arm(cmd, tx.Now()) })
		}
		return nil
	})
}

// Stop ends the timers and waits for running work, or until ctx ends. Open commands stay open in the
// store. Stop may be called again.
func (c *Ledger) Stop(ctx context.Context) error {
	c.mu.Lock()
	if !c.stopped {
		c.stopped = true
		for _, t := range c.timers {
			if t.Stop() {
				c.running.Done()
			}
		}
		clear(c.timers)
		close(c.done)
	}
	c.mu.Unlock()
	return bounded.Wait(ctx, "stop the commands", c.running.Wait)
}

// Issue writes a command and sends it. With queue, a start or stop waits up to an hour for a node
// that is away; otherwise it is refused. A push is [Ledger.Push] of the desired config. Errors:
// protocol.ErrInvalidAction, ErrCannotDescribe; store.ErrNodeNotFound, ErrNodeStatic,
// ErrNodeDisabled; those of package refusal about commands; tunnel.ErrNothingToStart; and those of
// writing. Issue returns the command as it is after the attempt to send it.
func (c *Ledger) Issue(ctx context.Context, nodeID string, action protocol.Action, requestedBy string, queue bool) (store.Command, error) {
	if action == protocol.ActionPush {
		cmd, _, err := c.Push(ctx, nodeID, tunnel.Order{}, requestedBy)
		return cmd, err
	}
	return c.give(ctx, nodeID, func(tx *store.Tx) (store.Command, error) {
		cmd, err := c.writeIn(tx, nodeID, action, requestedBy, queue)
		if err == nil && action.Leaves() != protocol.WantedNone { // the operator's word on whether the tunnel should run
			err = tx.SetWanted(cmd)
		}
		return cmd, err
	})
}

// writeIn adds a command other than a push to the ledger.
func (c *Ledger) writeIn(tx *store.Tx, nodeID string, action protocol.Action, requestedBy string, queue bool) (cmd store.Command, err error) {
	if action.Kind() == "" {
		return cmd, fmt.Errorf("%q: %w", string(action), protocol.ErrInvalidAction)
	}
	node, cfg, err := addressee(tx, nodeID)
	if err != nil {
		return cmd, err
	}
	if !c.publisher.Connected(node.ID) && (!queue || action.Spec().QueueTime == 0) {
		return cmd, refusal.ErrNodeOffline
	}
	if err := able(tx, node, action); err != nil {
		return cmd, err
	}
	cmd = store.Command{
		RequestID: protocol.NewID("req"), ConfigID: cfg.ID, NodeID: node.ID, Action: action, RequestedBy: requestedBy,
		ExpiresAt: tx.Now().Add(c.patience(action, queue)).UTC(),
	}
	err = c.add(tx, &cmd, payloadOf(action, cfg, node))
	return cmd, err
}

// add writes a new command with the payload.
func (c *Ledger) add(tx *store.Tx, cmd *store.Command, payload any) (err error) {
	if cmd.Payload, err = json.Marshal(payload); err != nil {
		return fmt.Errorf("encode %s: %w", cmd.Action, err)
	}
	open, err := tx.OpenCommands(cmd.NodeID)
	if err != nil {
		return err
	}
	if len(open) >= maxOpen {
		return refusal.ErrTooManyCommands
	}
	cmd.Kind, cmd.State = cmd.Action.Kind(), store.CommandQueued
	if !c.publisher.Connected(cmd.NodeID) {
		cmd.Detail = "waits for the node to connect"
	}
	if err := tx.AddCommand(cmd); err != nil {
		return err
	}
	tx.OnCommit(func() { c.arm(*cmd, tx.Now()) })
	return nil
}

// patience returns how long a command other than a push waits to be sent for the first time.
func (c *Ledger) patience(a protocol.Action, queue bool) time.Duration {
	if queue {
		return a.Spec().QueueTime
	}
	return c.timeLimit(a, false)
}

// addressee returns the node if it can get commands.
func addressee(tx *store.Tx, nodeID string) (store.Node, store.Config, error) {
	node, err := tx.Node(nodeID)
	if err != nil {
		return node, store.Config{}, err
	}
	cfg, err := tx.Config(node.ConfigID)
	switch {
	case err != nil:
		return node, cfg, err
	case node.Type != store.NodeDynamic:
		return node, cfg, store.ErrNodeStatic
	case !node.Enabled || !cfg.Enabled:
		return node, cfg, store.ErrNodeDisabled
	case node.Client == nil:
		return node, cfg, refusal.ErrNotInitialized
	}
	return node, cfg, nil
}

// able refuses a command that the node's agent would answer with something other than the command
// asks for. Deployed agents start an empty config as if it were one. Errors:
// protocol.ActionSpec.Lacking, tunnel.ErrNothingToStart.
func able(tx *store.Tx, n store.Node, a protocol.Action) error {
	if spec := a.Spec(); spec.Needs != "" && !n.Can(spec.Needs) {
		return spec.Lacking
	}
	if !a.Starts() || ours(n) {
		return nil
	}
	s, err := tx.ConfState(n.ID)
	if err != nil || s.MayHold() {
		return err
	}
	open, err := tx.OpenCommands(n.ID)
	if err == nil && !slices.ContainsFunc(open, func(c store.Command) bool { return c.Action == protocol.ActionPush }) {
		err = tunnel.ErrNothingToStart
	}
	return err
}

// ours reports whether the node's agent is one of ours. Those refuse to start a config that does
// not exist, and report the tunnel's state by themselves after a change that failed.
func ours(n store.Node) bool { return n.Can(protocol.CapabilityDedupe) }

func payloadOf(a protocol.Action, cfg store.Config, n store.Node) any {
	switch a.Kind() {
	case protocol.KindControl:
		body := protocol.Control{
			Action: a, TunnelProtocol: protocol.WireTunnel(cfg.TunnelProtocol), PreviousTunnelProtocol: previousProtocol(cfg),
			InterfaceName: n.InterfaceName, AWGVersion: protocol.AWGVersion(cfg.AWGVersion),
		}
		if n.Can(protocol.CapabilityWantedState) { // other agents get the former payload
			body.WantedState = a.Leaves()
		}
		return body
	case protocol.KindInfo:
		return protocol.Info{
			Action: a, TunnelProtocol: protocol.WireTunnel(cfg.TunnelProtocol),
			InterfaceName: n.InterfaceName, AWGVersion: protocol.AWGVersion(cfg.AWGVersion),
		}
	default:
		return protocol.Detect{
			TunnelProtocol: protocol.WireTunnel(cfg.TunnelProtocol),
			InterfaceName:  n.InterfaceName, AWGVersion: protocol.AWGVersion(cfg.AWGVersion),
		}
	}
}

func previousProtocol(cfg store.Config) string {
	return protocol.WireTunnel(cmp.Or(cfg.PreviousTunnelProtocol, cfg.TunnelProtocol))
}

// Cancel ends an open command. A command that was already sent may still be carried out, and its
// detail says so. Errors: store.ErrCommandNotFound, store.ErrCommandEnded.
func (c *Ledger) Cancel(ctx context.Context, requestID, by string) (store.Command, error) {
	return store.WriteFor(ctx, c.db, func(tx *store.Tx) (store.Command, error) {
		cmd, err := tx.Command(requestID)
		if err != nil {
			return cmd, err
		}
		if cmd.State.Ended() {
			return cmd, store.ErrCommandEnded
		}
		detail := "cancelled by " + by
		if cmd.Attempts > 0 {
			detail += "; it had been sent, so the node may have carried it out"
		}
		if err := tx.WithdrawWanted(cmd, false); err != nil {
			return cmd, err
		}
		err = c.end(tx, &cmd, store.CommandCancelled, detail)
		return cmd, err
	})
}

// end writes the command's end. A detect that was sent and not answered well is evidence.
func (c *Ledger) end(tx *store.Tx, cmd *store.Command, state store.CommandState, detail string) error {
	cmd.State, cmd.Detail = state, detail
	id := cmd.RequestID
	tx.OnCommit(func() { c.disarm(id) })
	if cmd.Action == protocol.ActionDetect && state != store.CommandApplied && cmd.Attempts > 0 && state != store.CommandCancelled {
		err := tx.UpdateEvidence(cmd.NodeID, func(e *store.Evidence) {
			if state == store.CommandUnknown && e.LostConnectionID != 0 {
				return // an external broker is out of sight: the silence is not the node's
			}
			e.ProbeFailedAt = tx.Now().UTC()
		})
		if err != nil && !errors.Is(err, store.ErrNodeNotFound) {
			return err
		}
	}
	return tx.PutCommand(*cmd)
}

// disarm forgets the command's timer.
func (c *Ledger) disarm(requestID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.timers[requestID]; t != nil && t.Stop() {
		c.running.Done()
	}
	delete(c.timers, requestID)
}

// Wait returns the command once it has ended, or as it is when ctx or the ledger ends. Error:
// store.ErrCommandNotFound.
func (c *Ledger) Wait(ctx context.Context, requestID string) (store.Command, error) {
	for {
		// Subscribe before reading, so that an end in between is not missed.
		changes := c.db.Subscribe(256)
		cmd, err := c.read(requestID)
		for err == nil && !cmd.State.Ended() {
			select {
			case <-ctx.Done():
				changes.Close()
				return c.read(requestID)
			case <-c.done:
				changes.Close()
				return c.read(requestID)
			case ch, ok := <-changes.C:
				if ok && ch.RequestID == requestID {
					cmd, err = c.read(requestID)
				}
				if ok {
					continue
				}
			}
			break // too slow for the feed: subscribe again
		}
		changes.Close()
		if err != nil || cmd.State.Ended() {
			return cmd, err
		}
	}
}

func (c *Ledger) read(requestID string) (store.Command, error) {
	return store.Read(c.db, func(tx *store.Tx) (store.Command, error) { return tx.Command(requestID) })
}
