package apply

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"wfm/internal/bounded"
	"wfm/mesh"
	"wfm/store"
	"wfm/tunnel"
)

const (
	// AutoDelay is the time from the last change of a mesh until the change is applied by itself.
	AutoDelay = 5 * time.Second
	// feedBuffer is the number of changes that may wait before everything is read again.
	feedBuffer = 8192
	// retryWrite is the pause before a mesh that could not be applied for a reason of the appliance's own
	// is looked at again.
	retryWrite = 30 * time.Second
	// mostTold bounds the nodes whose journals say why nothing was applied.
	mostTold = 100
)

// ByAutoSync is the author of rollouts that the appliance begins on its own.
const ByAutoSync = "auto_sync"

// EventNotApplied is the event of a change that was not applied by itself.
const EventNotApplied = "not_applied"

// Auto applies the changes of nodes with auto_sync by itself. The due changes follow from the store, so
// nothing is lost with a stop or a kill.
type Auto struct {
	applier *Applier
	log     *slog.Logger
	ctx     context.Context //nolint:containedctx // it ends with the goroutine
	end     context.CancelFunc
	done    sync.WaitGroup
	// due has the meshes to look at, and when. told has, for each mesh, the reason that was last given for
	// which nothing was applied. Both are used by the goroutine only.
	due  map[string]time.Time
	told map[string]string
}

// NewAuto makes it; nothing happens before [Auto.Start].
func NewAuto(a *Applier, log *slog.Logger) *Auto {
	ctx, end := context.WithCancel(context.Background())
	return &Auto{
		applier: a, log: cmp.Or(log, slog.New(slog.DiscardHandler)), ctx: ctx, end: end, due: make(map[string]time.Time), told: make(map[string]string),
	}
}

// Start looks at every mesh, and then follows the changes.
func (a *Auto) Start() error {
	changes := a.applier.Store.Subscribe(feedBuffer) // subscribe before reading
	if err := a.lookAtAll(); err != nil {
		changes.Close()
		return err
	}
	a.done.Go(func() { a.run(changes) })
	return nil
}

// Stop ends it and waits for it, or until ctx ends. It may be called again.
func (a *Auto) Stop(ctx context.Context) error {
	a.end()
	return bounded.Wait(ctx, "stop applying changes", a.done.Wait)
}

func (a *Auto) run(changes *store.Subscription) {
	defer func() { changes.Close() }()
	for {
		var wake <-chan time.Time
		if next, ok := a.next(); ok {
			wake = time.After(next.Sub(a.applier.Store.Now()))
		}
		select {
		case <-a.ctx.Done():
			return
		case c, ok := <-changes.C:
			if ok {
				a.note(c)
				continue
			}
			changes = a.applier.Store.Subscribe(feedBuffer)
			if err := a.lookAtAll(); errors.Is(err, store.ErrClosed) {
				return
			}
		case <-wake:
			a.lookAtDue()
		}
	}
}

// next returns when a mesh is due.
func (a *Auto) next() (next time.Time, ok bool) {
	for _, at := range a.due {
		if !ok || at.Before(next) {
			next, ok = at, true
		}
	}
	return next, ok
}

func (a *Auto) note(c store.Change) {
	switch c.Kind { //nolint:exhaustive // the others make nothing due
	case store.ChangeApply, store.ChangeNode, store.ChangeConfig, store.ChangeMesh, store.ChangeRollout:
		a.lookAt(c.ConfigID, a.applier.Store.Now().Add(AutoDelay))
	}
}

// lookAt schedules a look at the mesh at the given time at the latest.
func (a *Auto) lookAt(configID string, at time.Time) {
	if due, ok := a.due[configID]; configID != "" && (!ok || at.Before(due)) {
		a.due[configID] = at
	}
}

func (a *Auto) lookAtAll() error {
	return a.applier.Store.View(func(tx *store.Tx) error {
		configs, err := tx.Configs("", 0)
		for _, cfg := range configs {
			a.lookAt(cfg.ID, tx.Now())
		}
		return err
	})
}

func (a *Auto) lookAtDue() {
	now := a.applier.Store.Now()
	for id, at := range a.due {
		if a.ctx.Err() != nil {
			return
		}
		if !now.Before(at) {
			delete(a.due, id)
			a.look(id)
		}
	}
}

