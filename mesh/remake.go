package mesh

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

// Load returns the whole mesh. Error: store.ErrConfigNotFound.
func Load(tx *store.Tx, configID string) (*Mesh, error) {
	cfg, err := tx.Config(configID)
	if err != nil {
		return nil, err
	}
	nodes, err := LoadNodes(tx, cfg)
	if err != nil {
		return nil, err
	}
	links, err := tx.Links(configID)
	if err != nil {
		return nil, err
	}
	forwards, err := tx.PortForwards(configID)
	return New(cfg, nodes, links, forwards), err
}

// LoadLinks returns the part of the mesh that the node's links are about: the node, its links and its
// peers. Of more links than most, it takes the first ones; total is the number of all. It takes no
// longer for a large mesh.
func LoadLinks(tx *store.Tx, cfg store.Config, nodeID string, most int) (m *Mesh, links []store.Link, total int, err error) {
	ends := tx.LinkEnds(nodeID)
	p := part{tx: tx, cfg: cfg, nodes: map[string]Node{}, seen: map[string]struct{}{}}
	if err := p.node(nodeID); err != nil {
		return nil, nil, 0, err
	}
	if err := p.add(ends[:min(len(ends), most)]); err != nil {
		return nil, nil, 0, err
	}
	return New(cfg, slices.Collect(maps.Values(p.nodes)), p.links, nil), slices.Clone(p.links), len(ends), nil
}

// LoadNodes returns the nodes of the mesh, by name.
func LoadNodes(tx *store.Tx, cfg store.Config) ([]Node, error) {
	all, err := tx.Nodes(cfg.ID, "", 0)
	if err != nil {
		return nil, err
	}
	nodes := make([]Node, len(all))
	for i, n := range all {
		if nodes[i], err = withText(tx, cfg, n); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// load returns the node as its mesh sees it.
func load(tx *store.Tx, cfg store.Config, id string) (Node, error) {
	n, err := tx.Node(id)
	if err != nil {
		return Node{}, err
	}
	return withText(tx, cfg, n)
}

func withText(tx *store.Tx, cfg store.Config, n store.Node) (Node, error) {
	if n.ConfigSource != store.SourceText {
		return Node{Node: n}, nil
	}
	text, err := desiredText(tx, n.ID)
	if err != nil || text == "" {
		return Node{Node: n}, err
	}
	t, err := ReadText(cfg, n.ID, text)
	if err != nil { // it cannot be pushed either, so it tells the others nothing
		t = nil
	}
	return Node{n, t}, nil
}

func (e *Edit) node(cfg store.Config, id string) (Node, error) { return load(e.tx, cfg, id) }

// pair returns a mesh of the nodes that exist among those given, and the links.
func (e *Edit) pair(links []store.Link, forwards []store.PortForward, ids ...string) (*Mesh, error) {
	cfg, err := e.tx.Config(e.id)
	if err != nil {
		return nil, err
	}
	var nodes []Node
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		n, err := e.node(cfg, id)
		switch {
		case errors.Is(err, store.ErrNodeNotFound):
		case err != nil:
			return nil, err
		case n.ConfigID == e.id:
			nodes = append(nodes, n)
		}
	}
	return New(cfg, nodes, links, forwards), nil
}

// Peers implements [Neighbours].
func (e *Edit) Peers(nodeID string) []string {
	ends := e.tx.LinkEnds(nodeID)
	ids := make([]string, len(ends))
	for i, end := range ends {
		ids[i] = end.PeerNodeID // also of a disabled link: that is rare, and does no harm
	}
	return ids
}

// Entries implements [Neighbours].
func (e *Edit) Entries(nodeID string) (ids []string) {
	forwards, err := e.tx.PortForwardsOfNode(nodeID)
	if err != nil {
		return e.All() // making their configs meets the same error
	}
	for _, f := range forwards {
		if f.FromNodeID == nodeID {
			ids = append(ids, f.ToNodeID)
		}
	}
	return ids
}

// All implements [Neighbours].
func (e *Edit) All() []string { return e.tx.NodeIDs(e.id) }

// remake makes the configs of the touched nodes, and returns those that are new.
func (e *Edit) remake() (changed []string, err error) {
	if len(e.touched) == 0 {
		return nil, nil
	}
	cfg, err := e.tx.Config(e.id)
	if err != nil {
		return nil, err
	}
	ids := slices.Sorted(maps.Keys(e.touched))
	m, err := e.part(cfg, ids)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if !m.Generated(id) {
			continue
		}
		isNew, err := e.save(cfg, m.byID[id].Name, id, m.Text(id))
		if err != nil {
			return nil, err
		}
		if isNew {
			changed = append(changed, id)
		}
	}
	return changed, nil
}

