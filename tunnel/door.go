package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"wfm/store"
	"wfm/tunnel/wgconf"
)

// maxTries limits how often a check is repeated because its input has changed.
const maxTries = 5

// CutOffError reports a config that would keep the node from reaching the appliance.
type CutOffError struct {
	Undone   string // the operation that was not done: saved, staged or pushed
	Warnings []wgconf.Warning
}

func (e *CutOffError) Error() string {
	var words []string
	for _, w := range e.Warnings {
		if w.CutsOff {
			words = append(words, w.Message)
		}
	}
	return "Nothing was " + e.Undone + ", since this tunnel config may cut the node off: " + strings.Join(words, " ") +
		" Change it, or send force: true to do it anyway."
}

// ConflictError reports a text that was made from a version that is no longer the desired one.
type ConflictError struct{ Desired int }

func (e *ConflictError) Error() string {
	return fmt.Sprintf("The tunnel config was changed meanwhile: version %d is the latest now. Read it, then save again with base_version %d.", e.Desired,
		e.Desired)
}

// UpToDateError reports a push that was skipped because the node already has the version (see
// [Has]).
type UpToDateError struct {
	Version      int
	ConfirmedSeq uint64 // of the push by which the node confirmed it
}

func (e *UpToDateError) Error() string { return fmt.Sprintf("already has version %d", e.Version) }

