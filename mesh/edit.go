package mesh

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"wfm/store"
	"wfm/tunnel"
)

// Edit changes a mesh within a transaction. It checks each change, gives a node the values that it
// lacks, and notes whose tunnel configs the change touches. [Change] makes one.
type Edit struct {
	tx      *store.Tx
	id      string // of the mesh
	author  string
	random  io.Reader
	touched map[string]struct{}
	edited  map[string]struct{} // the touched nodes that were changed themselves, or a link of theirs
	taken   []netip.Addr        // in the tunnel; nil until the first address is given
	hints   []string
	texts   []TextChange // the new texts
}

// Changed is the result of [Change].
type Changed struct {
	NodeIDs []string // whose tunnel configs have a new desired version, in order
	Hints   []string // sentences about values that the change adjusted, or should be followed by
}

// Change calls edit, and then makes the tunnel configs of the nodes that it touches. A config that
// differs from the desired one in more than comments becomes the desired one, as a new version of the
// author; nothing is staged. Errors: those of edit, and an [*Error] if a config could not be given
// to its node. After an error the transaction must be rolled back.
//
// Whether a config would cut its node off is asked when it is staged, by tunnel.Door: it takes looking
// up names.
func Change(tx *store.Tx, configID, author string, random io.Reader, edit func(*Edit) error) (Changed, error) {
	c, _, err := change(tx, configID, author, random, edit)
	return c, err
}

func change(tx *store.Tx, configID, author string, random io.Reader, edit func(*Edit) error) (Changed, []TextChange, error) {
	e := &Edit{tx: tx, id: configID, author: author, random: random, touched: map[string]struct{}{}, edited: map[string]struct{}{}}
	if err := edit(e); err != nil {
		return Changed{}, nil, err
	}
	ids, err := e.remake()
	return Changed{ids, e.hints}, e.texts, err
}

func (e *Edit) touch(ids []string) {
	for _, id := range ids {
		e.touched[id] = struct{}{}
	}
}

// edit touches nodes that are changed themselves.
func (e *Edit) edit(ids []string) {
	e.touch(ids)
	for _, id := range ids {
		e.edited[id] = struct{}{}
	}
}

func (e *Edit) hint(format string, args ...any) {
	e.hints = append(e.hints, fmt.Sprintf(format, args...))
}

// PutConfig creates or changes the mesh. A mesh that becomes one of AmneziaWG, or of another version
// of it, gets the values it lacks, and so do its nodes; nodes get addresses of a new subnet. Errors: an
// [*Error], and those of store.Tx.PutConfig.
func (e *Edit) PutConfig(c *store.Config) error {
	before, err := e.tx.Config(c.ID)
	if err != nil && !errors.Is(err, store.ErrConfigNotFound) {
		return err
	}
	exists := err == nil
	if err := e.fillConfig(before, c); err != nil {
		return err
	}
	if !exists || before.VirtualSubnet != c.VirtualSubnet || before.VirtualSubnet6 != c.VirtualSubnet6 {
		if err := checkOverlap(e.tx, *c); err != nil {
			return err
		}
	}
	if err := e.tx.PutConfig(c); err != nil || !exists {
		return err
	}
	e.taken = nil
	e.edit(TouchedByConfig(before, *c, e))
	if before.VirtualSubnet == c.VirtualSubnet && before.VirtualSubnet6 == c.VirtualSubnet6 && newest(before) == newest(*c) {
		return nil
	}
	for _, id := range e.All() {
		n, err := e.tx.Node(id)
		if err != nil {
			return err
		}
		if n.ConfigSource == store.SourceMesh && e.lacks(*c, n) {
			if err := e.PutNode(&n); err != nil {
				return err
			}
		}
	}
	return nil
}

// newest returns the family of the mesh's tools and, for AmneziaWG, their version.
func newest(c store.Config) string {
	if !isAWG(c) {
		return ""
	}
	return awgVersionOf(c)
}

func isAWG(c store.Config) bool { return New(c, nil, nil, nil).family() == "awg" }

// lacks reports whether fill would give the node something.
func (e *Edit) lacks(c store.Config, n store.Node) bool {
	return c.VirtualSubnet.IsValid() && !n.VirtualIP.IsValid() || c.VirtualSubnet6.IsValid() && !n.VirtualIP6.IsValid() ||
		isAWG(c) && lacksAWG(n.AWG)
}

