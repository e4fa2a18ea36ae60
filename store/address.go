package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"

	"go.etcd.io/bbolt"
)

var (
	// bucketAddresses finds the node with an address in the tunnel: config id, zero byte, the address in
	// 16 bytes (IPv4 mapped into IPv6) → node id.
	bucketAddresses = []byte("tunnel_addresses")
	// bucketPublicKeys finds the node with a public key: config id, zero byte, the key → node id.
	bucketPublicKeys = []byte("public_keys")
	// bucketNodeTraits finds the nodes that need care in a mesh: config id, zero byte, trait, node id → 1.
	bucketNodeTraits = []byte("node_traits")
)

// The traits of nodes.
const (
	traitRoutes = 'r' // it has routes
	traitText   = 't' // its config is written by hand
)

func traitKey(configID string, trait byte, nodeID string) []byte {
	return append(append(nodeNameKey(configID, ""), trait), nodeID...)
}

// traits returns the node's entries in the index of traits.
func traits(n Node) (keys [][]byte) {
	if len(n.Routes) > 0 {
		keys = append(keys, traitKey(n.ConfigID, traitRoutes, n.ID))
	}
	if n.ConfigSource == SourceText {
		keys = append(keys, traitKey(n.ConfigID, traitText, n.ID))
	}
	return keys
}

// RoutedNodes returns the ids of the config's nodes that have routes.
func (tx *Tx) RoutedNodes(configID string) (ids []string) { return tx.withTrait(configID, traitRoutes) }

// TextNodes returns the ids of the config's nodes with [SourceText].
func (tx *Tx) TextNodes(configID string) (ids []string) { return tx.withTrait(configID, traitText) }

func (tx *Tx) withTrait(configID string, trait byte) (ids []string) {
	prefix := traitKey(configID, trait, "")
	for _, k := range tx.keysUnder(bucketNodeTraits, prefix, 0) {
		ids = append(ids, string(k[len(prefix):]))
	}
	return ids
}

// indexTraits creates the index of the nodes' traits.
func indexTraits(tx *bbolt.Tx) error {
	if err := createBuckets(bucketNodeTraits)(tx); err != nil {
		return err
	}
	index := tx.Bucket(bucketNodeTraits)
	return tx.Bucket(bucketNodes).ForEach(func(id, raw []byte) error {
		var n Node
		if err := json.Unmarshal(raw, &n); err != nil {
			return fmt.Errorf("read node %q: %w", id, err)
		}
		for _, k := range traits(n) {
			if err := index.Put(k, []byte{1}); err != nil {
				return err
			}
		}
		return nil
	})
}

func addressKey(configID string, a netip.Addr) []byte {
	raw := a.As16()
	return append(nodeNameKey(configID, ""), raw[:]...)
}

// meshKeys returns the node's entries in the indexes of addresses and public keys.
func meshKeys(n Node) (addresses, keys [][]byte) {
	for _, p := range []netip.Prefix{n.VirtualIP, n.VirtualIP6} {
		if p.IsValid() {
			addresses = append(addresses, addressKey(n.ConfigID, p.Addr()))
		}
	}
	if n.PublicKey != "" {
		keys = append(keys, nodeNameKey(n.ConfigID, n.PublicKey))
	}
	return addresses, keys
}

// NodeWithAddress returns the id of the config's node with the address in the tunnel; empty if there is
// none.
func (tx *Tx) NodeWithAddress(configID string, a netip.Addr) (id string) {
	return string(tx.getRaw(bucketAddresses, addressKey(configID, a)))
}

// NodeWithPublicKey returns the id of the config's node with the key in base64; empty if there is none.
func (tx *Tx) NodeWithPublicKey(configID, key string) (id string) {
	return string(tx.getRaw(bucketPublicKeys, nodeNameKey(configID, key)))
}

// Addresses returns the addresses that the config's nodes have in the tunnel: IPv4 before IPv6, each in
// order.
func (tx *Tx) Addresses(configID string) (out []netip.Addr) {
	prefix := nodeNameKey(configID, "")
	c := tx.cursor(bucketAddresses)
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		if a, ok := netip.AddrFromSlice(k[len(prefix):]); ok {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// meshFree checks that no other node of the config has the node's addresses or key. Errors:
// [ErrAddressTaken], [ErrKeyTaken].
func (tx *Tx) meshFree(n Node) error {
	addresses, keys := meshKeys(n)
	for _, k := range addresses {
		if id := tx.getRaw(bucketAddresses, k); id != nil && string(id) != n.ID {
			return ErrAddressTaken
		}
	}
	for _, k := range keys {
		if id := tx.getRaw(bucketPublicKeys, k); id != nil && string(id) != n.ID {
			return ErrKeyTaken
		}
	}
	return nil
}

// indexMesh adds the node's entries to the indexes.
func (tx *Tx) indexMesh(n Node) error {
	addresses, keys := meshKeys(n)
	for _, k := range traits(n) {
		if err := tx.putRaw(bucketNodeTraits, k, []byte{1}); err != nil {
			return err
		}
	}
	for _, k := range addresses {
		if err := tx.putRaw(bucketAddresses, k, []byte(n.ID)); err != nil {
			return err
		}
	}
	for _, k := range keys {
		if err := tx.putRaw(bucketPublicKeys, k, []byte(n.ID)); err != nil {
			return err
		}
	}
	return nil
}

// leaveMesh removes the node's links, port forwards, addresses and key.
func (tx *Tx) leaveMesh(n Node) error {
	links, err := tx.LinksOfNode(n.ID)
	if err != nil {
		return err
	}
	for _, l := range links {
		if err := tx.DeleteLink(l.ID); err != nil {
			return err
		}
	}
	forwards, err := tx.PortForwardsOfNode(n.ID)
	if err != nil {
		return err
	}
	for _, f := range forwards {
		if err := tx.DeletePortForward(f.ID); err != nil {
			return err
		}
	}
	return tx.dropMesh(n)
}

// dropMesh removes the node's entries from the indexes.
func (tx *Tx) dropMesh(n Node) error {
	addresses, keys := meshKeys(n)
	for _, k := range traits(n) {
		if err := tx.deleteRaw(bucketNodeTraits, k); err != nil {
			return err
		}
	}
	for _, k := range addresses {
		if err := tx.deleteRaw(bucketAddresses, k); err != nil {
			return err
		}
	}
	for _, k := range keys {
		if err := tx.deleteRaw(bucketPublicKeys, k); err != nil {
			return err
		}
	}
	return nil
}
