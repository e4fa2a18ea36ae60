package importconf

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
)

// Question asks for a plan.
type Question struct {
	Config store.Config
	Nodes  []mesh.Node  // that the mesh has
	Taken  []mesh.Taken // networks of other meshes
	Files  []File
	AsText bool // keep the text of every file
	// NewNodeID and NewLinkID make ids for records.
	NewNodeID, NewLinkID func() string
}

// Plan says what the import of files makes.
type Plan struct {
	Config   store.Config // the mesh, with the settings that it takes from the files
	Settings []string     // sentences about these
	Nodes    []Node       // those of files in their order, then those that are only peers
	Links    []store.Link
	OneSided []Remark // peers for which no link is made
	Problems []Remark // while there is one, nothing can be imported
	Notes    []Remark // things to know, or to do afterwards
}

// Remark is a sentence about a file.
type Remark struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // 0: about the whole file
	Message string `json:"message"`
}

func (r Remark) String() string {
	if r.Line == 0 {
		return r.File + ": " + r.Message
	}
	return fmt.Sprintf("%s, line %d: %s", r.File, r.Line, r.Message)
}

// Node is a node that the import makes.
type Node struct {
	store.Node
	File string   // "" if it is known only as a peer
	Text string   // its tunnel config, the file's; "" if that is made from the mesh, or not known
	Why  []string // sentences: why the text is kept
	// Addresses are those in the tunnel, and Key is the public key, wherever they are stored.
	Addresses []netip.Prefix
	Key       string
}

// planner makes a plan.
type planner struct {
	Question
	plan  Plan
	files []*conf // those that can be read
	nodes []*node // theirs, then those of peers
	byKey map[string]*node
	links []*link
	// linked has each two nodes of a link, both ways round.
	linked map[[2]*node]bool
	// routes are the networks behind nodes.
	routes map[netip.Prefix]*node
}

// node is a node of the plan.
type node struct {
	Node
	conf  *conf          // nil for one that is known only as a peer
	hosts map[string]int // of the endpoints that other files give, with their number
	// adds are hooks of the appliance that the file does not have.
	adds bool
}

func (p *planner) problem(c *conf, line int, format string, args ...any) {
	p.plan.Problems = append(p.plan.Problems, Remark{c.file.Name, line, fmt.Sprintf(format, args...)})
}

func (p *planner) note(c *conf, line int, format string, args ...any) {
	p.plan.Notes = append(p.plan.Notes, Remark{c.file.Name, line, fmt.Sprintf(format, args...)})
}

func (p *planner) setting(format string, args ...any) {
	p.plan.Settings = append(p.plan.Settings, fmt.Sprintf(format, args...))
}

// Make plans the import of the files into the mesh.
func Make(q Question) Plan {
	p := &planner{Question: q, byKey: map[string]*node{}, linked: map[[2]*node]bool{}, routes: map[netip.Prefix]*node{}}
	p.plan.Config = q.Config
	p.readFiles()
	if len(p.plan.Problems) == 0 {
		p.nameNodes()
		p.keysOfNodes()
		p.planSubnets()
		p.addPeers()
		p.checkTaken()
		p.planAWG()
	}
	if len(p.plan.Problems) == 0 {
		p.placeNodes()
		p.linkNodes()
		p.settle()
	}
	if len(p.plan.Problems) > 0 {
		p.plan.Nodes, p.plan.Links = nil, nil
	}
	return p.plan
}

// readFiles reads the files in the order of their names.
func (p *planner) readFiles() {
	files := slices.Clone(p.Files)
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	for i, f := range files {
		if i > 0 && files[i-1].Name == f.Name {
			p.plan.Problems = append(p.plan.Problems, Remark{f.Name, 0, "Two files have this name. Give one of them another one."})
			continue
		}
		c, err := read(p.Config, f)
		if err != nil {
			p.plan.Problems = append(p.plan.Problems, faults(f, err)...)
			continue
		}
		p.files = append(p.files, c)
	}
	ids := p.ids(len(p.files), p.NewNodeID)
	for i, c := range p.files {
		n := &node{conf: c, Node: Node{File: c.file.Name}, hosts: map[string]int{}}
		n.ID, n.ConfigID, n.Enabled, n.Type = ids[i], p.Config.ID, true, store.NodeDynamic
		n.ConfigSource = store.SourceMesh
		if c.file.Static {
			n.Type = store.NodeStatic
		}
		p.nodes = append(p.nodes, n)
	}
}

// ids makes ids in ascending order: nodes of one transaction are as old as each other, and so stand in
// the order of their ids.
func (p *planner) ids(n int, newID func() string) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = newID()
	}
	slices.Sort(ids)
	return ids
}