// fillConfig checks the settings and sets the values of AmneziaWG that are missing.
func (e *Edit) fillConfig(before store.Config, c *store.Config) (err error) {
	if c.VirtualSubnet6.IsValid() && (c.VirtualSubnet6.Addr().Is4() || c.VirtualSubnet.IsValid() && c.VirtualSubnet.Addr().Is6()) {
		return refuse(CodeInvalidSubnet, "virtual_subnet6 is for a network of IPv6 beside a virtual_subnet of IPv4; "+
			"give the network of IPv4 as virtual_subnet, or only one of both.")
	}
	if !isAWG(*c) {
		return nil
	}
	version := awgVersionOf(*c)
	switch {
	case c.AWG == store.AWGMesh{}:
		if c.AWG, err = NewAWG(version, e.random); err != nil {
			return err
		}
	case isAWG(before) && awgVersionOf(before) != version && before.AWG == c.AWG:
		converted := *c
		converted.AWGVersion = awgVersionOf(before)
		converted, said, err := ConvertAWG(converted, version, e.random)
		if err != nil {
			return err
		}
		c.AWG, e.hints = converted.AWG, append(e.hints, said...)
	}
	if faults := CheckAWGMesh(*c); len(faults) > 0 {
		return refuse(CodeInvalidAWG, "%s", strings.Join(faults, " "))
	}
	return nil
}

// NewNode returns an enabled node with the mesh's defaults, which PutNode completes. Error:
// store.ErrConfigNotFound.
func (e *Edit) NewNode(id string) (store.Node, error) {
	cfg, err := e.tx.Config(e.id)
	n := store.Node{ID: id, ConfigID: e.id, Enabled: true, Type: store.NodeDynamic, Tags: []string{}}
	n.AutoSync = cfg.AutoSync
	if len(subnetsOf(cfg)) > 0 {
		n.ConfigSource = store.SourceMesh
	}
	return n, err
}

// PutNode creates or changes the node. One whose config is made from the mesh gets the keys, the
// addresses and the values of AmneziaWG that it lacks; if its config was written by hand before, the
// keys and addresses of that. Without an interface name, it gets one. Links that follow the node's
// addresses, since nobody wrote them by hand, get its new ones. Errors: an [*Error], and those of
// store.Tx.PutNode.
func (e *Edit) PutNode(n *store.Node) error {
	cfg, err := e.tx.Config(n.ConfigID)
	if err != nil {
		return err
	}
	before, err := e.before(cfg, n.ID)
	if err != nil {
		return err
	}
	if before == nil || !strings.EqualFold(before.Name, n.Name) {
		if other := e.tx.NodeNamedAlike(n.ConfigID, n.Name); other != "" {
			return refuse(CodeInvalidValue, "name %q differs from %q, another node of this mesh, in upper and lower case only; choose another name.", n.Name, other)
		}
	}
	if err := e.fillNode(cfg, before, n); err != nil {
		return err
	}
	if n.InterfaceName == "" {
		n.InterfaceName = e.tx.FreeInterfaceName(cfg, *n, nil)
	}
	if faults := New(cfg, nil, nil, nil).CheckNode(Node{Node: *n}); len(faults) > 0 {
		return refuse(CodeInvalidValue, "%s", strings.Join(faults, " "))
	}
	if err := e.tx.PutNode(n); err != nil {
		return e.worded(err, *n)
	}
	after, err := e.node(cfg, n.ID)
	if err != nil {
		return err
	}
	if before != nil {
		if sameInTexts(*before, after) {
			return nil
		}
		before.Name = after.Name // else it would touch the comments of all peers
	}
	e.edit([]string{n.ID})
	e.touch(TouchedByNode(before, &after, e))
	if before == nil || slices.Equal(before.Addresses(), after.Addresses()) {
		return nil
	}
	return e.readdress(*before, after)
}

