package page

import (
	"cmp"
	"crypto/rand"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel/wgconf"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/view/nodelist"
	"wfm/web/wire"
)

// The bounds of what the page of a node shows of its mesh.
const (
	mostLinks   = 100
	mostChoices = 500 // nodes that the form for a port forward offers
)

// meshPart is a node's part in its mesh.
type meshPart struct {
	Made      bool         // its tunnel config is made from the mesh
	Offered   bool         // it could be
	AWG       bool         // the mesh is one of AmneziaWG
	Options   []nodeOption // of AmneziaWG 3.1
	Addresses []string
	Port      int // on which it listens; 0: the system chooses it
	PublicKey string
	Links     []view.Connection // by the names of the peers
	Names     map[string]string // of the peers, by public key
	Further   int               // links that are not among them
	Findings  []mesh.Finding
	Forwards  []forwardRow
	Choices   []nodeChoice // for a port forward
	Entry     string       // the id of the node that the form for a port forward offers as the entry; "" means none
	Text      string       // the tunnel config, without its keys; "" if there is none or the login may not see it
}

// Shown reports whether the mesh of the node is more than a list of nodes.
func (m meshPart) Shown() bool { return m.Made || m.Offered || len(m.Links) > 0 }

// KeysHidden reports whether the text that is shown has keys that are not.
func (m meshPart) KeysHidden() bool { return strings.Contains(m.Text, wgconf.Hidden) }

// ToApply reports whether the node has an agent and lacks the latest tunnel config.
func (b nodeBody) ToApply() bool {
	return b.Client.ClientInitialized && b.Sync != "" && b.Sync != string(store.SyncLatest)
}

// Reachable reports whether others find the node at an address of its own.
func (b nodeBody) Reachable() bool { return b.Node.IPv4Address != nil || b.Node.IPv6Address != nil }

// App returns the app that reads the tunnel config on a phone.
func (b nodeBody) App() string {
	if b.Mesh.AWG {
		return "AmneziaWG"
	}
	return "WireGuard"
}

// nodeOption is an option of AmneziaWG that a node may have otherwise than its mesh.
type nodeOption struct {
	awgField
	Mesh string // the mesh's
}

func nodeOptions(cfg store.Config, n store.Node) []nodeOption {
	if cmp.Or(cfg.AWGVersion, mesh.DefaultAWGVersion) != "3.1" {
		return nil
	}
	a, m := n.AWG, cfg.AWG
	own := optionFields(a.ContentPaddingAddition, a.RekeyAfterTime, a.RekeyTimeout, a.RejectAfterTime, a.KeepaliveTimeout, a.MaxHandshakeAttempts)
	theirs := optionFields(m.ContentPaddingAddition, m.RekeyAfterTime, m.RekeyTimeout, m.RejectAfterTime, m.KeepaliveTimeout, m.MaxHandshakeAttempts)
	all := make([]nodeOption, len(own))
	for i := range own {
		all[i] = nodeOption{own[i], theirs[i].Value}
	}
	return all
}

// nodeChoice is a node in a form.
type nodeChoice struct{ ID, Name string }

// forwardRow is a port forward with its ends.
type forwardRow struct {
	store.PortForward
	Entry, Service forwardEnd
}

// forwardEnd is an end of a port forward.
type forwardEnd struct {
	Name, Path string
	Port       int
	Here       bool // at the node of the page
}

// readMesh reads the node's part in its mesh.
func (p *Pages) readMesh(c echo.Context, tx *store.Tx, f view.Facts) (v meshPart, err error) {
	v.Made, v.AWG = f.Node.ConfigSource == store.SourceMesh, protocol.ToolFamily(f.Config.TunnelProtocol) == "awg"
	if v.AWG {
		v.Options = nodeOptions(f.Config, f.Node)
	}
	v.Offered = !v.Made && (f.Config.VirtualSubnet.IsValid() || f.Config.VirtualSubnet6.IsValid())
	m, links, total, err := mesh.LoadLinks(tx, f.Config, f.Node.ID, mostLinks)
	if err != nil {
		return v, err
	}
	v.Further, v.Names = total-len(links), make(map[string]string, len(links))
	own, port := m.Node(f.Node.ID)
	v.PublicKey, v.Port = own.Key(), port
	for _, a := range own.Addresses() {
		v.Addresses = append(v.Addresses, a.Addr().String())
	}
	for _, l := range links {
		one, err := view.ConnectionOf(tx, m, l, f.Node.ID, false)
		if err != nil {
			return v, err
		}
		v.Links = append(v.Links, one)
		if peer, _ := m.Node(one.PeerNode.NodeID); peer.Key() != "" {
			v.Names[peer.Key()] = one.PeerNode.Name
		}
	}
	slices.SortFunc(v.Links, func(a, b view.Connection) int { return nodelist.Natural(a.PeerNode.Name, b.PeerNode.Name) })
	if !v.Shown() {
		return v, nil
	}
	if v.Made && f.Conf.Desired.Version != 0 && access.MayWrite(access.LoginOf(c)) {
		text, err := tx.ConfText(f.Node.ID, f.Conf.Desired.SHA256)
		if err != nil {
			return v, err
		}
		v.Text = wgconf.HideKeys(text)
	}
	return v, v.readForwards(tx, f.Node)
}

