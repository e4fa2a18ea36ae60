package store

import (
	"bytes"
	"fmt"
	"slices"
)

var (
	bucketLinks         = []byte("links")           // id → Link
	bucketLinksByConfig = []byte("links_by_config") // config id, zero byte, link id → 1
	// bucketLinksByNode has each link twice: node id, zero byte, peer's node id, zero byte, link id → 1.
	bucketLinksByNode = []byte("links_by_node")
)

func linkOfConfigKey(l Link) []byte { return nodeNameKey(l.ConfigID, l.ID) }

// linkOfNodeKey is the key of the link under d's local node.
func linkOfNodeKey(l Link, d Direction) []byte {
	return append(append(nodeNameKey(d.LocalNodeID, d.PeerNodeID), 0), l.ID...)
}

// lastOf returns what follows the last zero byte of a key.
func lastOf(key []byte) string { return string(key[bytes.LastIndexByte(key, 0)+1:]) }

// Link returns the link, or [ErrLinkNotFound].
func (tx *Tx) Link(id string) (Link, error) {
	l, ok, err := recall(tx, recentLinks, bucketLinks, id)
	if err == nil && !ok {
		err = ErrLinkNotFound
	}
	return l.clone(), err
}

// Links returns all links of the config, by id.
func (tx *Tx) Links(configID string) ([]Link, error) {
	return tx.linksUnder(bucketLinksByConfig, nodeNameKey(configID, ""))
}

// LinkCount returns the number of links of the config, and reads none.
func (tx *Tx) LinkCount(configID string) (n int) {
	prefix := nodeNameKey(configID, "")
	c := tx.cursor(bucketLinksByConfig)
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		n++
	}
	return n
}

// LinksOfNode returns the links that the node is an end of, by the id of the other end.
func (tx *Tx) LinksOfNode(nodeID string) ([]Link, error) {
	return tx.linksUnder(bucketLinksByNode, nodeNameKey(nodeID, ""))
}

// LinksBetween returns the links of a pair of nodes, by id. At most one of them is enabled.
func (tx *Tx) LinksBetween(nodeID, peerNodeID string) ([]Link, error) {
	return tx.linksUnder(bucketLinksByNode, append(nodeNameKey(nodeID, peerNodeID), 0))
}

// LinkEnd is a link as seen from one of its nodes.
type LinkEnd struct{ LinkID, PeerNodeID string }

// LinkEnds is like LinksOfNode, but reads no link.
func (tx *Tx) LinkEnds(nodeID string) (ends []LinkEnd) {
	prefix := nodeNameKey(nodeID, "")
	c := tx.cursor(bucketLinksByNode)
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		peer, id, _ := bytes.Cut(k[len(prefix):], []byte{0})
		ends = append(ends, LinkEnd{string(id), string(peer)})
	}
	return ends
}

func (tx *Tx) linksUnder(index, prefix []byte) ([]Link, error) {
	var out []Link
	c := tx.cursor(index)
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		l, err := tx.Link(lastOf(k))
		if err != nil {
			return nil, fmt.Errorf("link %q: %w", lastOf(k), indexError(err))
		}
		out = append(out, l)
	}
	return out, nil
}

// PutLink creates or changes the link and stamps it. Its nodes and its config cannot change. Errors:
// [ErrLinkEnds], [ErrNodeNotFound], [ErrLinkExists].
func (tx *Tx) PutLink(l *Link) error {
	old, exists, err := get[Link](tx, bucketLinks, l.ID)
	if err != nil {
		return err
	}
	f, r := l.Forward, l.Reverse
	if f.LocalNodeID == f.PeerNodeID || f.LocalNodeID != r.PeerNodeID || f.PeerNodeID != r.LocalNodeID {
		return ErrLinkEnds
	}
	for _, id := range []string{f.LocalNodeID, f.PeerNodeID} {
		switch n, err := tx.node(id); {
		case err != nil:
			return err
		case n.ConfigID != l.ConfigID:
			return ErrLinkEnds
		}
	}
	if exists && (old.ConfigID != l.ConfigID || !slices.Equal(old.ends(), l.ends())) {
		return ErrLinkEnds
	}
	if l.Enabled {
		others, err := tx.LinksBetween(f.LocalNodeID, f.PeerNodeID)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(others, func(o Link) bool { return o.Enabled && o.ID != l.ID }) {
			return ErrLinkExists
		}
	}
	l.UpdatedAt = tx.now.UTC()
	l.CreatedAt = l.UpdatedAt
	if exists {
		l.CreatedAt = old.CreatedAt
	}
	if err := put(tx, bucketLinks, l.ID, *l); err != nil {
		return err
	}
	if err := tx.eachLinkKey(*l, func(bucket, key []byte) error { return tx.putRaw(bucket, key, []byte{1}) }); err != nil {
		return err
	}
	tx.emitMesh(l.ConfigID)
	return nil
}

// DeleteLink removes the link. Error: [ErrLinkNotFound].
func (tx *Tx) DeleteLink(id string) error {
	l, err := tx.Link(id)
	if err != nil {
		return err
	}
	if err := tx.eachLinkKey(l, tx.deleteRaw); err != nil {
		return err
	}
	tx.emitMesh(l.ConfigID)
	return tx.deleteRaw(bucketLinks, []byte(id))
}

// ends returns the ids of the link's nodes, in order.
func (l Link) ends() []string {
	ends := []string{l.Forward.LocalNodeID, l.Forward.PeerNodeID}
	slices.Sort(ends)
	return ends
}

// eachLinkKey calls fn for each entry of the indexes that leads to the link.
func (tx *Tx) eachLinkKey(l Link, fn func(bucket, key []byte) error) error {
	if err := fn(bucketLinksByConfig, linkOfConfigKey(l)); err != nil {
		return err
	}
	if err := fn(bucketLinksByNode, linkOfNodeKey(l, l.Forward)); err != nil {
		return err
	}
	return fn(bucketLinksByNode, linkOfNodeKey(l, l.Reverse))
}

// emitMesh tells that something of the mesh changed, once a transaction.
func (tx *Tx) emitMesh(configID string) {
	change := Change{Kind: ChangeMesh, ConfigID: configID}
	if !slices.Contains(tx.changes, change) {
		tx.Emit(change)
	}
}