// PutText makes the text the desired tunnel config of a node whose config somebody writes. note says
// where it comes from. Errors: store.ErrNodeNotFound, and an [*Error] for a text that cannot be read.
func (e *Edit) PutText(nodeID, text, note string) error {
	cfg, err := e.tx.Config(e.id)
	if err != nil {
		return err
	}
	before, err := e.node(cfg, nodeID)
	if err != nil {
		return err
	}
	if _, err := ReadText(cfg, nodeID, text); err != nil {
		return refuse(CodeInvalidText, "Nothing was changed, since %s could not be given its tunnel config: %s.", before.Name, strings.TrimSuffix(err.Error(), "."))
	}
	if _, err := e.tx.SetDesired(nodeID, text, store.ConfVersion{Author: e.author, Source: store.ConfEdited, Note: note}); err != nil {
		return err
	}
	after, err := e.node(cfg, nodeID)
	if err != nil {
		return err
	}
	e.taken = nil
	e.touch(TouchedByNode(&before, &after, e))
	return nil
}

// sameInTexts reports whether the node gives the same to all texts but their comments.
func sameInTexts(before, after Node) bool {
	return before.Enabled == after.Enabled && before.Type == after.Type && before.InterfaceName == after.InterfaceName &&
		reflect.DeepEqual(before.NodeSettings, after.NodeSettings)
}

// worded says whose key a node may not have.
func (e *Edit) worded(err error, n store.Node) error {
	if !errors.Is(err, store.ErrKeyTaken) {
		return err
	}
	other, readErr := e.tx.Node(e.tx.NodeWithPublicKey(n.ConfigID, n.PublicKey))
	if readErr != nil {
		return err
	}
	return refuse(CodeInvalidKey, "public_key is that of %s; give each node a key of its own, or leave both keys out to have a new pair made.", other.Name)
}

// before returns the node as it is, nil if it does not exist.
func (e *Edit) before(cfg store.Config, id string) (*Node, error) {
	n, err := e.node(cfg, id)
	if errors.Is(err, store.ErrNodeNotFound) {
		return nil, nil
	}
	return &n, err
}

// readdress gives the links with a node's former addresses its new ones.
func (e *Edit) readdress(before, after Node) error {
	links, err := e.tx.Links(e.id)
	if err != nil {
		return err
	}
	kept := 0
	for _, l := range links {
		now, changed := Readdress(l, before, after)
		switch {
		case changed:
			if err := e.PutLink(&now); err != nil {
				return err
			}
		case l.Manual:
			if _, stale := readdressed(slices.Concat(l.Forward.AllowedIPs, l.Reverse.AllowedIPs), before, after); stale {
				kept++
			}
		}
	}
	if kept > 0 {
		e.hint("%d links that were made or changed by hand still carry the former address of %s; change their allowed_ips.", kept, after.Name)
	}
	return nil
}

// DeleteNode deletes the node with its links and port forwards. Error: store.ErrNodeNotFound.
func (e *Edit) DeleteNode(id string) error {
	n, err := e.tx.Node(id)
	if err != nil {
		return err
	}
	cfg, err := e.tx.Config(n.ConfigID)
	if err != nil {
		return err
	}
	before, err := e.node(cfg, id)
	if err != nil {
		return err
	}
	touched := TouchedByNode(&before, nil, e)
	if err := e.tx.DeleteNode(id); err != nil {
		return err
	}
	e.taken = nil
	e.touch(slices.DeleteFunc(touched, func(other string) bool { return other == id }))
	delete(e.touched, id)
	return nil
}

// PutLink creates or changes the link. Errors: an [*Error], and those of store.Tx.PutLink.
func (e *Edit) PutLink(l *store.Link) error {
	before, err := e.tx.Link(l.ID)
	exists := err == nil
	if err != nil && !errors.Is(err, store.ErrLinkNotFound) {
		return err
	}
	others, err := e.tx.LinksBetween(l.Forward.LocalNodeID, l.Forward.PeerNodeID)
	if err != nil {
		return err
	}
	m, err := e.pair(others, nil, l.Forward.LocalNodeID, l.Forward.PeerNodeID)
	if err != nil {
		return err
	}
	if err := m.CheckLink(*l); err != nil {
		return err
	}
	if err := e.tx.PutLink(l); err != nil {
		return err
	}
	var was *store.Link
	if exists {
		was = &before
	}
	e.edit(TouchedByLink(was, l))
	return nil
}

// DeleteLink deletes the link. Error: store.ErrLinkNotFound.
func (e *Edit) DeleteLink(id string) error {
	before, err := e.tx.Link(id)
	if err != nil {
		return err
	}
	e.touch(TouchedByLink(&before, nil))
	return e.tx.DeleteLink(id)
}

