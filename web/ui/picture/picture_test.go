package picture

import (
	"fmt"
	"math"
	"reflect"
	"testing"
)

// star returns a mesh of n nodes, the first g of which are gateways that are linked with each other.
func star(n, g int) (nodes []Node, links []Link) {
	for i := range n {
		id := fmt.Sprintf("node%03d", i)
		nodes = append(nodes, Node{ID: id, Name: fmt.Sprintf("%s of the branch office", id), State: "online", Gateway: i < g})
		switch {
		case i < g:
			for j := range i {
				links = append(links, Link{ID: fmt.Sprint("link", i, j), From: id, To: nodes[j].ID})
			}
		case g > 0:
			links = append(links, Link{ID: fmt.Sprint("link", i), From: id, To: nodes[(i*i)%g].ID})
		}
	}
	return nodes, links
}

// checked draws the mesh and checks that no two marks cover each other and that all are in the picture.
func checked(t *testing.T, nodes []Node, links []Link) Picture {
	t.Helper()
	p := Draw(nodes, links)
	for i, m := range p.Marks {
		s := m.shape()
		for _, c := range s {
			if c.x < 0 || c.y < 0 || c.x > p.Width || c.y > p.Height {
				t.Fatalf("%d nodes: %s is out of the picture of %v × %v", len(nodes), m.Name, p.Width, p.Height)
			}
		}
		for _, other := range p.Marks[:i] {
			// Places are rounded to a tenth, so that shapes may touch.
			if smaller(s).meets(smaller(other.shape())) {
				t.Fatalf("%d nodes: %s covers %s", len(nodes), m.Name, other.Name)
			}
		}
	}
	return p
}

// smaller returns the rectangle with its corners a little nearer to its middle.
func smaller(s shape) shape {
	var x, y float64
	for _, c := range s {
		x, y = x+c.x/4, y+c.y/4
	}
	for i, c := range s {
		s[i] = point{c.x + 0.03*(x-c.x), c.y + 0.03*(y-c.y)}
	}
	return s
}

func TestNoTwoNodesCoverEachOther(t *testing.T) {
	for n := 1; n <= MostNodes; n++ {
		for _, g := range []int{0, 1, 2, 3, 5, 8, 20, n} {
			if g > n {
				continue
			}
			nodes, links := star(n, g)
			p := checked(t, nodes, links)
			if len(p.Marks) != n || len(p.Lines) != len(links) || p.Grouped {
				t.Fatalf("%d nodes, %d gateways: %d marks and %d of %d lines", n, g, len(p.Marks), len(p.Lines), len(links))
			}
		}
	}
}

func TestAMeshOfSixtyNodesFitsAScreen(t *testing.T) {
	for _, g := range []int{0, 1, 3, 6} {
		nodes, links := star(MostNodes, g)
		if p := Draw(nodes, links); p.Width > 900 || p.Height > 900 {
			t.Errorf("with %d gateways, the picture has %v × %v", g, p.Width, p.Height)
		}
	}
}

func TestGatewaysStandInTheMiddle(t *testing.T) {
	nodes, links := star(40, 4)
	p := Draw(nodes, links)
	far := func(m Mark) float64 { return math.Hypot(m.X-p.Width/2, m.Y-p.Height/2) }
	var most float64
	least := math.Inf(1)
	for _, m := range p.Marks {
		if m.Gateway {
			most = max(most, far(m))
		} else {
			least = min(least, far(m))
		}
	}
	if most >= least {
		t.Errorf("a gateway is %v from the middle, another node %v", most, least)
	}
}

func TestTheNodeThatEveryLinkEndsAtIsInTheMiddle(t *testing.T) {
	nodes, _ := star(5, 0)
	var links []Link
	for _, n := range nodes[1:] {
		links = append(links, Link{From: n.ID, To: nodes[0].ID})
	}
	for _, m := range Draw(nodes, links).Marks {
		if m.Gateway != (m.ID == nodes[0].ID) {
			t.Errorf("%s: gateway is %v", m.Name, m.Gateway)
		}
	}
}

func TestALargeMeshHasOneMarkForTheNodesOfAGateway(t *testing.T) {
	nodes, links := star(2000, 12)
	p := checked(t, nodes, links)
	if !p.Grouped || len(p.Marks) > 24 || len(p.Marks) < 14 {
		t.Fatalf("%d marks, grouped: %v", len(p.Marks), p.Grouped)
	}
	total, links2 := 0, 0
	for _, m := range p.Marks {
		total += max(1, len(m.Nodes))
	}
	for _, l := range p.Lines {
		links2 += l.Links
	}
	if total != len(nodes) || links2 != len(links) {
		t.Errorf("the picture has %d of %d nodes and %d of %d links", total, len(nodes), links2, len(links))
	}
	nodes, links = star(300, 0)
	if p := checked(t, nodes, links); len(p.Marks) != 1 || p.Marks[0].Name != "300 nodes" {
		t.Errorf("without a gateway: %+v", p.Marks)
	}
	nodes, links = star(200, 200)
	if p := Draw(nodes, links); !p.TooMany {
		t.Error("200 gateways are drawn")
	}
}

func TestThePictureDoesNotDependOnTheOrderOfItsNodes(t *testing.T) {
	nodes, links := star(30, 3)
	before := Draw(nodes, links)
	nodes[0], nodes[20], nodes[5], nodes[7] = nodes[20], nodes[0], nodes[7], nodes[5]
	if after := Draw(nodes, links); !reflect.DeepEqual(before, after) {
		t.Error("the picture has changed")
	}
}

func TestALinkToANodeThatIsNotThereIsLeftOut(t *testing.T) {
	p := Draw([]Node{{ID: "a", Name: "a"}}, []Link{{From: "a", To: "gone"}, {From: "a", To: "a"}})
	if len(p.Marks) != 1 || len(p.Lines) != 0 {
		t.Errorf("%+v", p)
	}
	if p := Draw(nil, nil); len(p.Marks) != 0 || p.Width != 0 {
		t.Errorf("an empty mesh: %+v", p)
	}
}

func TestALongNameKeepsItsEnd(t *testing.T) {
	for name, want := range map[string]string{"amsterdam": "amsterdam", "branch office 0017": "branch off… 0017"} {
		if got := cut(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