// readFindings reads the faults of the mesh that are about the node or one of its links.
func (p *Pages) readFindings(c echo.Context, f view.Facts, v *meshPart) error {
	report, err := p.Applier.Topology(c.Request().Context(), f.Config.ID)
	for _, one := range report.Findings {
		if one.NodeID == f.Node.ID || one.LinkID != "" && slices.ContainsFunc(v.Links, func(l view.Connection) bool { return l.LinkGroupID == one.LinkID }) {
			v.Findings = append(v.Findings, one)
		}
	}
	slices.SortStableFunc(v.Findings, func(a, b mesh.Finding) int { return cmp.Compare(a.Severity, b.Severity) }) // errors first
	return err
}

// readForwards reads the port forwards whose entry or service the node is, and the nodes for another
// one.
func (m *meshPart) readForwards(tx *store.Tx, n store.Node) error {
	forwards, err := tx.PortForwardsOfNode(n.ID)
	if err != nil {
		return err
	}
	end := func(id string, port int) (forwardEnd, error) {
		other, err := tx.Node(id)
		return forwardEnd{other.Name, "/configs/" + n.ConfigID + "/nodes/" + id, port, id == n.ID}, err
	}
	for _, f := range forwards {
		row := forwardRow{PortForward: f}
		if row.Entry, err = end(f.ToNodeID, f.ToPort); err != nil {
			return err
		}
		if row.Service, err = end(f.FromNodeID, f.FromPort); err != nil {
			return err
		}
		m.Forwards = append(m.Forwards, row)
	}
	switch toPeer := func(l view.Connection) bool { return l.Enabled && l.Forward.EndpointSummary != "" }; {
	case n.IPv4Address+n.IPv6Address != "":
		m.Entry = n.ID
	case slices.ContainsFunc(m.Links, toPeer):
		m.Entry = m.Links[slices.IndexFunc(m.Links, toPeer)].PeerNode.NodeID
	}
	nodes, err := tx.Nodes(n.ConfigID, "", mostChoices+1)
	if err != nil {
		return err
	}
	if len(nodes) <= mostChoices {
		for _, other := range nodes {
			m.Choices = append(m.Choices, nodeChoice{other.ID, other.Name})
		}
		slices.SortFunc(m.Choices, func(a, b nodeChoice) int { return nodelist.Natural(a.Name, b.Name) })
		return nil
	}
	m.Choices = []nodeChoice{{n.ID, n.Name}} // of a larger mesh, the nodes that it has links with
	for _, l := range m.Links {
		m.Choices = append(m.Choices, nodeChoice{l.PeerNode.NodeID, l.PeerNode.Name})
	}
	return nil
}

// takeoverView shows what changes if the mesh makes the tunnel config of a node.
type takeoverView struct {
	Lines   []diffLine `json:"lines"`
	Message string     `json:"message"`
	Hints   []string   `json:"hints"`
}

// takeover tries to have the tunnel config of a node made from the mesh, and changes nothing.
func (p *Pages) takeover(c echo.Context) error {
	f, err := p.Reader.PathFacts(c)
	if err != nil {
		return err
	}
	texts, changed, err := mesh.Try(p.DB, f.Config.ID, rand.Reader, func(e *mesh.Edit) error {
		n, err := e.Node(f.Node.ID)
		if err != nil {
			return err
		}
		n.ConfigSource = store.SourceMesh
		return e.PutNode(&n)
	})
	if err != nil {
		return err
	}
	v := takeoverView{Lines: []diffLine{}, Message: "The text stays as it is. From then on it follows the mesh.", Hints: append([]string{}, changed.Hints...)}
	i := slices.IndexFunc(texts, func(t mesh.TextChange) bool { return t.NodeID == f.Node.ID })
	if i >= 0 {
		diff, err := view.Diff("now", texts[i].Before, "from the mesh", texts[i].After)
		if err != nil {
			return err
		}
		v.Lines, v.Message = diffLines(wgconf.HideKeys(diff)), "This changes in the text. Nothing is sent to the node before you apply it."
	}
	return wire.Respond(c, v)
}
