package mesh

import (
	"errors"
	"io"
	"strings"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel/wgconf"
)

// byAgent is the author of tunnel configs that are new because of a node's agent.
const byAgent = "agent"

// Events in a node's journal about its key.
const (
	eventKey        = "node_key"         // the node has another key, or another one holds it
	eventKeyRefused = "node_key_refused" // the node reported a key that it cannot have
)

// AgentChanged makes tunnel configs anew after an agent was bound to the node: the hooks that the
// appliance adds fit the system of the agent, and from an agent that cannot keep the private key, it goes
// back to the appliance. before is the node as it was.
//
// An agent that can keep the key is noted, and [TakeKeys] moves the key soon after: when many agents are
// bound at once, the tunnel configs of a large mesh cannot be made anew for each of them while it waits.
//
// Errors: an [*Error] if the agent cannot run what the node must have, and see [Change].
func AgentChanged(tx *store.Tx, before, after store.Node, random io.Reader) error {
	if after.ConfigSource != store.SourceMesh {
		return runnable(tx, after)
	}
	if reported(after) != "" {
		if err := tx.UpdateClient(after.ID, func(c *store.Client) { c.KeyPending = true }); err != nil {
			return err
		}
	}
	n := after
	returns := n.KeyHolder == store.KeyAtNode && reported(n) == ""
	if returns && n.KeyChosen {
		return refuse(CodeKeyElsewhere, "The key of this node has to stay on it, and this agent cannot keep one. "+
			"Update the agent, or set key_holder of the node to appliance.")
	}
	system := func(n store.Node) string { return new(Mesh).platform(&member{Node: Node{Node: n}}) }
	if !returns && system(before) == system(after) {
		return nil
	}
	if _, err := Change(tx, n.ConfigID, byAgent, random, func(e *Edit) error {
		e.edit([]string{n.ID})
		if !returns {
			return nil
		}
		n.KeyHolder, n.PrivateKey, n.PublicKey = store.KeyAtAppliance, "", ""
		return e.PutNode(&n)
	}); err != nil || !returns {
		return err
	}
	return tx.Note(n.ID, store.JournalEntry{
		Level: "info", Event: eventKey,
		Message: "the agent cannot keep a private key, so the appliance made a new pair; the node and its peers need their new tunnel configs",
	})
}

// runnable refuses an agent that cannot run the hand-written config of the node.
func runnable(tx *store.Tx, n store.Node) error {
	if n.Can(protocol.CapabilityNodeKey) {
		return nil
	}
	text, err := desiredText(tx, n.ID)
	if kept, _ := wgconf.Kept(text); kept {
		return refuse(CodeKeyElsewhere, "The tunnel config of this node leaves the private key to the node, and this agent cannot keep one. "+
			"Update the agent, or give the tunnel config a private key.")
	}
	return err
}

// reported returns the public key of the pair that the node's agent keeps, "" if it keeps none.
func reported(n store.Node) string {
	if n.Client == nil || !n.Can(protocol.CapabilityNodeKey) {
		return ""
	}
	return n.Client.PublicKey
}

// KeyDiffers reports whether the node's agent has a key that the others have to be given: the node holds
// its key and reported another one, or an agent was bound to it that is to hold the key. [TakeKeys] gives
// it to them.
func KeyDiffers(n store.Node) bool {
	if n.ConfigSource != store.SourceMesh || reported(n) == "" {
		return false
	}
	if n.KeyHolder == store.KeyAtNode {
		return reported(n) != n.PublicKey
	}
	// Without a private key, a device has it without the agent's help.
	return n.Client.KeyPending && !n.KeyChosen && n.PrivateKey != ""
}

