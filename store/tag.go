package store

import (
	"bytes"
	"maps"
	"slices"
)

// bucketTags has the tags that a config keeps even if no node has them: config id, zero byte, name
// → nothing.
var bucketTags = []byte("tags")

// Bounds of tags: the number that a node can have, and the number that a config keeps without a
// node.
const (
	MaxNodeTags   = 16
	MaxConfigTags = 1000
)

// Tag is a tag of a config, with the number of its nodes that have it.
type Tag struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// Tags returns the config's tags by name: those kept by [Tx.KeepTag] and those that nodes have.
// Error: [ErrConfigNotFound].
func (tx *Tx) Tags(configID string) ([]Tag, error) {
	if _, err := tx.Config(configID); err != nil {
		return nil, err
	}
	counts := make(map[string]int)
	for _, name := range tx.keptTags(configID) {
		counts[name] = 0
	}
	if err := tx.eachNode(configID, func(n Node) error {
		for _, tag := range n.Tags {
			counts[tag]++
		}
		return nil
	}); err != nil {
		return nil, err
	}
	tags := make([]Tag, 0, len(counts))
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		tags = append(tags, Tag{name, counts[name]})
	}
	return tags, nil
}

func (tx *Tx) keptTags(configID string) (names []string) {
	prefix := nodeNameKey(configID, "")
	for _, key := range tx.keysUnder(bucketTags, prefix, 0) {
		names = append(names, string(key[len(prefix):]))
	}
	return names
}

// KeepTag makes the config keep the tag even while no node has it. Errors: [ErrConfigNotFound],
// [ErrTooManyTags].
func (tx *Tx) KeepTag(configID, name string) error {
	if _, err := tx.Config(configID); err != nil {
		return err
	}
	key := nodeNameKey(configID, name)
	if tx.getRaw(bucketTags, key) != nil {
		return nil
	}
	if len(tx.keptTags(configID)) >= MaxConfigTags {
		return ErrTooManyTags
	}
	tx.Emit(Change{Kind: ChangeConfig, ConfigID: configID})
	return tx.putRaw(bucketTags, key, []byte{1})
}

// SetTags replaces the node's tags. Duplicates count once. Errors: [ErrNodeNotFound],
// [ErrNodeTags].
func (tx *Tx) SetTags(nodeID string, tags []string) (Node, error) {
	n, err := tx.Node(nodeID)
	if err != nil {
		return n, err
	}
	unique := make([]string, 0, len(tags))
	for _, tag := range tags {
		if !slices.Contains(unique, tag) {
			unique = append(unique, tag)
		}
	}
	if len(unique) > MaxNodeTags {
		return n, ErrNodeTags
	}
	if slices.Equal(unique, n.Tags) {
		return n, nil
	}
	n.Tags, n.UpdatedAt = unique, tx.now.UTC()
	tx.Emit(Change{Kind: ChangeNode, ConfigID: n.ConfigID, NodeID: n.ID})
	return n, put(tx, bucketNodes, n.ID, n)
}

// DeleteTag removes the tag from the config and all its nodes, and returns how many of them had it.
// Errors: [ErrConfigNotFound], [ErrTagNotFound].
func (tx *Tx) DeleteTag(configID, name string) (removed int, err error) {
	if _, err := tx.Config(configID); err != nil {
		return 0, err
	}
	kept := tx.getRaw(bucketTags, nodeNameKey(configID, name)) != nil
	err = tx.eachNode(configID, func(n Node) error {
		i := slices.Index(n.Tags, name)
		if i < 0 {
			return nil
		}
		removed++
		_, err := tx.SetTags(n.ID, slices.Delete(n.Tags, i, i+1))
		return err
	})
	switch {
	case err != nil:
		return 0, err
	case !kept && removed == 0:
		return 0, ErrTagNotFound
	}
	tx.Emit(Change{Kind: ChangeConfig, ConfigID: configID})
	return removed, tx.deleteRaw(bucketTags, nodeNameKey(configID, name))
}

// bucketInterfaces finds an interface name in use: config id, zero byte, name, zero byte, node id →
// nothing. Several nodes may have the same name, since each is another machine.
var bucketInterfaces = []byte("interface_names")

func interfaceKey(n Node) []byte {
	key := append(nodeNameKey(n.ConfigID, n.InterfaceName), 0)
	return append(key, n.ID...)
}

// interfaceTaken reports whether another node of the config has an interface of that name.
func (tx *Tx) interfaceTaken(configID, name, nodeID string) bool {
	prefix := append(nodeNameKey(configID, name), 0)
	c := tx.cursor(bucketInterfaces)
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		if !bytes.Equal(k[len(prefix):], []byte(nodeID)) {
			return true
		}
	}
	return false
}

// FreeInterfaceName derives an interface name for the node from its name and its config's, see
// [DeriveInterfaceName]. No other node of the config has that name, and it is not among the reserved
// ones.
func (tx *Tx) FreeInterfaceName(cfg Config, n Node, reserved map[string]bool) string {
	base := DeriveInterfaceName(cfg.Name, n.Name)
	free := func(name string) bool { return !reserved[name] && !tx.interfaceTaken(n.ConfigID, name, n.ID) }
	if free(base) {
		return base
	}
	// A few nodes with similar names are numbered. Counting through thousands takes long, so the
	// next attempts append four characters of the node's id.
	for i := byte('2'); i <= '9'; i++ {
		if name := withSuffix(base, string(i)); free(name) {
			return name
		}
	}
	id := plain(n.ID, len(n.ID))
	for end := len(id); end >= 4; end-- {
		if name := withSuffix(base, "-"+id[end-4:end]); free(name) {
			return name
		}
	}
	return base // every part of its random id is taken
}
