package importconf

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	rules "wfm/mesh/importconf"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

// API answers the call. Its fields are set before the first request and not changed after that.
type API struct {
	DB    *store.DB
	Log   *slog.Logger
	Audit *access.Auditor
}

// Routes has the route of the call.
func (a *API) Routes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: wire.PathConfig + "/import-conf", Access: wire.Session, Handle: a.importConf, OneWrite: true,
			Summary: "Makes nodes and links of up to 1,000 files for wg-quick or awg-quick, all or none. A node whose file means the same as the tunnel config that " +
				"the mesh would make gets that one; others, and with as_text all, keep their text. With dry_run, the answer has the plan with every problem, " +
				"and nothing is changed.",
			Body: "files! objects, as_text bool, dry_run bool", Items: "name!, text!, node_type", Data: confImportView{},
			Codes: mesh.CodeInvalidImport + " " + mesh.CodeInvalidSubnet + " " + mesh.CodeInvalidAWG + " " + mesh.CodeInvalidVirtualIP + " " +
				mesh.CodeInvalidKey + " " + mesh.CodeInvalidValue + " " + mesh.CodeInvalidText + " " + mesh.CodeInvalidPeerLink,
		},
	}
}

// order is a request for an import.
type order struct {
	files          []rules.File
	asText, dryRun bool
}

func readOrder(c echo.Context) (o order, err error) {
	f, err := wire.ReadBody(c, wire.BulkBodyLimit)
	if err != nil {
		return o, err
	}
	for i, row := range f.Objects("files", wire.BulkRows) {
		if row == nil { // already rejected
			continue
		}
		kind := row.Text("node_type", wire.OneOf(string(store.NodeDynamic), string(store.NodeStatic)))
		o.files = append(o.files, rules.File{
			Name: row.Need("name", wire.Line(1, 255)), Text: row.Need("text", wire.ConfText), Static: wire.Or(kind, "") == string(store.NodeStatic),
		})
		f.Absorb("files", i, row.Faults())
	}
	o.asText, o.dryRun = wire.Or(f.Flag("as_text"), false), wire.Or(f.Flag("dry_run"), false)
	return o, f.Err()
}

// plan plans the import into the mesh as it is in the transaction.
func (o order) plan(tx *store.Tx, configID string) (p rules.Plan, err error) {
	q := rules.Question{
		Files: o.files, AsText: o.asText,
		NewNodeID: func() string { return protocol.NewID("node") }, NewLinkID: func() string { return protocol.NewID("link") },
	}
	if q.Config, err = tx.Config(configID); err != nil {
		return p, err
	}
	if q.Nodes, err = mesh.LoadNodes(tx, q.Config); err != nil {
		return p, err
	}
	if q.Taken, err = mesh.TakenSubnets(tx, configID); err != nil {
		return p, err
	}
	return rules.Make(q), nil
}

func (a *API) importConf(c echo.Context) error {
	o, err := readOrder(c)
	if err != nil {
		return err
	}
	var p rules.Plan
	configID := c.Param("config_id")
	if o.dryRun {
		if p, err = store.Read(a.DB, func(tx *store.Tx) (rules.Plan, error) { return o.plan(tx, configID) }); err != nil {
			return err
		}
		v := viewOf(p, false)
		v.Message = fmt.Sprintf("Nothing was changed. %s and %s would be made.", count(len(p.Nodes), "node"), count(len(p.Links), "link"))
		switch n := len(p.Problems); {
		case n == 1:
			v.Message = "Nothing was changed, and nothing can be imported yet: 1 problem has to be solved first."
		case n > 1:
			v.Message = fmt.Sprintf("Nothing was changed, and nothing can be imported yet: %d problems have to be solved first.", n)
		}
		return wire.Respond(c, v)
	}
	var changed mesh.Changed
	if err := a.Audit.Update(c, func(tx *store.Tx) error {
		if p, err = o.plan(tx, configID); err != nil {
			return err
		}
		ids := make([]string, len(p.Nodes))
		for i, n := range p.Nodes {
			ids[i] = n.ID
		}
		access.NoteIDs(c, "node_ids", ids)
		changed, err = mesh.Change(tx, configID, access.LoginOf(c).Username, rand.Reader, p.Apply)
		return err
	}); err != nil {
		return err
	}
	v := viewOf(p, true)
	v.Effect, v.CreatedCount = view.EffectOf(changed), len(p.Nodes)
	v.Message = fmt.Sprintf("%s and %s were made. Nothing was sent to the nodes yet.", count(len(p.Nodes), "node"), count(len(p.Links), "link"))
	a.Log.Info("tunnel configs imported", "config_id", configID, "files", len(o.files), "nodes", len(p.Nodes), "links", len(p.Links),
		"by", access.LoginOf(c).Username)
	return wire.Respond(c, v)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