// Refusal reports whether err is one of [Door]'s errors about the config. Their texts are written
// for people and contain no secrets.
func Refusal(err error) bool {
	for _, e := range []error{
		ErrUnsettled, ErrVersionBehind, store.ErrConfVersionNotFound, ErrNoDesiredConfig,
		ErrNoStagedConfig, ErrStagedChanged, ErrStagedOutdated,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	var invalid *wgconf.Error
	var cutOff *CutOffError
	var conflict *ConflictError
	return errors.As(err, &invalid) || errors.As(err, &cutOff) || errors.As(err, &conflict)
}

// Wish is a text that is to become the desired one.
type Wish struct {
	Text   string
	Author string
	Source string // see store.ConfVersion
	Note   string
	Base   *int // the version it was made from; nil: any
}

// Order says which version is taken to the node. The zero value takes the desired one.
type Order struct {
	Wish    *Wish  // saved in the same transaction, and then taken; excludes Staged and Version
	Staged  bool   // the staged version, unchanged
	Version int    // only this version; with Staged, the one that must be staged; 0: any
	Force   bool   // even if it cuts the node off, and if the node already has it
	Host    string // of the broker, for a node whose bind did not name it; may be empty
	// Lapses is for a push that waits for a node that is away: it is not sent once another version is
	// desired.
	Lapses bool
	// Starts has the push also start the tunnel once it is applied; see store.Command.
	Starts bool
}

// Taken is the result of an [Order].
type Taken struct {
	Config   store.Config
	Node     store.Node
	Ref      store.ConfRef   // the version that was taken
	State    store.ConfState // afterwards
	Staged   bool            // this order staged it
	Warnings []wgconf.Warning
}

// Door is the only way to save, stage and push a tunnel config. Its methods do all or nothing, in
// one transaction. Their errors are *[wgconf.Error], *[CutOffError], *[ConflictError],
// [ErrVersionBehind], [ErrUnsettled], [ErrNoStagedConfig], [ErrStagedChanged], [ErrStagedOutdated],
// store.ErrNodeNotFound, store.ErrConfVersionNotFound, those of Saved, and those of writing.
//
// A saved text is the node's own from then on: it is not made from the mesh any more.
type Door struct {
	Store    *store.DB
	Resolver *net.Resolver // resolves the broker's addresses; nil: the system's
	// Saved, if set, is called in the transaction that saves a text, after it. Its error takes
	// everything back. mesh.Door sets it, so everybody takes the door from there.
	Saved func(tx *store.Tx, s Saved) error
	// Topology, if set, returns the error of a mesh whose configs must not be staged, although each of
	// them could be. Stage and StageAll ask it, outside of transactions, about nodes whose configs are made
	// from the mesh.
	Topology func(ctx context.Context, configID string) error
}

// Saved is a text that was saved for a node.
type Saved struct {
	NodeID string
	Author string
	// Former is the desired text of before, "" if there was none, and FormerSource where it came from.
	Former       string
	FormerSource store.ConfigSource
}

// Save makes the order's wish the node's desired config. With stage, it also stages it.
func (d Door) Save(ctx context.Context, nodeID string, o Order, stage bool) (Taken, error) {
	return d.through(ctx, nodeID, o, "saved", func(tx *store.Tx, t *Taken) error {
		if !stage {
			return nil
		}
		return t.stage(tx)
	})
}

// Stage freezes a version for delivery. With force, the version is marked as wanted although it may
// cut the node off. Additional error: [ErrNoDesiredConfig].
func (d Door) Stage(ctx context.Context, nodeID string, o Order) (Taken, error) {
	if err := d.checkTopology(ctx, nodeID, map[string]error{}); err != nil {
		return Taken{}, err
	}
	t, err := d.through(ctx, nodeID, o, "staged", func(tx *store.Tx, t *Taken) error {
		if o.Force {
			if err := tx.ForceConf(nodeID, t.Ref.Version); err != nil {
				return err
			}
		}
		return t.stage(tx)
	})
	if !o.Staged {
		err = noneDesired(err)
	}
	return t, err
}

// checkTopology returns the error of the node's mesh. known has the results so far, by mesh.
func (d Door) checkTopology(ctx context.Context, nodeID string, known map[string]error) error {
	if d.Topology == nil {
		return nil
	}
	n, err := store.Read(d.Store, func(tx *store.Tx) (store.Node, error) { return tx.Node(nodeID) })
	if err != nil || n.ConfigSource != store.SourceMesh {
		return err
	}
	err, asked := known[n.ConfigID]
	if !asked {
		err = d.Topology(ctx, n.ConfigID)
		known[n.ConfigID] = err
	}
	return err
}

// Push stages a version and makes queue write the command that takes it to the node. If the node
// already has the version, Push does the rest without calling queue, unless the order is forced.
// Additional errors: those of queue, and *[UpToDateError], with which Taken is valid.
func (d Door) Push(ctx context.Context, nodeID string, o Order, queue func(*store.Tx, Taken) error) (Taken, error) {
	var has bool
	t, err := d.through(ctx, nodeID, o, "pushed", func(tx *store.Tx, t *Taken) (err error) {
		if err := t.stage(tx); err != nil {
			return err
		}
		if has, err = Has(tx, nodeID, t.State, t.Ref, Family(t.Config)); err != nil {
			return err
		}
		if has = has && !o.Force; has {
			return nil
		}
		return queue(tx, *t)
	})
	if err == nil && has {
		err = &UpToDateError{t.Ref.Version, t.State.ConfirmedSeq}
	}
	return t, err
}

// stage stages the version in t, which may be staged already.
func (t *Taken) stage(tx *store.Tx) error {
	was, wasFor := t.State.Staged, t.State.StagedFor
	s, err := tx.Stage(t.Node.ID, t.Ref, Family(t.Config))
	t.State, t.Staged = s, s.Staged != was || s.StagedFor != wasFor
	return err
}

// through checks the order's version, then calls act in a transaction in which nothing that the
// check rests on has changed.
func (d Door) through(ctx context.Context, nodeID string, o Order, undone string, act func(*store.Tx, *Taken) error) (Taken, error) {
	for range maxTries {
		seen, err := d.check(nodeID, o, undone, func(host string) wgconf.Reach { return Reach(ctx, d.Resolver, host) })
		if err != nil {
			return Taken{}, err
		}
		var t Taken
		changed := false
		err = d.Store.UpdateFor(ctx, func(tx *store.Tx) (err error) {
			if t, changed, err = o.take(tx, nodeID, seen, d.Saved); err != nil {
				return err
			}
			if changed {
				return ErrUnsettled
			}
			return act(tx, &t)
		})
		if !changed {
			return t, err
		}
	}
	return Taken{}, ErrUnsettled
}

// checked holds the input and the result of a check.
type checked struct {
	basis
	warnings []wgconf.Warning
}

// check checks the order's version and refuses forbidden operations. undone is the word for the
// operation in the refusal.
func (d Door) check(nodeID string, o Order, undone string, reach func(host string) wgconf.Reach) (checked, error) {
	seen, err := store.Read(d.Store, func(tx *store.Tx) (look, error) { return o.look(tx, nodeID) })
	if err != nil {
		return checked{}, err
	}
	warnings, err := seen.judge(nodeID, reach)
	if err != nil {
		return checked{}, err
	}
	if CutsOff(warnings) && !o.Force && !seen.forced {
		return checked{}, &CutOffError{undone, warnings}
	}
	return checked{seen.basis, warnings}, nil
}

// take saves the order's wish and returns the checked version. changed is set if anything that the
// check rests on has changed.
func (o Order) take(tx *store.Tx, nodeID string, seen checked, saved func(*store.Tx, Saved) error) (t Taken, changed bool, err error) {
	now, err := o.look(tx, nodeID)
	if err != nil || now.basis != seen.basis {
		return t, err == nil, err
	}
	t = Taken{Config: now.config, Node: now.node, Ref: now.ref, State: now.state, Warnings: seen.warnings}
	if o.Wish != nil {
		err = t.save(tx, *o.Wish, o.Force, saved)
	}
	return t, false, err
}

// save makes the wish's text the desired one, and tells saved.
func (t *Taken) save(tx *store.Tx, w Wish, forced bool, saved func(*store.Tx, Saved) error) (err error) {
	s := Saved{NodeID: t.Node.ID, Author: w.Author, FormerSource: t.Node.ConfigSource}
	if saved != nil && t.State.Desired.Version != 0 {
		if s.Former, err = tx.ConfText(t.Node.ID, t.State.Desired.SHA256); err != nil {
			return err
		}
	}
	if t.Node.ConfigSource != store.SourceText {
		t.Node.ConfigSource = store.SourceText
		if err := tx.PutNode(&t.Node); err != nil {
			return err
		}
	}
	if err := t.desire(tx, w, forced); err != nil || saved == nil {
		return err
	}
	return saved(tx, s)
}

// desire makes the wish's text the desired one.
func (t *Taken) desire(tx *store.Tx, w Wish, forced bool) (err error) {
	v := store.ConfVersion{Author: w.Author, Source: w.Source, Note: w.Note, Forced: forced}
	t.State, err = tx.SetDesired(t.Node.ID, w.Text, v)
	t.Ref = t.State.Desired
	return err
}

// look is the version for an order, as the store has it at that moment.
type look struct {
	basis
	config store.Config
	node   store.Node
	state  store.ConfState
	text   string
}

// judge reads the text. The error is a *[wgconf.Error].
func (l look) judge(nodeID string, reach func(host string) wgconf.Reach) ([]wgconf.Warning, error) {
	conf, err := Read(l.config, nodeID, l.text)
	if err == nil {
		err = checkKey(conf, l.node)
	}
	if err != nil {
		return nil, err
	}
	return Warnings(conf, l.node, reach(l.host)), nil
}

// Examined is what an order for a node would meet.
type Examined struct {
	Ref      store.ConfRef
	Warnings []wgconf.Warning
	// CutsOff is set if the order would be refused, unless it is forced, since the config may cut the node
	// off.
	CutsOff bool
	// Fault is the *[wgconf.Error] of a text that cannot be given to the node; nil if it can.
	Fault error
}

// Examine checks the order's version as [Door] does, and changes nothing. reach must return at once.
// Errors: those of [Door] but *[wgconf.Error] and *[CutOffError].
func (o Order) Examine(tx *store.Tx, nodeID string, reach func(host string) wgconf.Reach) (Examined, error) {
	seen, err := o.look(tx, nodeID)
	if err != nil {
		return Examined{}, err
	}
	warnings, fault := seen.judge(nodeID, reach)
	return Examined{seen.ref, warnings, CutsOff(warnings) && !seen.forced, fault}, nil
}

// basis is the input of the check of a look. The hash stands for the text.
type basis struct {
	ref    store.ConfRef // zero for a wish
	forced bool          // the version was forced before
	family string
	kind   store.NodeType
	host   string // at which the agent reaches the broker
}

func (o Order) look(tx *store.Tx, nodeID string) (l look, err error) {
	if l.node, err = tx.Node(nodeID); err != nil {
		return l, err
	}
	if l.config, err = tx.Config(l.node.ConfigID); err != nil {
		return l, err
	}
	if l.state, err = tx.ConfState(nodeID); err != nil {
		return l, err
	}
	l.family, l.kind = Family(l.config), l.node.Type
	if l.host = BrokerHost(l.node, o.Host); l.host == "" {
		settings, err := tx.MQTTSettings()
		if err != nil {
			return l, err
		}
		if settings.Host != nil {
			l.host = *settings.Host
		}
	}
	if w := o.Wish; w != nil {
		if w.Base != nil && *w.Base != l.state.Desired.Version {
			return l, &ConflictError{l.state.Desired.Version}
		}
		l.text = w.Text
		return l, nil
	}
	v, err := o.version(tx, nodeID, l.state, l.family)
	if err != nil {
		return l, err
	}
	l.ref, l.forced = v.ConfRef, v.Forced
	l.text, err = tx.ConfText(nodeID, v.SHA256)
	return l, err
}

// version returns the version that the order takes.
func (o Order) version(tx *store.Tx, nodeID string, s store.ConfState, family string) (store.ConfVersion, error) {
	switch {
	case o.Staged && s.Staged.Version == 0:
		return store.ConfVersion{}, ErrNoStagedConfig
	case o.Staged && o.Version != 0 && o.Version != s.Staged.Version:
		return store.ConfVersion{}, ErrStagedChanged
	case o.Staged && !StagedFits(s, family):
		return store.ConfVersion{}, ErrStagedOutdated
	case o.Staged:
		return tx.ConfVersion(nodeID, s.Staged.Version)
	case o.Version != 0 && o.Version < s.Staged.Version:
		return store.ConfVersion{}, ErrVersionBehind
	case o.Version != 0:
		return tx.ConfVersion(nodeID, o.Version)
	case s.Desired.Version == 0:
		return store.ConfVersion{}, ErrNoStagedConfig
	}
	return tx.ConfVersion(nodeID, s.Desired.Version)
}
