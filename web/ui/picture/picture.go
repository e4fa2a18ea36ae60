package picture

import (
	"cmp"
	"fmt"
	"slices"
)

// MostNodes is the number of nodes up to which each has a mark of its own.
const MostNodes = 60

// Node is a node of the mesh.
type Node struct {
	ID, Name string
	State    string // of its presence, for the template
	Gateway  bool
}

// Link is a link of two nodes.
type Link struct {
	ID, From, To string // the link's id, and those of its nodes
	// State is what is known of the link, for the template: "rests" for one that is not in use. What
	// both ends see of each other (up, one-sided, stale) goes here too.
	State string
}

// Mark is a node in the picture, or a group of nodes.
type Mark struct {
	Node
	Label string // the name, cut off if it is long
	Nodes []Node // of a group; nil for a node
	X, Y  float64
	// Turn is the angle of the label in degrees, around the mark. The label begins at the right of the
	// mark, ends at the left of it, or stands below it.
	Turn        float64
	Left, Below bool
}

// Group returns whether the mark stands for several nodes.
func (m Mark) Group() bool { return m.Nodes != nil }

// Line is a link in the picture, or several of them between the same two marks.
type Line struct {
	From, To       string // names
	X1, Y1, X2, Y2 float64
	Links          int
	State          string // of the first link
}

// Picture has the places of all marks and lines.
type Picture struct {
	Width, Height float64
	Marks         []Mark
	Lines         []Line
	Grouped       bool
	// TooMany is set, and nothing is placed, if even the groups are too many.
	TooMany bool
}

// Draw places the nodes and links. A link whose nodes are not given is left out.
func Draw(nodes []Node, links []Link) Picture {
	p := newPlan(nodes, links)
	if len(nodes) > MostNodes {
		p.group()
	}
	if p.marks() > 2*MostNodes {
		return Picture{Grouped: true, TooMany: true}
	}
	p.place()
	return p.picture(links)
}

// plan is the order of the marks.
type plan struct {
	gateways []*Mark
	around   [][]*Mark        // the other nodes by gateway; the last ones have none
	at       map[string]*Mark // by the id of a node
	grouped  bool
}

func newPlan(nodes []Node, links []Link) *plan {
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	nameHub(nodes, links)
	p := &plan{at: make(map[string]*Mark, len(nodes))}
	place := map[string]int{} // by the id of a gateway
	for _, n := range nodes {
		m := &Mark{Node: n, Label: cut(n.Name)}
		p.at[n.ID] = m
		if n.Gateway {
			place[n.ID] = len(p.gateways)
			p.gateways = append(p.gateways, m)
		}
	}
	home := map[string]int{} // by the id of a node: the place of its gateway
	for _, l := range links {
		for _, pair := range [][2]string{{l.From, l.To}, {l.To, l.From}} {
			if i, ok := place[pair[1]]; ok {
				if before, has := home[pair[0]]; !has || i < before {
					home[pair[0]] = i
				}
			}
		}
	}
	p.around = make([][]*Mark, len(p.gateways)+1)
	for _, n := range nodes {
		if n.Gateway {
			continue
		}
		i, ok := home[n.ID]
		if !ok {
			i = len(p.gateways)
		}
		p.around[i] = append(p.around[i], p.at[n.ID])
	}
	return p
}

// nameHub makes a gateway of the node that every link ends at, if there are no gateways.
func nameHub(nodes []Node, links []Link) {
	ends := map[string]int{}
	for _, l := range links {
		ends[l.From]++
		ends[l.To]++
	}
	if slices.ContainsFunc(nodes, func(n Node) bool { return n.Gateway }) || len(links) < 2 {
		return
	}
	for i, n := range nodes {
		if ends[n.ID] == len(links) {
			nodes[i].Gateway = true
			return
		}
	}
}

// group makes one mark of all nodes of a gateway.
func (p *plan) group() {
	p.grouped = true
	for i, marks := range p.around {
		if len(marks) < 2 {
			continue
		}
		g := &Mark{Nodes: make([]Node, len(marks)), Label: fmt.Sprintf("%d nodes", len(marks))}
		g.Name = g.Label
		if i < len(p.gateways) {
			g.Name += " at " + p.gateways[i].Name
		}
		for j, m := range marks {
			g.Nodes[j] = m.Node
			p.at[m.ID] = g
		}
		p.around[i] = []*Mark{g}
	}
}

// marks returns the number of marks.
func (p *plan) marks() int {
	n := len(p.gateways)
	for _, marks := range p.around {
		n += len(marks)
	}
	return n
}

// picture returns the result, moved so that the upper left corner is 0, 0.
func (p *plan) picture(links []Link) Picture {
	out := Picture{Grouped: p.grouped}
	all := slices.Clone(p.gateways)
	for _, marks := range p.around {
		all = append(all, marks...)
	}
	edges := frame(all)
	out.Width, out.Height = edges.width(), edges.height()
	for _, m := range all {
		m.X, m.Y = round(m.X-edges.left), round(m.Y-edges.top)
		out.Marks = append(out.Marks, *m)
	}
	lines := map[[2]*Mark]int{}
	for _, l := range links {
		a, b := p.at[l.From], p.at[l.To]
		if a == nil || b == nil || a == b {
			continue
		}
		i, known := lines[[2]*Mark{a, b}]
		if !known {
			i, known = lines[[2]*Mark{b, a}]
		}
		if !known {
			i = len(out.Lines)
			lines[[2]*Mark{a, b}] = i
			out.Lines = append(out.Lines, Line{From: a.Name, To: b.Name, X1: a.X, Y1: a.Y, X2: b.X, Y2: b.Y, State: l.State})
		}
		out.Lines[i].Links++
	}
	return out
}