// save makes the text the desired one of the node, unless it differs in comments at most.
func (e *Edit) save(cfg store.Config, name, id, text string) (isNew bool, err error) {
	former, err := desiredText(e.tx, id)
	if err != nil || former != "" && SameButComments(former, text) {
		return false, err
	}
	if err := e.acceptable(cfg, name, id, text); err != nil {
		return false, err
	}
	e.texts = append(e.texts, TextChange{id, former, text})
	_, err = e.tx.SetDesired(id, text, store.ConfVersion{Author: e.author, Source: store.ConfMade})
	return true, err
}

// acceptable checks that the text can be given to the node. Of a node that was not changed itself, only
// the sections about its peers are new, which were checked with the peers.
func (e *Edit) acceptable(cfg store.Config, name, id, text string) error {
	if _, edited := e.edited[id]; !edited && sentSize(text) < protocol.MaxMessageSize/2 {
		return nil
	}
	_, err := tunnel.Read(cfg, id, text)
	if invalid, ok := errors.AsType[*wgconf.Error](err); ok {
		return refuse(CodeInvalidText, "Nothing was changed, since %s could not be given its tunnel config: %s.", name,
			strings.TrimSuffix(invalid.Error(), "."))
	}
	return err
}

// part returns the part of the mesh that the texts of the nodes depend on.
func (e *Edit) part(cfg store.Config, ids []string) (*Mesh, error) {
	p := part{tx: e.tx, cfg: cfg, nodes: map[string]Node{}}
	ends := make([][]store.LinkEnd, 0, len(ids))
	many := 0
	for _, id := range ids {
		if err := p.node(id); err != nil {
			return nil, err
		}
		if n := p.nodes[id]; n.ConfigSource != store.SourceMesh || !n.Enabled {
			continue // it has no text that could be made
		}
		if err := p.entry(id); err != nil {
			return nil, err
		}
		of := e.tx.LinkEnds(id)
		ends, many = append(ends, of), many+len(of)
	}
	p.seen, p.links = make(map[string]struct{}, many), make([]store.Link, 0, many)
	for _, of := range ends {
		if err := p.add(of); err != nil {
			return nil, err
		}
	}
	for _, id := range e.tx.RoutedNodes(e.id) {
		if err := p.node(id); err != nil {
			return nil, err
		}
	}
	return New(cfg, slices.Collect(maps.Values(p.nodes)), p.links, p.forwards), nil
}

// part collects the records that texts depend on.
type part struct {
	tx       *store.Tx
	cfg      store.Config
	nodes    map[string]Node
	seen     map[string]struct{} // links
	links    []store.Link
	forwards []store.PortForward
}

func (p *part) node(id string) error {
	if _, known := p.nodes[id]; known {
		return nil
	}
	n, err := load(p.tx, p.cfg, id)
	if err == nil {
		p.nodes[id] = n
	}
	return err
}

// add adds the links and the nodes at their other ends.
func (p *part) add(ends []store.LinkEnd) error {
	for _, end := range ends {
		if _, known := p.seen[end.LinkID]; known {
			continue
		}
		p.seen[end.LinkID] = struct{}{}
		l, err := p.tx.Link(end.LinkID)
		if err != nil {
			return err
		}
		p.links = append(p.links, l)
		if err := p.node(end.PeerNodeID); err != nil {
			return err
		}
	}
	return nil
}

// entry adds the port forwards whose entry is the node, with the nodes of their services.
func (p *part) entry(id string) error {
	forwards, err := p.tx.PortForwardsOfNode(id)
	if err != nil {
		return err
	}
	for _, f := range forwards {
		if f.ToNodeID != id {
			continue
		}
		p.forwards = append(p.forwards, f)
		if err := p.node(f.FromNodeID); err != nil {
			return err
		}
	}
	return nil
}
