package agent

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"wfm/protocol"
)

// ErrRunning is returned by [Run] when another agent already serves the folder.
var ErrRunning = errors.New("another agent is already running")

// Options configure [Run]. Only Dir is required.
type Options struct {
	Dir string       // folder of the agent
	Log *slog.Logger // if nil, nothing is logged
	// Only restricts the agent to one profile, by profile id or node id. If empty, the agent serves
	// all.
	Only string

	Heartbeat    time.Duration // between heartbeats; 0: 30 min
	Poll         time.Duration // between checks of the profile folder; 0: 2 s
	BackoffMin   time.Duration // first wait before a reconnect; 0: 1 s
	BackoffMax   time.Duration // longest wait before a reconnect; 0: 60 s
	RefusedDelay time.Duration // wait after refused credentials; 0: 60 s
	TakenDelay   time.Duration // longest wait after another machine took over the MQTT session; 0: 5 min
	// Confirm is how long the server may stay out of reach after a change before the agent takes
	// the change back; 0: 60 s. ConfirmPause is the wait between two attempts to reach it; 0: 2 s.
	Confirm, ConfirmPause time.Duration

	// For tests: link replaces the query of the kernel's interfaces, pause sets the pause of the
	// outbox.
	link  func(string) linkState
	pause time.Duration
}

func (o *Options) setDefaults() {
	setDefault(&o.Heartbeat, 30*time.Minute)
	setDefault(&o.Poll, 2*time.Second)
	setDefault(&o.BackoffMin, time.Second)
	setDefault(&o.BackoffMax, time.Minute)
	setDefault(&o.RefusedDelay, time.Minute)
	setDefault(&o.TakenDelay, 5*time.Minute)
	setDefault(&o.Confirm, confirmLimit)
	setDefault(&o.ConfirmPause, retryPause)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.pause, outboxPause)
	if o.link == nil {
		o.link = systemLink
	}
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// Run serves every profile below o.Dir until ctx ends. It follows profiles that are bound, bound
// again or unbound meanwhile. It returns nil after a clean stop: a running command is finished
// first, within its own time limits; a change that waits for its confirmation is left to the next
// agent.
//
// Errors: [ErrRunning], or the reason why the folder cannot be used. An unreachable server is not
// an error: Run keeps trying.
func Run(ctx context.Context, o Options) error {
	o.setDefaults()
	if o.Dir == "" {
		return errors.New("the agent's folder is not set")
	}
	if err := makeDirs(o.Dir); err != nil {
		return err
	}
	release, err := lockDir(o.Dir)
	if err != nil {
		return err
	}
	defer release()
	if n := endOrphans(o.Dir); n > 0 {
		o.Log.Warn("a tool of the former agent was still at work and was ended", "processes", n)
	}
	if err := removeCopies(o.Dir); err != nil {
		o.Log.Error("copies of tunnel configs that the former agent left cannot be removed", "err", err)
	}
	t := newTunnels(o.Dir)
	t.link, t.confirmLimit, t.retryPause, t.watch = o.link, o.Confirm, o.ConfirmPause, watchLinks
	k := &keeper{options: o, tunnels: t, bootID: readBootID(), instance: protocol.NewID("run"), served: map[string]*served{}}
	defer k.stopAll()
	tick := time.NewTicker(o.Poll)
	defer tick.Stop()
	for {
		k.reconcile(ctx)
		select {
		case <-ctx.Done():
			o.Log.Info("stopping")
			return nil
		case <-tick.C:
		}
	}
}

// keeper makes the running sessions match the profile files. Only the goroutine of Run uses it.
type keeper struct {
	options Options
	tunnels *tunnels
	bootID  string
	// instance names this process to the server, which uses it to distinguish two processes with
	// one identity.
	instance string

	served  map[string]*served // by profile id
	lastErr string             // last problem with the folder, so that it is logged once
	waiting bool               // the lack of a profile was logged
}

// served is a profile whose MQTT session runs or is ending.
type served struct {
	stamp     fileStamp
	abandoned bool // it has no file and no session any more: its open change is being taken back
	cancel    context.CancelFunc
	done      chan struct{}
}

// fileStamp identifies a version of a profile file: every write makes a new file.
type fileStamp struct {
	modified time.Time
	size     int64
}

// reconcile starts, restarts and ends sessions. It never waits for one: it asks an outdated session
// to end, and a later call starts the successor once the session is gone. Two sessions of one node
// would push each other off the broker.
func (k *keeper) reconcile(ctx context.Context) {
	wanted, err := k.wanted()
	k.report(err)
	if err != nil && wanted == nil {
		return // the folder cannot be read now: that is no reason to end running sessions
	}
	for id, s := range k.served {
		if stamp, ok := wanted[id]; ok == s.abandoned || stamp != s.stamp {
			s.cancel()
		}
		select {
		case <-s.done:
			s.cancel()
			delete(k.served, id)
			if _, still := wanted[id]; !still {
				k.forget(id)
			}
		default:
		}
	}
	for id, stamp := range wanted {
		if k.served[id] == nil {
			k.serve(ctx, id, stamp)
		}
	}
	k.abandon(ctx)
	if len(wanted) == 0 && !k.waiting {
		k.options.Log.Warn("no profile yet, waiting for one: bind this node with `wfm-agent bind --server URL --token TOKEN`")
	}
	k.waiting = len(wanted) == 0
}

