package tunnel

import (
	"context"
	"errors"

	"wfm/store"
	"wfm/tunnel/wgconf"
)

// Staging is the result of [Door.StageAll] for one node.
type Staging struct {
	Taken
	Err error // one of those of Door.Stage; Taken is zero then
}

// StageAll does for each of the nodes the same as [Door.Stage], in one transaction. The refusal of
// one node does not keep others from being staged. The order must be for the desired version. If it
// is forced, only versions that may cut their nodes off are marked as forced. The results are in the
// order of the ids. Errors: those of writing, after which nothing is staged.
func (d Door) StageAll(ctx context.Context, nodeIDs []string, o Order) ([]Staging, error) {
	all := make([]Staging, len(nodeIDs))
	todo := make([]int, len(nodeIDs))
	for i := range todo {
		todo[i] = i
	}
	reach, topology := d.reachOnce(ctx), map[string]error{}
	for range maxTries {
		seen := make(map[int]checked, len(todo))
		for _, i := range todo {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			err := d.checkTopology(ctx, nodeIDs[i], topology)
			var c checked
			if err == nil {
				c, err = d.check(nodeIDs[i], o, "staged", reach)
			}
			if all[i].Err = noneDesired(err); err == nil {
				seen[i] = c
			}
		}
		if len(seen) == 0 {
			return all, nil
		}
		again, err := store.WriteFor(ctx, d.Store, func(tx *store.Tx) ([]int, error) {
			return stageSeen(tx, o, nodeIDs, todo, seen, all)
		})
		if err != nil {
			return nil, err
		}
		if todo = again; len(todo) == 0 {
			return all, nil
		}
	}
	for _, i := range todo {
		all[i] = Staging{Err: ErrUnsettled}
	}
	return all, nil
}

// stageSeen stages the nodes of todo as checked in seen. It returns those that have changed
// meanwhile.
func stageSeen(tx *store.Tx, o Order, nodeIDs []string, todo []int, seen map[int]checked, all []Staging) (again []int, err error) {
	for _, i := range todo {
		c, ok := seen[i]
		if !ok {
			continue
		}
		t, changed, err := o.take(tx, nodeIDs[i], c, nil)
		switch {
		case changed:
			again = append(again, i)
			continue
		case err != nil: // nothing of this node is written yet
			all[i] = Staging{Err: noneDesired(err)}
			continue
		}
		if o.Force && CutsOff(c.warnings) {
			if err := tx.ForceConf(nodeIDs[i], t.Ref.Version); err != nil {
				return nil, err
			}
		}
		if err := t.stage(tx); err != nil {
			return nil, err
		}
		all[i] = Staging{Taken: t}
	}
	return again, nil
}

// noneDesired words the error of an order for the desired config.
func noneDesired(err error) error {
	if errors.Is(err, ErrNoStagedConfig) {
		return ErrNoDesiredConfig
	}
	return err
}

// reachOnce returns a [Reach] that resolves each host once.
func (d Door) reachOnce(ctx context.Context) func(host string) wgconf.Reach {
	known := make(map[string]wgconf.Reach)
	return func(host string) wgconf.Reach {
		r, ok := known[host]
		if !ok {
			r = Reach(ctx, d.Resolver, host)
			known[host] = r
		}
		return r
	}
}