// PutPortForward creates or changes the port forward. Errors: an [*Error], and those of
// store.Tx.PutPortForward.
func (e *Edit) PutPortForward(f *store.PortForward) error {
	m, err := e.pair(nil, nil, f.FromNodeID, f.ToNodeID)
	if err != nil {
		return err
	}
	if err := m.CheckPortForward(*f); err != nil {
		return err
	}
	if err := e.tx.PutPortForward(f); err != nil {
		return err
	}
	e.edit(TouchedByForward(nil, f))
	return nil
}

// DeletePortForward deletes the port forward. Error: store.ErrForwardNotFound.
func (e *Edit) DeletePortForward(id string) error {
	before, err := e.tx.PortForward(id)
	if err != nil {
		return err
	}
	e.touch(TouchedByForward(&before, nil))
	return e.tx.DeletePortForward(id)
}

// Config returns the mesh as it is in the transaction. Error: store.ErrConfigNotFound.
func (e *Edit) Config() (store.Config, error) { return e.tx.Config(e.id) }

// Node returns a node as it is in the transaction. Error: store.ErrNodeNotFound, also for a node of
// another mesh.
func (e *Edit) Node(id string) (store.Node, error) {
	n, err := e.tx.Node(id)
	if err == nil && n.ConfigID != e.id {
		err = store.ErrNodeNotFound
	}
	return n, err
}

// Link returns a link as it is in the transaction. Error: store.ErrLinkNotFound, also for a link of
// another mesh.
func (e *Edit) Link(id string) (store.Link, error) {
	l, err := e.tx.Link(id)
	if err == nil && l.ConfigID != e.id {
		err = store.ErrLinkNotFound
	}
	return l, err
}

// Links returns all links of the mesh as they are in the transaction.
func (e *Edit) Links() ([]store.Link, error) { return e.tx.Links(e.id) }

// Quick plans a quick mesh of the mesh as it is in the transaction, and makes its links. newID makes
// the id of a link. Errors: those of [Mesh.Quick] and Apply.
func (e *Edit) Quick(q Quick, newID func() string) (Plan, error) {
	m, err := Load(e.tx, e.id)
	if err != nil {
		return Plan{}, err
	}
	p, err := m.Quick(q, Mint{e.random, newID, e.tx.Now().UTC()})
	if err != nil {
		return Plan{}, err
	}
	return p, e.Apply(p)
}

// Apply makes the links those of a plan that [Mesh.Quick] made for the mesh as it is now. Errors: those
// of PutLink and DeleteLink.
func (e *Edit) Apply(p Plan) error {
	for _, l := range p.Removed {
		if err := e.DeleteLink(l.ID); err != nil {
			return err
		}
	}
	for _, l := range slices.Concat(p.Changed, p.Made) {
		if err := e.PutLink(&l); err != nil {
			return err
		}
	}
	return nil
}

// Door returns the door for the tunnel configs of a mesh: a text that is saved by hand also makes the
// configs anew that it touches. resolver resolves the broker's addresses; nil: the system's.
func Door(db *store.DB, resolver *net.Resolver) tunnel.Door {
	return tunnel.Door{Store: db, Resolver: resolver, Saved: func(tx *store.Tx, s tunnel.Saved) error {
		_, err := TextSaved(tx, s)
		return err
	}}
}

// TextSaved makes the tunnel configs that a hand-written config of a node touches after it was saved:
// those of its peers have its key and addresses. Errors: see [Change].
func TextSaved(tx *store.Tx, s tunnel.Saved) (Changed, error) {
	n, err := tx.Node(s.NodeID)
	if err != nil {
		return Changed{}, err
	}
	cfg, err := tx.Config(n.ConfigID)
	if err != nil {
		return Changed{}, err
	}
	return Change(tx, cfg.ID, s.Author, nil, func(e *Edit) error {
		after, err := e.node(cfg, n.ID)
		if err != nil {
			return err
		}
		before := after
		before.Text, before.ConfigSource = nil, s.FormerSource
		if s.Former != "" && s.FormerSource == store.SourceText {
			before.Text, _ = ReadText(cfg, n.ID, s.Former) // one that cannot be read told the others nothing
		}
		e.touch(TouchedByNode(&before, &after, e))
		return nil
	})
}