// wanted returns the profile files to serve. A nil map means that the folder could not be read.
func (k *keeper) wanted() (map[string]fileStamp, error) {
	ids, err := profileIDs(k.options.Dir)
	if err != nil {
		return nil, err
	}
	if k.options.Only != "" {
		id, err := resolveProfile(k.options.Dir, k.options.Only)
		if err != nil {
			return map[string]fileStamp{}, err
		}
		ids = slices.DeleteFunc(ids, func(other string) bool { return other != id })
	}
	wanted := map[string]fileStamp{}
	for _, id := range ids {
		info, err := os.Stat(profilePath(k.options.Dir, id))
		if err != nil {
			continue // unbound in between
		}
		wanted[id] = fileStamp{info.ModTime(), info.Size()}
	}
	return wanted, nil
}

func (k *keeper) report(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != k.lastErr {
		k.options.Log.Error("profiles cannot be served", "err", err)
	}
	k.lastErr = text
}

// serve starts the session of one profile. An unusable file is logged and left alone until it
// changes.
func (k *keeper) serve(ctx context.Context, id string, stamp fileStamp) {
	if ctx.Err() != nil {
		return
	}
	log := k.options.Log.With("profile_id", id)
	ctx, cancel := context.WithCancel(ctx)
	s := &served{stamp: stamp, cancel: cancel, done: make(chan struct{})}
	k.served[id] = s
	p, err := LoadProfile(k.options.Dir, id)
	if err != nil {
		log.Error("profile cannot be used", "err", err)
		go func() {
			defer close(s.done)
			k.takeBack(ctx, id, errors.New("the profile cannot be used any more, so this change cannot be confirmed"))
			<-ctx.Done()
		}()
		return
	}
	sess := k.newSession(p, log)
	go func() {
		defer close(s.done)
		if err := sess.Run(ctx); err != nil {
			log.Error("session ended", "err", err)
			<-ctx.Done() // another attempt before the file changes would end the same way
		}
	}()
}

func (k *keeper) newSession(p Profile, log *slog.Logger) *session {
	j, err := openJournal(journalPath(k.options.Dir, p.ID()))
	if err != nil {
		log.Error("journal cannot be read: a command that was executed before could be executed again", "err", err)
	}
	out := newOutbox(log, k.options.pause)
	s := &session{
		profile: p, heartbeat: k.options.Heartbeat, log: log, bootID: k.bootID, instance: k.instance,
		changed: make(chan struct{}),
		backoff: &backoff{
			least: k.options.BackoffMin, most: k.options.BackoffMax, refused: k.options.RefusedDelay, longest: k.options.TakenDelay,
			stable: k.options.BackoffMax, now: time.Now,
		},
		out: out, exec: newExecutor(p, k.tunnels, j, out, log),
	}
	s.exec.server = s
	return s
}

// abandon takes back the changes of profiles that were unbound before their changes were confirmed.
// Nothing can confirm such a change any more, and an unconfirmed change does not stay. Like every
// session, abandon ends before a new session of the same profile begins.
func (k *keeper) abandon(ctx context.Context) {
	ids, err := openChanges(k.options.Dir)
	if err != nil {
		k.report(err)
		return
	}
	for _, id := range ids {
		if _, err := os.Stat(profilePath(k.options.Dir, id)); !errors.Is(err, fs.ErrNotExist) || k.served[id] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		s := &served{abandoned: true, cancel: cancel, done: make(chan struct{})}
		k.served[id] = s
		go func() {
			defer close(s.done)
			k.takeBack(ctx, id, errors.New("the node was unbound before this change was confirmed"))
		}()
	}
}

// takeBack undoes the open change of a profile without a session, if there is one. It keeps trying
// until the change is undone or superseded, or ctx ends. Like a command, a running attempt is not
// cut short.
func (k *keeper) takeBack(ctx context.Context, id string, cause error) {
	log := k.options.Log.With("profile_id", id)
	j, err := openJournal(journalPath(k.options.Dir, id))
	if err != nil {
		log.Error("journal cannot be read", "err", err)
	}
	c, err := openChange(k.options.Dir, id, j)
	if err != nil {
		log.Error("what to undo is not known any more, the stored config stays as it is", "err", err)
	}
	if c == nil {
		if err := removeChange(k.options.Dir, id); err != nil {
			log.Error("the record of a finished change stays", "err", err)
			<-ctx.Done() // another attempt would end the same way
		}
		return
	}
	for pause := k.tunnels.retryPause; ; pause = min(2*pause, restoreMost) {
		c, state, err := k.tunnels.Restore(context.WithoutCancel(ctx), id)
		if c == nil {
			return // another node's command has changed the interface
		}
		if err == nil {
			err = removeChange(k.options.Dir, id)
		}
		log.Warn("a change is taken back", "interface", c.Interface, "cause", cause, "rolled_back", err == nil, "result", state, "err", err)
		ack := failed(protocol.Ack{Action: c.Action, RolledBack: err == nil}, errors.Join(cause, err))
		if err := j.Finish(c.Kind, c.RequestID, ack); err != nil {
			log.Error("journal cannot be written", "request_id", c.RequestID, "err", err)
		}
		if err == nil {
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// forget removes the files that an ending session may have written after its profile was removed.
func (k *keeper) forget(id string) {
	for _, path := range []string{journalPath(k.options.Dir, id), wantedPath(k.options.Dir, id)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			k.options.Log.Error("a file of a removed profile stays", "profile_id", id, "err", err)
		}
	}
	if _, err := os.Stat(profilePath(k.options.Dir, id)); !errors.Is(err, fs.ErrNotExist) {
		return // it is only not served by this agent
	}
	if err := removeKeys(k.options.Dir, id); err != nil {
		k.options.Log.Error("the keys of a removed profile stay", "profile_id", id, "err", err)
	}
}

// stopAll ends every session and waits for it.
func (k *keeper) stopAll() {
	for _, s := range k.served {
		s.cancel()
	}
	for _, s := range k.served {
		<-s.done
	}
}
