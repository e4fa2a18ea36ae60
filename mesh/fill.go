package mesh

import (
	"errors"
	"io"
	"net/netip"
	"strings"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
)

// fillNode checks the node's keys and addresses, and sets those that are missing if its config is
// made from the mesh.
func (e *Edit) fillNode(cfg store.Config, before *Node, n *store.Node) error {
	if n.ConfigSource != store.SourceMesh {
		return nil
	}
	if before != nil && before.ConfigSource == store.SourceText {
		if err := e.takeOver(cfg, before.Node, n); err != nil {
			return err
		}
	}
	if err := e.fillKeys(before, n); err != nil {
		return err
	}
	if err := e.fillAddresses(cfg, before, n); err != nil {
		return err
	}
	if isAWG(cfg) && lacksAWG(n.AWG) {
		awg, err := NewAWGNode("", "", e.random)
		if err != nil {
			return err
		}
		n.AWG = withPackets(n.AWG, awg)
	}
	return nil
}

// takeOver sets the keys, addresses and settings that the change does not give to those of the node's
// own config, since that is the one in use.
func (e *Edit) takeOver(cfg store.Config, before store.Node, n *store.Node) error {
	text, err := desiredText(e.tx, n.ID)
	if err != nil || text == "" {
		return err
	}
	c, err := tunnel.Read(cfg, n.ID, text)
	if err != nil {
		return nil //nolint:nilerr // a text that cannot be read has nothing to keep
	}
	keysGiven := n.PrivateKey != before.PrivateKey || n.PublicKey != before.PublicKey || n.KeyHolder != before.KeyHolder
	switch {
	case keysGiven:
	case c.Interface.KeptLine != 0:
		n.KeyHolder = store.KeyAtNode
	case c.Interface.HasPrivateKey:
		n.KeyHolder, n.PrivateKey, n.PublicKey = store.KeyAtAppliance, privateKeyIn(text), ""
		n.KeyChosen = true // its peers may have it outside of the mesh
	}
	if len(c.Interface.Addresses) > 0 && n.VirtualIP == before.VirtualIP && n.VirtualIP6 == before.VirtualIP6 {
		n.VirtualIP, n.VirtualIP6 = netip.Prefix{}, netip.Prefix{}
	}
	for _, a := range c.Interface.Addresses {
		to := &n.VirtualIP
		if a.Addr().Is6() && (n.VirtualIP.IsValid() || cfg.VirtualSubnet.IsValid() && cfg.VirtualSubnet.Addr().Is4()) {
			to = &n.VirtualIP6
		}
		if !to.IsValid() {
			*to = netip.PrefixFrom(a.Addr(), a.Addr().BitLen())
		}
	}
	if n.ListenPort == before.ListenPort && c.Interface.ListenPort != 0 {
		n.ListenPort = c.Interface.ListenPort
	}
	if n.MTU == before.MTU && c.Interface.MTU != 0 {
		n.MTU = c.Interface.MTU
	}
	return nil
}