// look applies the mesh if that is due.
func (a *Auto) look(configID string) {
	latest, concerned, err := a.lastChange(configID)
	if err == nil && !concerned {
		delete(a.told, configID)
		return
	}
	if due := latest.Add(AutoDelay); err == nil && a.applier.Store.Now().Before(due) {
		a.lookAt(configID, due)
		return
	}
	if err == nil {
		err = a.apply(configID)
	}
	var active *store.RolloutActiveError
	switch {
	case err == nil, errors.As(err, &active), errors.Is(err, store.ErrConfigNotFound), errors.Is(err, store.ErrClosed), errors.Is(err, context.Canceled):
		// The end of a rollout is a change.
	case errors.Is(err, ErrPlanChanged):
		a.lookAt(configID, a.applier.Store.Now().Add(AutoDelay))
	default:
		a.log.Warn("a mesh cannot be applied by itself", "config_id", configID, "err", err)
		a.lookAt(configID, a.applier.Store.Now().Add(retryWrite))
	}
}

// lastChange returns when the newest tunnel config of the mesh was made. concerned is false if no node of
// it has auto_sync and lacks its config.
func (a *Auto) lastChange(configID string) (latest time.Time, concerned bool, err error) {
	err = a.applier.Store.View(func(tx *store.Tx) error {
		cfg, err := tx.Config(configID)
		if err != nil {
			return err
		}
		nodes, err := tx.Nodes(configID, "", 0)
		for _, n := range nodes {
			concerned = concerned || n.AutoSync && n.Client != nil
		}
		if err != nil || !concerned {
			return err
		}
		concerned = false
		for _, n := range nodes {
			s, err := tx.ConfState(n.ID)
			if err != nil {
				return err
			}
			if s.Desired.Version == 0 {
				continue
			}
			v, err := tx.ConfVersion(n.ID, s.Desired.Version)
			if err != nil {
				return err
			}
			if v.At.After(latest) {
				latest = v.At
			}
			concerned = concerned || n.AutoSync && n.Client != nil && !tunnel.Confirmed(s, s.Desired, tunnel.Family(cfg))
		}
		return nil
	})
	return latest, concerned, err
}

// apply applies the due changes. A config whose push has failed is not pushed again, nor is one that a rollout
// which was stopped or cancelled did not get to.
func (a *Auto) apply(configID string) error {
	host := a.applier.Host()
	p, err := a.applier.Plan(a.ctx, configID, host)
	if err != nil {
		return err
	}
	if p.Active != "" {
		return &store.RolloutActiveError{ID: p.Active}
	}
	given, err := a.givenUp(p)
	if err != nil {
		return err
	}
	var ids, cutOff []string
	for _, n := range p.Nodes {
		switch {
		case !n.AutoSync || !n.pushed() || n.gaveUp || given[n.ID]:
		case n.CutsOff:
			cutOff = append(cutOff, n.ID)
		default:
			ids = append(ids, n.ID)
		}
	}
	if len(ids)+len(cutOff) == 0 {
		return nil
	}
	if err := p.Report.Refusal("applied"); err != nil {
		return a.tell(configID, append(ids, cutOff...), err)
	}
	if len(ids) > 0 {
		if _, err := a.applier.Apply(a.ctx, Order{ConfigID: configID, By: ByAutoSync, Host: host, PlanHash: p.Hash, NodeIDs: ids}); err != nil {
			return err
		}
	}
	if len(cutOff) > 0 {
		return a.tell(configID, cutOff, errCutOff)
	}
	delete(a.told, configID)
	return nil
}

var errCutOff = &mesh.Error{
	Code: mesh.CodeCutsOff, Message: "Nothing was applied, since the tunnel config may cut the node off. Change it, or apply it with force.",
}

// givenUp returns the nodes whose configs are older than the newest rollout, if that ended early.
func (a *Auto) givenUp(p Plan) (map[string]bool, error) {
	given := make(map[string]bool)
	err := a.applier.Store.View(func(tx *store.Tx) error {
		newest, err := tx.Rollouts(p.Config.ID, 0, 1)
		if err != nil || len(newest) == 0 || newest[0].State == store.RolloutDone {
			return err
		}
		for _, n := range p.Nodes {
			v, err := tx.ConfVersion(n.ID, n.Desired.Version)
			if errors.Is(err, store.ErrConfVersionNotFound) {
				continue // the next look sees its present one
			}
			if err != nil {
				return err
			}
			given[n.ID] = v.At.Before(newest[0].CreatedAt)
		}
		return nil
	})
	return given, err
}

// tell says once, in the log and in the journals of the nodes, why nothing was applied.
func (a *Auto) tell(configID string, nodeIDs []string, refused error) error {
	if a.told[configID] == refused.Error() {
		return nil
	}
	if err := a.applier.Store.Update(func(tx *store.Tx) error {
		for _, id := range nodeIDs[:min(len(nodeIDs), mostTold)] {
			if err := tx.Note(id, store.JournalEntry{Level: "warning", Event: EventNotApplied, Message: refused.Error()}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	a.told[configID] = refused.Error()
	a.log.Warn("changes of a mesh are not applied", "config_id", configID, "nodes", len(nodeIDs), "reason", refused.Error())
	return nil
}
