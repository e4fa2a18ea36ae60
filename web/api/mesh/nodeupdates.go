package mesh

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	rules "wfm/mesh"
	"wfm/store"
	"wfm/web/wire"
)

// nodeUpdates are changes to the values of AmneziaWG of nodes, by their ids.
type nodeUpdates map[string]func(*store.AWGNode)

const fieldNodeUpdates = "awg_node_updates"

func readNodeUpdates(f *wire.Fields) nodeUpdates {
	all := f.Object(fieldNodeUpdates)
	if all == nil {
		return nil
	}
	ids := all.Names()
	if len(ids) > wire.BulkRows {
		f.Reject(fieldNodeUpdates, fmt.Sprintf("must have at most %d entries", wire.BulkRows))
		return nil
	}
	updates := nodeUpdates{}
	for _, id := range ids {
		if one := all.Object(id); one != nil {
			updates[id] = wire.ReadAWGNode(one)
			all.AbsorbObject(id, one.Faults())
		}
	}
	f.AbsorbObject(fieldNodeUpdates, all.Faults())
	return updates
}

// apply changes the nodes. It changes all of them or none, and then names every fault.
func (u nodeUpdates) apply(e *rules.Edit) error {
	faults := &wire.Fields{}
	for _, id := range slices.Sorted(maps.Keys(u)) {
		field := fieldNodeUpdates + "." + id
		n, err := e.Node(id)
		switch {
		case errors.Is(err, store.ErrNodeNotFound):
			faults.Reject(field, "is not a node of this mesh")
			continue
		case err != nil:
			return err
		case n.ConfigSource != store.SourceMesh:
			faults.Reject(field, "has a tunnel config that is written by hand; change the values there, or set config_source of the node to mesh")
			continue
		}
		u[id](&n.AWG)
		err = e.PutNode(&n)
		if problem, ok := errors.AsType[*rules.Error](err); ok {
			faults.Reject(field, problem.Message)
		} else if err != nil {
			return err
		}
	}
	return faults.Err()
}