// privateKeyIn returns the private key in a config that the parser accepts.
func privateKeyIn(text string) string {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		key, value, _ := strings.Cut(line, "=")
		if strings.EqualFold(strings.TrimSpace(key), "PrivateKey") {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// fillKeys derives the public key, or makes a key pair if there is none.
func (e *Edit) fillKeys(before *Node, n *store.Node) error {
	switch {
	case n.KeyHolder == store.KeyAtNode && before != nil && before.Type == store.NodeDynamic && n.Type == store.NodeStatic && !n.KeyChosen:
		return renewKeys(e.random, n) // the agent takes its key along
	case n.KeyHolder == store.KeyAtNode:
		return leaveKey(e, before, n)
	case n.PrivateKey == "" && n.PublicKey != "" && (before == nil || before.KeyHolder == n.KeyHolder || before.PublicKey != n.PublicKey):
		return nil // the device has the private key
	case n.PrivateKey == "":
		return renewKeys(e.random, n)
	}
	public, err := PublicKey(n.PrivateKey)
	if err != nil {
		return err
	}
	kept := before != nil && before.PublicKey == n.PublicKey // and the private key is a new one
	if n.PublicKey != "" && n.PublicKey != public && !kept {
		return refuse(CodeInvalidKey, "public_key does not belong to private_key; give the private key alone, or both of one pair.")
	}
	n.PublicKey = public
	return nil
}

// renewKeys makes a key pair that the appliance has.
func renewKeys(random io.Reader, n *store.Node) error {
	keys, err := NewKeys(random)
	if err != nil {
		return err
	}
	n.KeyHolder, n.PrivateKey, n.PublicKey = store.KeyAtAppliance, keys.Private, keys.Public
	return nil
}

// leaveKey leaves the private key to the node. Until the agent reports its key, the others keep the
// former one.
func leaveKey(e *Edit, before *Node, n *store.Node) error {
	n.PrivateKey = ""
	if n.Client == nil || n.Type != store.NodeDynamic {
		return nil
	}
	if !n.Can(protocol.CapabilityNodeKey) && (before == nil || before.KeyHolder != store.KeyAtNode) {
		return refuse(CodeInvalidKey, "key_holder cannot be node, since the agent of %s keeps no key of its own; update the agent first.", n.Name)
	}
	if before != nil && before.KeyHolder == store.KeyAtNode && before.PublicKey != n.PublicKey {
		return nil // the change is about this key
	}
	if reported := n.Client.PublicKey; reported != "" && keyOwner(e, *n, reported) == "" {
		n.PublicKey = reported
	}
	return nil
}

// fillAddresses checks new addresses, and gives the next free ones of the mesh's subnets.
func (e *Edit) fillAddresses(cfg store.Config, before *Node, n *store.Node) error {
	subnets := subnetsOf(cfg)
	for _, a := range []struct {
		subnet  netip.Prefix
		address *netip.Prefix
		was     func(Node) netip.Prefix
	}{
		{cfg.VirtualSubnet, &n.VirtualIP, func(n Node) netip.Prefix { return n.VirtualIP }},
		{cfg.VirtualSubnet6, &n.VirtualIP6, func(n Node) netip.Prefix { return n.VirtualIP6 }},
	} {
		switch {
		case a.address.IsValid() && before != nil && a.was(*before) == *a.address:
			continue
		case a.address.IsValid():
			warning, err := CheckAddress(*a.address, subnets, e.owner(n))
			if err != nil {
				return err
			}
			if warning != "" {
				e.hints = append(e.hints, warning)
			}
		case a.subnet.IsValid():
			taken, err := e.takenAddresses(cfg)
			if err != nil {
				return err
			}
			if *a.address, err = NextAddress(a.subnet, taken); err != nil {
				return err
			}
		default:
			continue
		}
		if e.taken != nil {
			e.taken = append(e.taken, a.address.Addr())
		}
	}
	return nil
}

// owner returns a function that finds the other node that has an address.
func (e *Edit) owner(n *store.Node) func(netip.Addr) (string, bool) {
	return func(a netip.Addr) (string, bool) {
		id := e.tx.NodeWithAddress(n.ConfigID, a)
		if id == "" || id == n.ID {
			return "", false
		}
		other, err := e.tx.Node(id)
		if err != nil {
			return id, true
		}
		return other.Name, true
	}
}

// takenAddresses returns the addresses of all nodes in the tunnel.
func (e *Edit) takenAddresses(cfg store.Config) ([]netip.Addr, error) {
	if e.taken != nil {
		return e.taken, nil
	}
	taken, err := TakenAddresses(e.tx, cfg)
	e.taken = append(make([]netip.Addr, 0, len(taken)+1), taken...)
	return e.taken, err
}

// TakenAddresses returns the addresses of all nodes of the mesh in the tunnel, for [NextAddress].
func TakenAddresses(tx *store.Tx, cfg store.Config) ([]netip.Addr, error) {
	taken := tx.Addresses(cfg.ID)
	for _, id := range tx.TextNodes(cfg.ID) {
		n, err := load(tx, cfg, id)
		if err != nil {
			return nil, err
		}
		for _, p := range n.Addresses() {
			taken = append(taken, p.Addr())
		}
	}
	return taken, nil
}

// FreeSubnet returns the subnet of a mesh that is made without one: the first /24 that overlaps
// neither the networks of other meshes nor the appliance's own. Error: an [*Error].
func FreeSubnet(tx *store.Tx, own []netip.Prefix) (netip.Prefix, error) {
	configs, err := tx.Configs("", 0)
	if err != nil {
		return netip.Prefix{}, err
	}
	used := append([]netip.Prefix(nil), own...)
	for _, c := range configs {
		used = append(used, subnetsOf(c)...)
	}
	return OfferSubnet(used)
}

// desiredText returns the desired config of the node, "" if there is none.
func desiredText(tx *store.Tx, nodeID string) (string, error) {
	s, err := tx.ConfState(nodeID)
	if err != nil || s.Desired.Version == 0 {
		return "", err
	}
	text, err := tx.ConfText(nodeID, s.Desired.SHA256)
	if errors.Is(err, store.ErrConfVersionNotFound) {
		return "", nil
	}
	return text, err
}
