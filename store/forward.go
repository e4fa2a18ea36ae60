package store

import (
	"bytes"
	"fmt"
)

var (
	bucketForwards         = []byte("port_forwards")           // id → PortForward
	bucketForwardsByConfig = []byte("port_forwards_by_config") // config id, zero byte, id → 1
	// bucketForwardsByNode has each port forward twice: id of its service's or entry's node, zero byte, id → 1.
	bucketForwardsByNode = []byte("port_forwards_by_node")
)

// PortForward returns the port forward, or [ErrForwardNotFound].
func (tx *Tx) PortForward(id string) (PortForward, error) {
	f, ok, err := get[PortForward](tx, bucketForwards, id)
	if err == nil && !ok {
		err = ErrForwardNotFound
	}
	return f, err
}

// PortForwards returns all port forwards of the config, by id.
func (tx *Tx) PortForwards(configID string) ([]PortForward, error) {
	return tx.forwardsUnder(bucketForwardsByConfig, configID)
}

// PortForwardsOfNode returns the port forwards that lead to a service on the node or have it as their
// entry, by id.
func (tx *Tx) PortForwardsOfNode(nodeID string) ([]PortForward, error) {
	return tx.forwardsUnder(bucketForwardsByNode, nodeID)
}

func (tx *Tx) forwardsUnder(index []byte, id string) ([]PortForward, error) {
	var out []PortForward
	prefix := nodeNameKey(id, "")
	c := tx.cursor(index)
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		f, err := tx.PortForward(lastOf(k))
		if err != nil {
			return nil, fmt.Errorf("port forward %q: %w", lastOf(k), indexError(err))
		}
		out = append(out, f)
	}
	return out, nil
}

// PutPortForward creates or changes the port forward and stamps it. Its nodes and its config cannot
// change. Errors: [ErrForwardEnds], [ErrNodeNotFound], [ErrForwardExists].
func (tx *Tx) PutPortForward(f *PortForward) error {
	old, exists, err := get[PortForward](tx, bucketForwards, f.ID)
	if err != nil {
		return err
	}
	if f.FromNodeID == f.ToNodeID {
		return ErrForwardEnds
	}
	for _, id := range []string{f.FromNodeID, f.ToNodeID} {
		switch n, err := tx.node(id); {
		case err != nil:
			return err
		case n.ConfigID != f.ConfigID:
			return ErrForwardEnds
		}
	}
	if exists && (old.ConfigID != f.ConfigID || old.FromNodeID != f.FromNodeID || old.ToNodeID != f.ToNodeID) {
		return ErrForwardEnds
	}
	others, err := tx.PortForwardsOfNode(f.ToNodeID)
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.ID != f.ID && o.meets(*f) {
			return ErrForwardExists
		}
	}
	f.UpdatedAt = tx.now.UTC()
	f.CreatedAt = f.UpdatedAt
	if exists {
		f.CreatedAt = old.CreatedAt
	}
	if err := put(tx, bucketForwards, f.ID, *f); err != nil {
		return err
	}
	if err := tx.eachForwardKey(*f, func(bucket, key []byte) error { return tx.putRaw(bucket, key, []byte{1}) }); err != nil {
		return err
	}
	tx.emitMesh(f.ConfigID)
	return nil
}

// meets reports whether both are enabled and wait on the same port of the same node.
func (f PortForward) meets(o PortForward) bool {
	return f.Enabled && o.Enabled && f.ToNodeID == o.ToNodeID && f.ToPort == o.ToPort &&
		(f.Protocol == o.Protocol || f.Protocol == ForwardAll || o.Protocol == ForwardAll)
}

// DeletePortForward removes the port forward. Error: [ErrForwardNotFound].
func (tx *Tx) DeletePortForward(id string) error {
	f, err := tx.PortForward(id)
	if err != nil {
		return err
	}
	if err := tx.eachForwardKey(f, tx.deleteRaw); err != nil {
		return err
	}
	tx.emitMesh(f.ConfigID)
	return tx.deleteRaw(bucketForwards, []byte(id))
}

// eachForwardKey calls fn for each entry of the indexes that leads to the port forward.
func (tx *Tx) eachForwardKey(f PortForward, fn func(bucket, key []byte) error) error {
	if err := fn(bucketForwardsByConfig, nodeNameKey(f.ConfigID, f.ID)); err != nil {
		return err
	}
	if err := fn(bucketForwardsByNode, nodeNameKey(f.FromNodeID, f.ID)); err != nil {
		return err
	}
	return fn(bucketForwardsByNode, nodeNameKey(f.ToNodeID, f.ID))
}
