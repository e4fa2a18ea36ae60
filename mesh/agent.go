package mesh

import (
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
// appliance adds fit the system of the agent, and the private key is where the agent can have it. It
// stays on the node as soon as the agent can keep it, unless a person chose the appliance as its holder;
// from an agent that cannot, it goes back to the appliance. before is the node as it was. Errors: an
// [*Error] if a person chose that the node holds its key and the agent cannot, or if another node has
// the key; and see [Change].
func AgentChanged(tx *store.Tx, before, after store.Node, random io.Reader) error {
	if after.ConfigSource != store.SourceMesh {
		return runnable(tx, after)
	}
	n := after
	said, err := placeKey(&n)
	if err != nil {
		return err
	}
	system := func(n store.Node) string { return new(Mesh).platform(&member{Node: Node{Node: n}}) }
	if said == "" && system(before) == system(after) {
		return nil
	}
	if _, err := Change(tx, n.ConfigID, byAgent, random, func(e *Edit) error {
		e.edit([]string{n.ID})
		if said == "" {
			return nil
		}
		if n.KeyHolder == store.KeyAtNode {
			if other := keyOwner(e, n, n.PublicKey); other != "" {
				return refuse(CodeInvalidKey, "Another node of this mesh, %s, has the key of this agent; remove the agent's files, and bind it again.", other)
			}
		}
		return e.PutNode(&n)
	}); err != nil || said == "" {
		return err
	}
	return tx.Note(n.ID, store.JournalEntry{Level: "info", Event: eventKey, Message: said})
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

// newKeySaid is the journal's message about another key of a node that holds it.
const newKeySaid = "the node has a new key; it and its peers need their new tunnel configs"

// placeKey gives the private key of the node to the holder that fits its agent, and says so; "" if it
// stays as it is.
func placeKey(n *store.Node) (said string, err error) {
	reported := ""
	if n.Can(protocol.CapabilityNodeKey) {
		reported = n.Client.PublicKey
	}
	ours := n.PrivateKey != "" || n.PublicKey == "" // otherwise a device has the key, without an agent's help
	switch held := n.KeyHolder == store.KeyAtNode; {
	case held && reported == n.PublicKey && reported != "":
		return "", nil
	case reported != "" && (held || ours && !n.KeyChosen):
		n.KeyHolder, n.PrivateKey, n.PublicKey = store.KeyAtNode, "", reported
		if held {
			return newKeySaid, nil
		}
		return "the private key is kept on the node from now on; it and its peers need their new tunnel configs", nil
	case held && n.KeyChosen:
		return "", refuse(CodeKeyElsewhere, "The key of this node has to stay on it, and this agent cannot keep one. "+
			"Update the agent, or set key_holder of the node to appliance.")
	case held:
		n.KeyHolder, n.PrivateKey, n.PublicKey = store.KeyAtAppliance, "", ""
		return "the agent cannot keep a private key, so the appliance made a new pair; the peers of the node need their new tunnel configs", nil
	}
	return "", nil
}

// KeyDiffers reports whether the agent of a node that holds its key reported another one than the others
// have. [TakeKey] gives it to them.
func KeyDiffers(n store.Node) bool {
	return n.ConfigSource == store.SourceMesh && n.KeyHolder == store.KeyAtNode && n.Can(protocol.CapabilityNodeKey) &&
		n.Client.PublicKey != "" && n.Client.PublicKey != n.PublicKey
}

// TakeKey makes the tunnel configs anew that a key touches for which [KeyDiffers] holds, and does nothing
// otherwise. It stages nothing. Errors: an [*Error] if another node has the key, and see [Change]. After
// an error the transaction must be rolled back.
func TakeKey(tx *store.Tx, nodeID string, random io.Reader) (Changed, error) {
	n, err := tx.Node(nodeID)
	if err != nil || !KeyDiffers(n) {
		return Changed{}, err
	}
	changed, err := Change(tx, n.ConfigID, byAgent, random, func(e *Edit) error {
		if other := keyOwner(e, n, n.Client.PublicKey); other != "" {
			return refuse(CodeInvalidKey, "The node reported the public key of %s; it keeps its former one.", other)
		}
		n.PublicKey = n.Client.PublicKey
		return e.PutNode(&n)
	})
	if err != nil {
		return Changed{}, err
	}
	return changed, tx.Note(nodeID, store.JournalEntry{
		Level: "info", Event: eventKey, Message: newKeySaid,
	})
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
