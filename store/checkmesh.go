package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// checkMesh checks that links and port forwards join nodes that exist, and that the indexes of the
// mesh and the records agree.
func checkMesh(tx *Tx, tell func(error) bool) error {
	for _, check := range []func(*Tx, func(error) bool) error{checkLinks, checkForwards, checkAddresses} {
		if err := check(tx, tell); err != nil {
			return err
		}
	}
	return nil
}

func checkLinks(tx *Tx, tell func(error) bool) error {
	if err := tx.each(bucketLinks, tell, func(id, _ []byte) error {
		l, err := tx.Link(string(id))
		if err != nil {
			return err
		}
		if err := tx.joined(l.ConfigID, l.ends()...); err != nil {
			return fmt.Errorf("link %s %w", id, err)
		}
		if err := tx.eachLinkKey(l, tx.indexed); err != nil {
			return fmt.Errorf("link %s %w", id, err)
		}
		return nil
	}); err != nil {
		return err
	}
	return tx.eachIndexed(tell, func(id string, is func(bucket, key []byte) error) error {
		l, err := tx.Link(id)
		if err != nil {
			return err
		}
		return tx.eachLinkKey(l, is)
	}, bucketLinksByConfig, bucketLinksByNode)
}

func checkForwards(tx *Tx, tell func(error) bool) error {
	if err := tx.each(bucketForwards, tell, func(id, _ []byte) error {
		f, err := tx.PortForward(string(id))
		if err != nil {
			return err
		}
		if err := tx.joined(f.ConfigID, f.FromNodeID, f.ToNodeID); err != nil {
			return fmt.Errorf("port forward %s %w", id, err)
		}
		if err := tx.eachForwardKey(f, tx.indexed); err != nil {
			return fmt.Errorf("port forward %s %w", id, err)
		}
		return nil
	}); err != nil {
		return err
	}
	return tx.eachIndexed(tell, func(id string, is func(bucket, key []byte) error) error {
		f, err := tx.PortForward(id)
		if err != nil {
			return err
		}
		return tx.eachForwardKey(f, is)
	}, bucketForwardsByConfig, bucketForwardsByNode)
}

// joined checks that the nodes exist, in the config.
func (tx *Tx) joined(configID string, nodes ...string) error {
	for _, id := range nodes {
		if n, err := tx.Node(id); err != nil || n.ConfigID != configID {
			return fmt.Errorf("joins node %s, which is not in its config", id)
		}
	}
	return nil
}

// indexed checks that the index has the key.
func (tx *Tx) indexed(bucket, key []byte) error {
	if tx.getRaw(bucket, key) == nil {
		return fmt.Errorf("is not in %s", bucket)
	}
	return nil
}

// errIndexed ends the walk over a record's keys at the one that was looked for.
var errIndexed = errors.New("the key was found")

// eachIndexed checks that each key of the indexes is one of those that keys calls its function with
// for the record whose id ends the key.
func (tx *Tx) eachIndexed(tell func(error) bool, keys func(id string, is func(bucket, key []byte) error) error, indexes ...[]byte) error {
	for _, index := range indexes {
		if err := tx.each(index, tell, func(key, _ []byte) error {
			if err := keys(lastOf(key), func(b, k []byte) error {
				if bytes.Equal(b, index) && bytes.Equal(k, key) {
					return errIndexed
				}
				return nil
			}); !errors.Is(err, errIndexed) {
				return fmt.Errorf("it leads to %q, which does not belong there", lastOf(key))
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func checkAddresses(tx *Tx, tell func(error) bool) error {
	if err := tx.each(bucketNodes, tell, func(id, _ []byte) error {
		n, err := tx.Node(string(id))
		if err != nil {
			return err
		}
		for _, k := range traits(n) {
			if err := tx.indexed(bucketNodeTraits, k); err != nil {
				return fmt.Errorf("node %s %w", id, err)
			}
		}
		addresses, keys := meshKeys(n)
		for bucket, keys := range map[string][][]byte{string(bucketAddresses): addresses, string(bucketPublicKeys): keys} {
			for _, k := range keys {
				if !bytes.Equal(tx.getRaw([]byte(bucket), k), id) {
					return fmt.Errorf("node %s is not in %s", id, bucket)
				}
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for _, bucket := range [][]byte{bucketAddresses, bucketPublicKeys} {
		if err := tx.each(bucket, tell, func(key, id []byte) error {
			n, err := tx.Node(string(id))
			addresses, keys := meshKeys(n)
			if err != nil || !slices.ContainsFunc(slices.Concat(addresses, keys), func(k []byte) bool { return bytes.Equal(k, key) }) {
				return fmt.Errorf("it leads to node %s, which does not have that", id)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return tx.each(bucketNodeTraits, tell, func(key, _ []byte) error {
		_, id, _ := bytes.Cut(key, []byte{0})
		n, err := tx.Node(string(id[min(1, len(id)):]))
		if err != nil || !slices.ContainsFunc(traits(n), func(k []byte) bool { return bytes.Equal(k, key) }) {
			return fmt.Errorf("it leads to node %s, which does not have that", n.ID)
		}
		return nil
	})
}