// usual matches the names that files have on every machine.
var usual = regexp.MustCompile(`^(wg|awg)[0-9]*$`)

// nameNodes names the nodes: as a comment says, or as the file is named; as its folder, if the name is a
// usual one or several files have it.
func (p *planner) nameNodes() {
	bases := map[string]int{}
	for _, c := range p.files {
		bases[strings.ToLower(c.file.base())]++
	}
	for _, n := range p.nodes {
		base := n.conf.file.base()
		n.Name = n.conf.name
		if n.Name == "" && (bases[strings.ToLower(base)] > 1 || usual.MatchString(base)) {
			n.Name = cleanName(n.conf.file.folder())
		}
		n.Name = cmp.Or(n.Name, cleanName(base))
		if protocol.ValidInterfaceName(base) {
			n.InterfaceName = base
		}
		if n.Name == "" {
			p.problem(n.conf, 0, "No node can have the name of this file. Rename it, or add a comment like “# Name = berlin” above [Interface].")
		}
	}
}

// checkTaken finds names and addresses that nodes cannot have beside each other.
func (p *planner) checkTaken() {
	type owner struct{ name, file string }
	names := map[string]owner{}
	for _, n := range p.Nodes {
		names[strings.ToLower(n.Name)] = owner{n.Name, ""}
	}
	for _, n := range p.nodes {
		if n.conf == nil || n.Name == "" {
			continue
		}
		key := strings.ToLower(n.Name)
		const remedy = "Rename the file, or add a comment like “# Name = berlin” above [Interface]."
		switch first, taken := names[key]; {
		case !taken:
			names[key] = owner{n.Name, n.File}
		case first.file == "" && first.name == n.Name:
			p.problem(n.conf, 0, "The mesh has a node %s already. %s", n.Name, remedy)
		case first.file == "":
			p.problem(n.conf, 0, "The name %s differs from %s, a node of the mesh, in upper and lower case only. %s", n.Name, first.name, remedy)
		case first.name == n.Name:
			p.problem(n.conf, 0, "The node %s would also be that of %s. %s", n.Name, first.file, remedy)
		default:
			p.problem(n.conf, 0, "The name %s differs from %s, that of %s, in upper and lower case only. %s", n.Name, first.name, first.file, remedy)
		}
	}
	for _, n := range p.nodes { // a peer takes the name that is left
		if n.conf != nil {
			continue
		}
		address := n.addresses()[0].Addr().String()
		for i := 0; n.Name == "" || taken(names, n.Name); i++ {
			n.Name = []string{address, "peer " + address, "peer " + n.PublicKey[:8] + " " + address}[min(i, 2)]
			if i > 2 {
				n.Name += fmt.Sprint(" ", i)
			}
		}
		names[strings.ToLower(n.Name)] = owner{n.Name, "a peer"}
	}
	p.checkAddresses()
}

func taken[T any](names map[string]T, name string) bool {
	_, ok := names[strings.ToLower(name)]
	return ok
}

// addresses returns the addresses of the node in the tunnel.
func (n *node) addresses() []netip.Prefix {
	if n.conf != nil {
		return n.conf.Interface.Addresses
	}
	return (&mesh.Node{Node: n.Node.Node}).Addresses()
}

// checkAddresses finds addresses of two nodes.
func (p *planner) checkAddresses() {
	owners := map[netip.Addr]string{}
	for _, n := range p.Nodes {
		for _, a := range n.Addresses() {
			owners[a.Addr()] = n.Name + ", a node of the mesh"
		}
	}
	for _, n := range p.nodes {
		for _, a := range n.addresses() {
			first, isTaken := owners[a.Addr()]
			switch {
			case !isTaken && n.conf != nil:
				owners[a.Addr()] = "the file " + n.File
			case isTaken && n.conf != nil:
				p.problem(n.conf, n.conf.Interface.AddressLine, "The address %s is also that of %s. Give each node an address of its own.", a.Addr(), first)
			}
		}
	}
}

