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
	// Client is what the bound agent told about itself; nil while the node is not initialized.
	Client *Client `json:"client,omitempty"`

	NodeSettings
}

// Client is the agent a node is bound to.
type Client struct {
	Hostname     string    `json:"hostname"`
	Platform     string    `json:"platform"`
	Version      string    `json:"version"`
	Capabilities []string  `json:"capabilities,omitempty"`
	BoundAt      time.Time `json:"bound_at"`
	// MQTTHost is the name or address under which the agent was told to find the broker.
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

// readNode is Node, but keeps nothing of what it read: for walks through a whole fleet.
func (tx *Tx) readNode(id string) (Node, error) {
	n, ok, err := get[Node](tx, bucketNodes, id)
	if err == nil && !ok {
		err = ErrNodeNotFound
	}
	return n, err
}

// node is Node, but what it returns is shared and must not be changed.
func (tx *Tx) node(id string) (Node, error) {
	n, ok, err := recall(tx, recentNodes, bucketNodes, id)
	if err == nil && !ok {
		err = ErrNodeNotFound
	}
	return n, err
}

// Nodes returns up to limit nodes (0: all) of the config by name, from after the name given.
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

// NodeNamed returns the id of the config's node of that name; empty when there is none.
func (tx *Tx) NodeNamed(configID, name string) (id string) {
	return string(tx.getRaw(bucketNodeNames, nodeNameKey(configID, name)))
}

// PutNode creates or changes the node and stamps it. Client is kept as stored: only binding and
// reset change it. A node that is now disabled or static loses its session's right to exist, see
// [Tx.ResetClient]. Under another interface name it has confirmed and reported nothing. Errors:
// [ErrConfigNotFound], [ErrNodeNameExists], [ErrTunnelRuns].
func (tx *Tx) PutNode(n *Node) error {
	if _, err := tx.Config(n.ConfigID); err != nil {
		return err
	}
	nameKey := nodeNameKey(n.ConfigID, n.Name)
	if id := tx.getRaw(bucketNodeNames, nameKey); id != nil && string(id) != n.ID {
		return ErrNodeNameExists
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

// forgetInterface is for a node whose interface is to have another name.
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

// DeleteNode removes the node and everything kept under it. Error: [ErrNodeNotFound].
func (tx *Tx) DeleteNode(id string) error {
	n, err := tx.Node(id)
	if err != nil {
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

// ResetClient takes the node back to the state before binding: credentials, bind tokens and
// runtime state go, open commands are cancelled, the node is explicitly offline. Whoever calls it
// kicks the live session after the commit. Error: [ErrNodeNotFound].
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
	return tx.endWork(n, reason)
}

// cutOff ends what runs with a node that is no longer allowed, but keeps its binding: enabling it
// again lets the same agent back in.
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
	return tx.endWork(n, reason)
}

func (tx *Tx) endWork(n Node, reason string) error {
	if err := tx.invalidateBindTokens(n.ID); err != nil {
		return err
	}
	if err := tx.cancelOpenCommands(n.ID, reason); err != nil {
		return err
	}
	if err := tx.forgetWanted(n.ID); err != nil {
		return err
	}
	tx.Emit(Change{Kind: ChangeNode, ConfigID: n.ConfigID, NodeID: n.ID})
	return tx.Note(n.ID, JournalEntry{Event: "offline", Message: reason})
}

// DeriveInterfaceName makes a Linux interface name (at most 15 bytes of [a-z0-9-]) from the names
// of a config and a node. Of a long node name it keeps the beginning and the number at the end, which
// tells it from others. It is a proposal: neither unique nor stable against renaming.
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

// shortened cuts name to limit characters, out of its middle if it ends with a number.
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

// plain keeps lower-case letters and digits, at most limit of them.
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

// UpdateClient changes what is known of the node's agent. A node without one is left alone. Error:
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
