package store

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"wfm/protocol"
)

var (
	bucketNodes     = []byte("nodes")      // id → Node
	bucketNodeNames = []byte("node_names") // config id, zero byte, name → id
)

// NodeType says whether a node has an agent.
type NodeType string

// The node types.
const (
	NodeDynamic NodeType = "dynamic" // has an agent
	NodeStatic  NodeType = "static"  // has none: a device configured by hand
)

// Node is one device of a mesh.
type Node struct {
	ID            string    `json:"id"`
	ConfigID      string    `json:"config_id"`
	Name          string    `json:"name"` // unique in its config
	Enabled       bool      `json:"enabled"`
	Type          NodeType  `json:"node_type"`
	InterfaceName string    `json:"interface_name"`
	Tags          []string  `json:"tags"`
	CreatedAt     time.Time `json:"created_at"`
	UpdatedAt     time.Time `json:"updated_at"`
	// Client is the node's bound agent; nil if the node is not initialized.
	Client *Client `json:"client,omitempty"`

	NodeSettings
}

// Client is the agent that a node is bound to.
type Client struct {
	Hostname     string    `json:"hostname"`
	Platform     string    `json:"platform"`
	Version      string    `json:"version"`
	Capabilities []string  `json:"capabilities,omitempty"`
	BoundAt      time.Time `json:"bound_at"`
	// PublicKey is the newest one that the agent reported for the tunnel, in base64; "" if it has none.
	PublicKey string `json:"public_key,omitempty"`
	// KeyPending is set from the bind of an agent that is to hold the node's key until it does.
	KeyPending bool `json:"key_pending,omitempty"`
	// MQTTHost is the broker's host name or address in the answer to the agent's bind.
	MQTTHost string `json:"mqtt_host,omitempty"`
}

// Can reports whether the bound agent announced the capability.
func (n Node) Can(capability string) bool {
	if n.Client == nil {
		return false
	}
	return slices.Contains(n.Client.Capabilities, capability)
}

func nodeNameKey(configID, name string) []byte {
	return append(append([]byte(configID), 0), name...)
}

// Node returns the node, or [ErrNodeNotFound].
func (tx *Tx) Node(id string) (Node, error) {
	if tx.recent == nil {
		return tx.readNode(id)
	}
	n, err := tx.node(id)
	return n.clone(), err
}

// readNode is like Node but does not keep the record in memory: for walks over all nodes.
func (tx *Tx) readNode(id string) (Node, error) {
	n, ok, err := get[Node](tx, bucketNodes, id)
	if err == nil && !ok {
		err = ErrNodeNotFound
	}
	return n, err
}

// node is like Node, but the record it returns is shared and must not be changed.
func (tx *Tx) node(id string) (Node, error) {
	n, ok, err := recall(tx, recentNodes, bucketNodes, id)
	if err == nil && !ok {
		err = ErrNodeNotFound
	}
	return n, err
}

// Nodes returns up to limit nodes (0: all) of the config, by name, beginning after the given name.
func (tx *Tx) Nodes(configID, after string, limit int) ([]Node, error) {
	var out []Node
	prefix := nodeNameKey(configID, "")
	start := nodeNameKey(configID, after)
	c := tx.cursor(bucketNodeNames)
	for k, id := c.Seek(start); bytes.HasPrefix(k, prefix) && (limit == 0 || len(out) < limit); k, id = c.Next() {
		if after != "" && string(k) == string(start) {
			continue
		}
		n, err := tx.readNode(string(id))
		if err != nil {
			return nil, fmt.Errorf("node named %q: %w", k[len(prefix):], indexError(err))
		}
		out = append(out, n)
	}
	return out, nil
}

// NodeIDs returns the ids of the config's nodes, by their names.
func (tx *Tx) NodeIDs(configID string) (ids []string) {
	prefix := nodeNameKey(configID, "")
	c := tx.cursor(bucketNodeNames)
	for k, id := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, id = c.Next() {
		ids = append(ids, string(id))
	}
	return ids
}

// NodeNamed returns the id of the config's node with the name; empty if there is none.
func (tx *Tx) NodeNamed(configID, name string) (id string) {
	return string(tx.getRaw(bucketNodeNames, nodeNameKey(configID, name)))
}

// NodeNamedAlike returns the name of the config's node whose name differs from the given one in upper
// and lower case only; empty if there is none.
func (tx *Tx) NodeNamedAlike(configID, name string) string {
	prefix := nodeNameKey(configID, "")
	c := tx.cursor(bucketNodeNames)
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		if other := k[len(prefix):]; bytes.EqualFold(other, []byte(name)) && string(other) != name {
			return string(other)
		}
	}
	return ""
}

