package importconf

import (
	"fmt"
	"strings"

	"wfm/mesh"
)

// mostTold is how many problems a refusal names.
const mostTold = 10

// Refusal returns the problems of the plan as an error; nil if there are none. It is a *mesh.Error.
func (p Plan) Refusal() error {
	if len(p.Problems) == 0 {
		return nil
	}
	var words []string
	for _, r := range p.Problems[:min(len(p.Problems), mostTold)] {
		words = append(words, r.String())
	}
	if more := len(p.Problems) - len(words); more > 0 {
		words = append(words, fmt.Sprintf("And %d more problems; dry_run names them.", more))
	}
	return &mesh.Error{Code: mesh.CodeInvalidImport, Message: "Nothing was imported. " + strings.Join(words, " ")}
}

// Apply makes the nodes and links of the plan. Errors: that of Refusal, and those of the edit's methods.
func (p Plan) Apply(e *mesh.Edit) error {
	if err := p.Refusal(); err != nil {
		return err
	}
	if len(p.Settings) > 0 {
		cfg := p.Config
		if err := e.PutConfig(&cfg); err != nil {
			return err
		}
	}
	for _, planned := range p.Nodes {
		n, err := e.NewNode(planned.ID)
		if err != nil {
			return err
		}
		autoSync := n.AutoSync
		n.Name, n.Type, n.InterfaceName, n.NodeSettings = planned.Name, planned.Type, planned.InterfaceName, planned.NodeSettings
		n.AutoSync = autoSync
		if err := e.PutNode(&n); err != nil {
			return err
		}
		if planned.Text == "" {
			continue
		}
		if err := e.PutText(n.ID, planned.Text, "imported from "+planned.File); err != nil {
			return err
		}
	}
	for _, l := range p.Links {
		if err := e.PutLink(&l); err != nil {
			return err
		}
	}
	return nil
}
