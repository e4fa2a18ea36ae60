package page

import (
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/store"
	"wfm/web/ui/picture"
	"wfm/web/view"
)

// linkRests is the state of a link in the picture that is not in use.
const linkRests = "rests"

// pictureRow is a mark of the picture as a row of a table.
type pictureRow struct {
	pictureMark
	Linked []string // with which others
}

// pictureMark is a mark of the picture.
type pictureMark struct {
	picture.Mark
	Path   string // "" for a group
	State  string // of the node; of a group, that of most concern
	Counts []stateCount
}

// stateCount is how many nodes of a group are in a state.
type stateCount struct {
	State string
	N     int
}

type pictureBody struct {
	meshHead
	picture.Picture
	Drawn  []pictureMark
	Rows   []pictureRow
	States []string // that occur
	Rests  bool     // a link rests
}

// statesByConcern has the states of nodes, those first that somebody should look at.
var statesByConcern = []view.State{view.StateDropped, view.StateOffline, view.StateUnbound, view.StateOnline, view.StateStatic, view.StateDisabled}

func (p *Pages) picturePage(c echo.Context) (show, error) {
	var v pictureBody
	if err := p.DB.View(func(tx *store.Tx) (err error) {
		if v.meshHead, err = readMeshHead(tx, c.Param("config_id"), tabPicture); err != nil {
			return err
		}
		m, err := mesh.Load(tx, v.Config.ID)
		if err != nil {
			return err
		}
		links, err := tx.Links(v.Config.ID)
		if err != nil {
			return err
		}
		var nodes []picture.Node
		resting := map[string]bool{}
		if err := p.Reader.EachFacts(tx, v.Config, func(f view.Facts) {
			nodes = append(nodes, picture.Node{ID: f.Node.ID, Name: f.Node.Name, State: string(f.State()), Gateway: m.Gateway(f.Node.ID)})
			resting[f.Node.ID] = !f.Node.Enabled
		}); err != nil {
			return err
		}
		v.draw(nodes, links, resting)
		return nil
	}); err != nil {
		return show{}, err
	}
	s := v.show("picture", "Picture", v)
	s.Every = 60
	return s, nil
}

func (v *pictureBody) draw(nodes []picture.Node, links []store.Link, resting map[string]bool) {
	drawn := make([]picture.Link, len(links))
	for i, l := range links {
		drawn[i] = picture.Link{ID: l.ID, From: l.Forward.LocalNodeID, To: l.Forward.PeerNodeID}
		if !l.Enabled || resting[l.Forward.LocalNodeID] || resting[l.Forward.PeerNodeID] {
			drawn[i].State, v.Rests = linkRests, true
		}
	}
	v.Picture = picture.Draw(nodes, drawn)
	linked := map[string][]string{}
	for _, l := range v.Lines {
		linked[l.From] = append(linked[l.From], l.To)
		linked[l.To] = append(linked[l.To], l.From)
	}
	occurs := map[string]bool{}
	for _, m := range v.Marks {
		mark := pictureMark{Mark: m, State: m.State}
		if m.Group() {
			mark.Counts = countStates(m.Nodes)
			mark.State = mark.Counts[0].State
		} else {
			mark.Path = v.Path() + "/nodes/" + m.ID
		}
		occurs[mark.State] = true
		others := linked[m.Name]
		slices.Sort(others)
		v.Drawn = append(v.Drawn, mark)
		v.Rows = append(v.Rows, pictureRow{mark, others})
	}
	for _, s := range statesByConcern {
		if occurs[string(s)] {
			v.States = append(v.States, string(s))
		}
	}
	slices.SortStableFunc(v.Rows, func(a, b pictureRow) int { return strings.Compare(a.Name, b.Name) })
}

// countStates counts the nodes by state, those first that somebody should look at.
func countStates(nodes []picture.Node) (counts []stateCount) {
	n := map[string]int{}
	for _, node := range nodes {
		n[node.State]++
	}
	for _, s := range statesByConcern {
		if n[string(s)] > 0 {
			counts = append(counts, stateCount{string(s), n[string(s)]})
		}
	}
	return counts
}
