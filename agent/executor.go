package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"wfm/protocol"
)

// queueSize is the capacity of each lane, in commands.
const queueSize = 64

// errInterrupted answers a command that a former agent began and did not finish.
var errInterrupted = errors.New("the agent was restarted while running it; its outcome is not known")

// executor validates received commands and runs them. It has two lanes, each in order: one for
// commands that change the node, one for probes, so that a long start does not hide the node.
type executor struct {
	profile Profile
	tunnels *tunnels
	journal *journal
	out     *outbox
	server  uplink
	wanted  *wanted
	log     *slog.Logger

	changes chan command
	probes  chan command
	stop    chan struct{} // closed: begin nothing more
	workers sync.WaitGroup

	guard guard         // used only by the lane of changes
	links chan struct{} // signals that an interface of the machine has changed
	again chan struct{} // signals that a wanted tunnel may start now, if it did not before

	mu      sync.Mutex
	running map[entryKey]struct{} // queued or in execution
	stopped bool
}

// command is a command accepted for execution.
type command struct {
	env protocol.Envelope
}

func newExecutor(p Profile, t *tunnels, j *journal, out *outbox, log *slog.Logger) *executor {
	wanted, err := openWanted(t.configs.dir, p)
	if err != nil {
		log.Error("whether the tunnel should run is no longer known: it does not change until the next start or stop", "err", err)
	}
	return &executor{
		wanted: wanted, links: make(chan struct{}, 1), again: make(chan struct{}, 1),
		profile: p, tunnels: t, journal: j, out: out, log: log,
		changes: make(chan command, queueSize), probes: make(chan command, queueSize),
		stop: make(chan struct{}), running: map[entryKey]struct{}{},
	}
}

// Start completes the work that a former agent left open, sends the answers it could not deliver,
// and starts the lanes. ctx is passed to every tool and ends them at once, so it must not be the
// context that asks for a clean stop.
func (x *executor) Start(ctx context.Context) {
	switch made, err := x.tunnels.keys.Ensure(x.profile.ID()); {
	case err != nil:
		x.log.Error("this node has no key pair of its own", "err", err)
	case made:
		x.log.Info("a key pair was made for this node")
	}
	open, err := openChange(x.tunnels.configs.dir, x.profile.ID(), x.journal)
	if err != nil {
		x.log.Error("what to undo is not known any more, the stored config stays as it is", "err", err)
	}
	stop := x.openStop()
	x.closeInterrupted(open, stop)
	for _, e := range x.journal.Unsent() {
		x.answer(e.Kind, e.RequestID, *e.Ack)
	}
	for _, e := range x.journal.Untold() {
		x.tellRestored(e.Kind, e.RequestID, e.Restored)
	}
	if stop != nil {
		x.running[entryKey{protocol.KindControl, stop.RequestID}] = struct{}{}
	}
	unanswered := false
	if open != nil {
		_, answered := x.journal.Lookup(open.Kind, open.RequestID)
		unanswered = !answered
	}
	if unanswered {
		x.running[open.key()] = struct{}{} // the server may send it again meanwhile
		x.server.Urgent(true)              // from the first connection attempt on
	}
	x.workers.Go(func() {
		if unanswered {
			x.resume(ctx, *open)
		}
		if stop != nil {
			x.resumeStop(ctx, *stop)
		}
		x.workChanges(ctx)
	})
	if x.tunnels.watch != nil {
		x.workers.Go(func() { x.tunnels.watch(x.stop, x.links) })
	}
	x.workers.Go(func() { x.workProbes(ctx) })
}

// closeInterrupted answers the commands that a former agent began and did not finish, except the
// open change and the open stop: those are finished properly.
func (x *executor) closeInterrupted(open *change, stop *wish) {
	for _, e := range x.journal.Interrupted() {
		key := entryKey{e.Kind, e.RequestID}
		if (open != nil && open.key() == key) || (stop != nil && key == entryKey{protocol.KindControl, stop.RequestID}) {
			continue
		}
		ack := failed(protocol.Ack{Action: actionOf(e.Kind)}, errInterrupted)
		if e.Kind == protocol.KindPush && e.Interface != "" {
			_ = x.tunnels.report(&ack, x.profile.ID(), e.Interface)
		}
		x.log.Warn("a command was cut short by the end of the agent", "type", e.Kind, "request_id", e.RequestID)
		if err := x.journal.Finish(e.Kind, e.RequestID, ack); err != nil {
			x.log.Error("journal cannot be written", "request_id", e.RequestID, "err", err)
		}
	}
}