// PutNode creates or changes the node and stamps it. It ignores n.Client: only binding and reset
// change the agent. Disabling a node or turning it static ends its session's right, see
// [Tx.ResetClient]. Changing the interface name clears the confirmed and reported config. Errors:
// [ErrConfigNotFound], [ErrNodeNameExists], [ErrTunnelRuns], [ErrAddressTaken], [ErrKeyTaken].
func (tx *Tx) PutNode(n *Node) error {
	if _, err := tx.Config(n.ConfigID); err != nil {
		return err
	}
	nameKey := nodeNameKey(n.ConfigID, n.Name)
	if id := tx.getRaw(bucketNodeNames, nameKey); id != nil && string(id) != n.ID {
		return ErrNodeNameExists
	}
	if err := tx.meshFree(*n); err != nil {
		return err
	}
	old, exists, err := get[Node](tx, bucketNodes, n.ID)
	if err != nil {
		return err
	}
	n.UpdatedAt = tx.now.UTC()
	n.CreatedAt, n.Client = n.UpdatedAt, nil
	renamed := exists && n.InterfaceName != old.InterfaceName && n.Type == NodeDynamic && old.Client != nil
	if renamed {
		if err := tx.forgetInterface(old); err != nil {
			return err
		}
	}
	if exists {
		if err := tx.dropMesh(old); err != nil {
			return err
		}
		if err := tx.deleteRaw(bucketInterfaces, interfaceKey(old)); err != nil {
			return err
		}
		n.CreatedAt, n.Client, n.ConfigID = old.CreatedAt, old.Client, old.ConfigID
		if err := tx.deleteRaw(bucketNodeNames, nodeNameKey(old.ConfigID, old.Name)); err != nil {
			return err
		}
	}
	if err := tx.putRaw(bucketNodeNames, nameKey, []byte(n.ID)); err != nil {
		return err
	}
	if err := tx.putRaw(bucketInterfaces, interfaceKey(*n), []byte{1}); err != nil {
		return err
	}
	if err := tx.indexMesh(*n); err != nil {
		return err
	}
	if err := tx.writeNode(*n); err != nil {
		return err
	}
	tx.Emit(Change{Kind: ChangeNode, ConfigID: n.ConfigID, NodeID: n.ID, Created: !exists})
	if !exists {
		return nil
	}
	switch {
	case old.Type == NodeDynamic && n.Type == NodeStatic:
		err = tx.resetClient(*n, "node turned static")
		n.Client = nil
	case old.Enabled && !n.Enabled:
		err = tx.cutOff(*n, "the node was disabled")
	}
	return err
}

// forgetInterface clears the state that belonged to the node's former interface name.
func (tx *Tx) forgetInterface(n Node) error {
	e, err := tx.Evidence(n.ID)
	if err != nil {
		return err
	}
	if e.TunnelRunning != nil && *e.TunnelRunning {
		return ErrTunnelRuns
	}
	e.TunnelRunning = nil
	if err := tx.putEvidence(n, e); err != nil {
		return err
	}
	if err := tx.forgetWanted(n.ID); err != nil { // under the new name nothing is stored on the node
		return err
	}
	return tx.forgetConfirmed(n)
}

func (tx *Tx) writeNode(n Node) error {
	tx.touchGrant(n.ID)
	return put(tx, bucketNodes, n.ID, n)
}

// DeleteNode removes the node and all its records, its links and its port forwards. Error:
// [ErrNodeNotFound].
func (tx *Tx) DeleteNode(id string) error {
	n, err := tx.Node(id)
	if err != nil {
		return err
	}
	if err := tx.leaveMesh(n); err != nil {
		return err
	}
	if err := tx.resetClient(n, "node deleted"); err != nil {
		return err
	}
	if err := tx.deleteCommands(id); err != nil {
		return err
	}
	if err := tx.deleteConf(id); err != nil {
		return err
	}
	if err := tx.deleteUnder(bucketJournal, seqPrefix(id)); err != nil {
		return err
	}
	if err := tx.deleteUnder(bucketTransitions, seqPrefix(id)); err != nil {
		return err
	}
	if err := tx.deleteRaw(bucketEvidence, []byte(id)); err != nil {
		return err
	}
	if err := tx.deleteRaw(bucketNodeNames, nodeNameKey(n.ConfigID, n.Name)); err != nil {
		return err
	}
	if err := tx.deleteRaw(bucketInterfaces, interfaceKey(n)); err != nil {
		return err
	}
	return tx.deleteRaw(bucketNodes, []byte(id))
}