// keysOfNodes gives the nodes their keys, and finds those that two have.
func (p *planner) keysOfNodes() {
	inMesh := map[string]string{}
	for _, n := range p.Nodes {
		if key := n.Key(); key != "" {
			inMesh[key] = n.Name
		}
	}
	for _, n := range p.nodes {
		n.PrivateKey, n.PublicKey = n.conf.private, n.conf.Interface.PublicKey
		n.KeyChosen = n.PrivateKey != "" // peers without a file know it, so its agent must not take another one
		if n.conf.Interface.KeptLine != 0 {
			n.KeyHolder = store.KeyAtNode
		}
		if n.PublicKey == "" {
			n.PublicKey = p.keyOf(n)
		}
		if n.PublicKey == "" {
			p.note(n.conf, n.conf.Interface.Line, "The private key is not in this file, and no other file has its public key for this address, so it gets no links.")
			continue
		}
		if first := p.byKey[n.PublicKey]; first != nil {
			p.problem(n.conf, n.conf.Interface.Line, "This file and %s have the same private key. Make a key of its own for each node, with wg genkey.", first.File)
			continue
		}
		if name := inMesh[n.PublicKey]; name != "" {
			p.problem(n.conf, n.conf.Interface.Line, "The mesh has a node with this key already, %s. Leave the file out, or delete that node first.", name)
			continue
		}
		p.byKey[n.PublicKey] = n
	}
}

// keyOf finds the public key of a node whose file does not have the private one: that of the peers that
// other files give its address to. It returns "" if they do not agree.
func (p *planner) keyOf(n *node) (key string) {
	for _, c := range p.files {
		for _, peer := range c.peers {
			if c == n.conf || !slices.ContainsFunc(peer.AllowedIPs, func(a netip.Prefix) bool {
				return a.IsSingleIP() && slices.ContainsFunc(n.addresses(), func(own netip.Prefix) bool { return own.Addr() == a.Addr() })
			}) {
				continue
			}
			if key != "" && key != peer.PublicKey {
				return ""
			}
			key = peer.PublicKey
		}
	}
	return key
}

// addPeers makes nodes of the peers that have no file and an address.
func (p *planner) addPeers() {
	known := map[netip.Addr]bool{}
	inMesh := map[string]string{}
	for _, n := range p.nodes {
		for _, a := range n.addresses() {
			known[a.Addr()] = true
		}
	}
	for _, n := range p.Nodes {
		inMesh[n.Key()] = n.Name
		for _, a := range n.Addresses() {
			known[a.Addr()] = true
		}
	}
	var added []*node
	for _, c := range p.files {
		for _, peer := range c.peers {
			if n := p.byKey[peer.PublicKey]; n != nil {
				if n.conf == nil && n.Name == "" {
					n.Name = peer.name
				}
				continue
			}
			if name := inMesh[peer.PublicKey]; name != "" {
				p.oneSided(c, peer, "This peer is %s, a node of the mesh, which does not have this one as its peer: no link is made. Link both after the import.", name)
				continue
			}
			n := &node{Node: Node{Node: store.Node{ConfigID: p.Config.ID, Name: peer.name, Enabled: true, Type: store.NodeStatic}}, hosts: map[string]int{}}
			n.PublicKey = peer.PublicKey
			p.address(n, peer, known)
			if len(n.addresses()) == 0 {
				p.oneSided(c, peer, "No file has the key of this peer, and its AllowedIPs have no address of its own, so it becomes no node. Bring its file too.")
				continue
			}
			for _, a := range n.addresses() {
				known[a.Addr()] = true
			}
			p.byKey[n.PublicKey] = n
			added = append(added, n)
			p.note(c, peer.Line, "No file has the key of this peer: it becomes a static node with its public key only.")
		}
	}
	for i, id := range p.ids(len(added), p.NewNodeID) {
		added[i].ID = id
	}
	p.nodes = append(p.nodes, added...)
}

// address gives the node the addresses that stand alone in the AllowedIPs of a peer: of each IP version,
// the first one in the subnet of the mesh, or the first one.
func (p *planner) address(n *node, peer peer, known map[netip.Addr]bool) {
	subnets := []netip.Prefix{p.plan.Config.VirtualSubnet, p.plan.Config.VirtualSubnet6}
	for _, v4 := range []bool{true, false} {
		var best netip.Prefix
		for _, a := range peer.AllowedIPs {
			if !a.IsSingleIP() || a.Addr().Is4() != v4 || known[a.Addr()] {
				continue
			}
			inside := slices.ContainsFunc(subnets, func(s netip.Prefix) bool { return s.IsValid() && s.Contains(a.Addr()) })
			if inside || !best.IsValid() {
				best = a
			}
			if inside {
				break
			}
		}
		switch {
		case !best.IsValid():
		case n.VirtualIP.IsValid():
			n.VirtualIP6 = best
		default:
			n.VirtualIP = best
		}
	}
}

func (p *planner) oneSided(c *conf, peer peer, format string, args ...any) {
	p.plan.OneSided = append(p.plan.OneSided, Remark{c.file.Name, peer.Line, fmt.Sprintf(format, args...)})
}