// TakeKeys makes the tunnel configs anew that the keys touch of the nodes for which [KeyDiffers] holds; the
// others stay as they are. It stages nothing. A key that another node of the mesh has is refused, with the
// reason by the node's id. Errors: see [Change]. After an error the transaction must be rolled back.
func TakeKeys(tx *store.Tx, configID string, nodeIDs []string, random io.Reader) (changed Changed, refused map[string]*Error, err error) {
	refused = map[string]*Error{}
	changed, err = Change(tx, configID, byAgent, random, func(e *Edit) error {
		for _, id := range nodeIDs {
			n, err := tx.Node(id)
			if errors.Is(err, store.ErrNodeNotFound) || err == nil && !KeyDiffers(n) {
				continue
			}
			if err != nil {
				return err
			}
			if other := keyOwner(e, n, reported(n)); other != "" {
				refused[id] = refuse(CodeInvalidKey, "The node reported the public key of %s; its former one stays.", other)
				continue
			}
			if err := takeKey(e, n); err != nil {
				return err
			}
		}
		return nil
	})
	return changed, refused, err
}

func takeKey(e *Edit, n store.Node) error {
	said := "the node has a new key; it and its peers need their new tunnel configs"
	if n.KeyHolder != store.KeyAtNode {
		said = "the private key is kept on the node from now on; it and its peers need their new tunnel configs"
	}
	n.KeyHolder, n.PrivateKey, n.PublicKey = store.KeyAtNode, "", reported(n)
	if err := e.PutNode(&n); err != nil {
		return err
	}
	if err := e.tx.UpdateClient(n.ID, func(c *store.Client) { c.KeyPending = false }); err != nil {
		return err
	}
	return e.tx.Note(n.ID, store.JournalEntry{Level: "info", Event: eventKey, Message: said})
}

// TakeKey is [TakeKeys] for one node. A refused key is an [*Error].
func TakeKey(tx *store.Tx, nodeID string, random io.Reader) (Changed, error) {
	n, err := tx.Node(nodeID)
	if err != nil || !KeyDiffers(n) {
		return Changed{}, err
	}
	changed, refused, err := TakeKeys(tx, n.ConfigID, []string{nodeID}, random)
	if why := refused[nodeID]; err == nil && why != nil {
		err = why
	}
	return changed, err
}

// KeyRefused notes in the node's journal why [TakeKey] refused its key.
func KeyRefused(tx *store.Tx, nodeID string, why *Error) error {
	return tx.Note(nodeID, store.JournalEntry{Level: "error", Event: eventKeyRefused, Message: strings.TrimSuffix(why.Message, ".")})
}

// keyOwner returns the name of the other node of the mesh that has the public key, "" if there is none.
func keyOwner(e *Edit, n store.Node, public string) string {
	ids := e.tx.TextNodes(n.ConfigID)
	if id := e.tx.NodeWithPublicKey(n.ConfigID, public); id != "" {
		ids = append(ids, id)
	}
	cfg, err := e.tx.Config(n.ConfigID)
	if err != nil {
		return ""
	}
	for _, id := range ids {
		if id == n.ID {
			continue
		}
		if other, err := e.node(cfg, id); err == nil && other.Key() == public {
			return other.Name
		}
	}
	return ""
}

// RotatedByAgent reports whether the node's agent has to make a new key pair, and not [Edit.RotateKey].
func RotatedByAgent(n store.Node) bool {
	return n.ConfigSource == store.SourceMesh && n.KeyHolder == store.KeyAtNode && n.Type == store.NodeDynamic
}

// KeyUsers returns the nodes whose tunnel configs, made from the mesh, have the key of the node: itself
// and its peers, in order.
func KeyUsers(tx *store.Tx, n store.Node) ([]string, error) {
	e := &Edit{tx: tx, id: n.ConfigID}
	ids := append(e.Peers(n.ID), n.ID)
	var users []string
	for _, id := range sortedIDs(ids) {
		peer, err := tx.Node(id)
		if err != nil {
			return nil, err
		}
		if peer.Enabled && peer.ConfigSource == store.SourceMesh {
			users = append(users, id)
		}
	}
	return users, nil
}