// Stop lets the running commands end, begins no other, and waits. Commands still queued are not in
// the journal, so the next agent executes them when the server repeats them.
func (x *executor) Stop() {
	x.mu.Lock()
	if !x.stopped {
		x.stopped = true
		close(x.stop)
	}
	x.mu.Unlock()
	x.workers.Wait()
}

// Receive accepts one message from the session. It never blocks.
func (x *executor) Receive(topicName string, data []byte) {
	topic, err := protocol.ParseTopic(topicName)
	if err != nil || !topic.Kind.IsCommand() ||
		topic.ConfigID != x.profile.Node.ConfigID || topic.NodeID != x.profile.Node.NodeID {
		x.log.Warn("a message on a topic that is not this node's is ignored", "bytes", len(data))
		return
	}
	env, err := protocol.Decode(topic, data)
	if err != nil {
		x.log.Warn("a message cannot be read", "type", topic.Kind, "bytes", len(data), "err", err)
		// Even a malformed message may name the request that awaits an answer.
		if env.RequestID != "" && len(env.RequestID) <= 128 {
			x.answer(topic.Kind, env.RequestID, failed(protocol.Ack{}, err))
		}
		return
	}
	x.accept(env)
}

func (x *executor) accept(env protocol.Envelope) {
	key := entryKey{env.Type, env.RequestID}
	lane := x.probes
	if env.Type.ChangesNode() {
		lane = x.changes
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stopped {
		return
	}
	if _, busy := x.running[key]; busy {
		x.log.Debug("a command arrived again while it runs", "type", env.Type, "request_id", env.RequestID)
		return // its ACK will come
	}
	if ack, done := x.journal.Lookup(env.Type, env.RequestID); done {
		x.log.Info("a command arrived again, its ACK is repeated", "type", env.Type, "request_id", env.RequestID)
		x.answer(env.Type, env.RequestID, ack)
		return
	}
	select {
	case lane <- command{env}:
		x.running[key] = struct{}{}
	default:
		x.log.Warn("too many commands are waiting", "type", env.Type, "request_id", env.RequestID)
		x.answer(env.Type, env.RequestID, failed(protocol.Ack{}, errors.New("busy: too many commands are waiting on this node")))
	}
}

func (x *executor) workProbes(ctx context.Context) {
	for !x.stopping() {
		select {
		case <-x.stop:
		case c := <-x.probes:
			x.execute(ctx, c.env)
		}
	}
}

// workChanges runs the commands that change the node. While there is none, it keeps trying to take
// back an open change, and looks after the tunnel.
func (x *executor) workChanges(ctx context.Context) {
	pause := x.tunnels.retryPause
	x.lookAfter(ctx, true)
	for !x.stopping() {
		var again <-chan time.Time
		if c, err := openChange(x.tunnels.configs.dir, x.profile.ID(), x.journal); err == nil && c != nil {
			again = time.After(pause)
		}
		select {
		case <-x.stop:
		case c := <-x.changes:
			x.execute(ctx, c.env)
			pause = x.tunnels.retryPause
		case <-again:
			x.untilCalled(ctx, x.restore)
			pause = min(2*pause, restoreMost)
		case <-x.links:
			x.lookAfter(ctx, false)
		case <-x.again:
			x.guard.next = time.Time{}
			x.lookAfter(ctx, false)
		case <-time.After(time.Until(x.guard.due(x.tunnels.lookEvery))):
			x.lookAfter(ctx, false)
		}
	}
}

// stopping reports whether the executor is being stopped. Stopping takes precedence over a command
// that is ready.
func (x *executor) stopping() bool {
	select {
	case <-x.stop:
		return true
	default:
		return false
	}
}

func (x *executor) execute(ctx context.Context, env protocol.Envelope) {
	log := x.log.With("type", env.Type, "request_id", env.RequestID)
	durable := env.Type.ChangesNode() // must not run twice, so it is journaled on disk
	if durable {
		var about protocol.Control
		_ = env.DecodePayload(&about) // the command itself reports unreadable fields
		x.wanting(env)
		iface := ""
		if named := cmp.Or(about.InterfaceName, x.profile.Node.InterfaceName); protocol.ValidInterfaceName(named) {
			iface = named
		}
		if err := x.journal.Begin(env.Type, env.RequestID, iface); err != nil {
			log.Error("journal cannot be written, a crash now would forget this command", "err", err)
		}
	}
	ack, pending := x.dispatch(ctx, env)
	if pending != nil {
		log.Info("a change is to be confirmed", "interface", pending.Interface)
		ended := false
		if ack, ended = x.settle(ctx, *pending, nil); !ended {
			return
		}
	}
	if durable {
		var c protocol.Control
		if env.Type == protocol.KindControl && env.DecodePayload(&c) == nil {
			x.concluded(c, env.RequestID, &ack)
		}
		x.finish(env.Type, env.RequestID, ack)
		if ack.RolledBack {
			x.verifyBack(ctx, env.Type, env.RequestID)
		}
		return
	}
	x.journal.Remember(env.Type, env.RequestID, ack)
	x.conclude(env.Type, env.RequestID, ack)
}

// finish answers a command that changed the node or should have. First the answer goes into the
// journal, then the record of the change is removed, then the answer is sent: wherever this is
// interrupted, the next agent gives the same answer.
func (x *executor) finish(kind protocol.Kind, requestID string, ack protocol.Ack) {
	log := x.log.With("type", kind, "request_id", requestID)
	err := x.journal.Finish(kind, requestID, ack)
	if err != nil {
		log.Error("journal cannot be written, the answer is sent nevertheless", "err", err)
	}
	if forget := x.tunnels.Forget(x.profile.ID(), entryKey{kind, requestID}, ack); forget != nil {
		log.Error("the record of a finished change stays", "err", forget)
		if err != nil && ack.Status == protocol.AckApplied {
			// The next agent will find only an open change, and take it back.
			ack = failed(ack, fmt.Errorf("applied, but only until the agent is restarted: its folder cannot be written: %w", forget))
			_ = x.journal.Finish(kind, requestID, ack)
		}
	}
	if kind == protocol.KindPush && ack.Status == protocol.AckApplied {
		if err := x.tunnels.pruneKeys(x.profile.ID()); err != nil {
			log.Warn("keys that are not needed any more stay", "err", err)
		}
	}
	x.conclude(kind, requestID, ack)
}

// conclude sends the answer to a command that has ended.
func (x *executor) conclude(kind protocol.Kind, requestID string, ack protocol.Ack) {
	x.log.Info("command executed", "type", kind, "request_id", requestID, "status", ack.Status)
	x.answer(kind, requestID, ack)
	if kind.ChangesNode() && ack.Status == protocol.AckFailed {
		x.beat() // the ACK of a failure does not say whether the tunnel still runs
	}
	// This comes last: before it, a repetition finds the command running; after it, the journal.
	x.mu.Lock()
	delete(x.running, entryKey{kind, requestID})
	x.mu.Unlock()
}

// dispatch runs one command. If it returns a change, the ACK is not the answer yet: the change must
// be settled first.
func (x *executor) dispatch(ctx context.Context, env protocol.Envelope) (protocol.Ack, *change) {
	switch env.Type {
	case protocol.KindControl:
		return x.control(ctx, env)
	case protocol.KindPush:
		return x.push(ctx, env)
	case protocol.KindDetect:
		return x.detect(env), nil
	default:
		return x.info(ctx, env), nil
	}
}

// answer queues an ACK.
func (x *executor) answer(command protocol.Kind, requestID string, ack protocol.Ack) {
	m := message(command.Ack(), ack)
	m.requestID = requestID
	if command.ChangesNode() {
		m.taken = func() {
			// If this cannot be written, the next agent repeats the answer.
			_ = x.journal.Sent(command, requestID)
		}
	}
	x.out.Put(m)
}

// send queues an event.
func (x *executor) send(e protocol.Event) { x.out.Put(message(protocol.KindEvent, e)) }

// beat reports to the server at once whether the tunnel runs.
func (x *executor) beat() { x.out.Put(x.heartbeat()) }

func (x *executor) heartbeat() outMessage {
	id := x.profile.ID()
	return message(protocol.KindHeartbeat, heartbeat(x.tunnels.Up(id, x.iface()), x.wanted.State(), x.tunnels.keys.Public(id)))
}

// actionOf returns the action for an ACK if the command's own action is unknown.
func actionOf(k protocol.Kind) protocol.Action {
	if k == protocol.KindPush {
		return protocol.ActionPush
	}
	return ""
}