// ResetClient takes the node back to the state before binding: credentials, bind tokens and runtime
// state are removed, open commands are cancelled, and the node is explicitly offline. Error: [ErrNodeNotFound].
func (tx *Tx) ResetClient(nodeID string) error {
	n, err := tx.Node(nodeID)
	if err != nil {
		return err
	}
	return tx.resetClient(n, "client reset")
}

func (tx *Tx) resetClient(n Node, reason string) error {
	if err := tx.deleteRaw(bucketCredentials, []byte(n.ID)); err != nil {
		return err
	}
	n.Client = nil
	if err := tx.writeNode(n); err != nil {
		return err
	}
	if err := tx.forgetConfirmed(n); err != nil {
		return err
	}
	retired, err := tx.retiredSession(n.ID)
	if err != nil {
		return err
	}
	if err := tx.putEvidence(n, Evidence{OfflineAt: tx.now.UTC(), OfflineReason: reason, RetiredSessionID: retired}); err != nil {
		return err
	}
	if err := tx.forgetWanted(n.ID); err != nil {
		return err
	}
	return tx.endWork(n, reason)
}

// cutOff ends everything in progress for a node that is no longer allowed, but keeps its binding:
// once enabled again, the same agent may return.
func (tx *Tx) cutOff(n Node, reason string) error {
	if err := tx.renewGeneration(n.ID); err != nil {
		return err
	}
	e, err := tx.Evidence(n.ID)
	if err != nil {
		return err
	}
	e.OfflineAt, e.OfflineReason = tx.now.UTC(), reason+", and was not heard of since"
	if err := tx.putEvidence(n, e); err != nil {
		return err
	}
	if err := tx.keepStopped(n.ID); err != nil {
		return err
	}
	return tx.endWork(n, reason)
}

func (tx *Tx) endWork(n Node, reason string) error {
	if err := tx.invalidateBindTokens(n.ID); err != nil {
		return err
	}
	if err := tx.cancelOpenCommands(n.ID, reason); err != nil {
		return err
	}
	tx.Emit(Change{Kind: ChangeNode, ConfigID: n.ConfigID, NodeID: n.ID})
	return tx.Note(n.ID, JournalEntry{Event: "offline", Message: reason})
}

// DeriveInterfaceName derives a Linux interface name (at most 15 bytes of [a-z0-9-]) from the names
// of a config and a node. It keeps the beginning of a long node name and the number at its end,
// which distinguishes it from others. The result is a proposal: neither unique nor stable across
// renames.
func DeriveInterfaceName(configName, nodeName string) string {
	c := plain(configName, 7)
	n := shortened(plain(nodeName, len(nodeName)), max(7, 14-max(len(c), 3)))
	name := "wg0"
	switch {
	case c != "" && n != "":
		name = c + "-" + n
	case c != "" || n != "":
		name = "wg-" + c + n
	}
	if !protocol.ValidInterfaceName(name) {
		return "wg0"
	}
	return name
}

// shortened cuts name to limit characters; if it ends with a number, the cut is before that number.
func shortened(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	number := name[len(strings.TrimRight(name, "0123456789")):]
	number = number[max(0, len(number)-limit+2):] // two letters stay
	return name[:limit-len(number)] + number
}

// withSuffix ends name with suffix, cutting it to the 15 bytes that Linux allows.
func withSuffix(name, suffix string) string { return name[:min(len(name), 15-len(suffix))] + suffix }

// plain returns the lower-case letters and digits of s, at most limit of them.
func plain(s string, limit int) string {
	out := make([]byte, 0, limit)
	for _, c := range []byte(s) {
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case (c < 'a' || c > 'z') && (c < '0' || c > '9'):
			continue
		}
		if len(out) < limit {
			out = append(out, c)
		}
	}
	return string(out)
}

// UpdateClient changes the record of the node's agent. It does nothing if the node has none. Error:
// [ErrNodeNotFound].
func (tx *Tx) UpdateClient(nodeID string, change func(*Client)) error {
	n, err := tx.Node(nodeID)
	if err != nil || n.Client == nil {
		return err
	}
	change(n.Client)
	tx.Emit(Change{Kind: ChangeNode, ConfigID: n.ConfigID, NodeID: n.ID})
	return put(tx, bucketNodes, n.ID, n)
}
