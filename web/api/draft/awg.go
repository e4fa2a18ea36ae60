package draft

import (
	"cmp"
	"crypto/rand"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) awgRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/configs/protocol-options", Access: wire.Session, Handle: a.protocolOptions,
			Summary: "The tunnel protocols, the versions of AmneziaWG with the members that each has, and the choices for drafts of their values.",
			Data:    protocolOptions{},
		},
		{
			Method: http.MethodPost, Path: "/api/v1/configs/awg/random", Access: wire.Session, Handle: a.randomAWG, Harmless: true,
			Summary: "New values of AmneziaWG for a mesh, which are not kept. With regenerate_key=false, they have no header_protection_key.",
			Query:   "awg_version regenerate_key", Data: awgDraft{}, Codes: "VALIDATION_ERROR",
		},
		{
			Method: http.MethodPost, Path: "/api/v1/configs/awg/generate", Access: wire.Session, Handle: a.generateAWG, Harmless: true,
			Summary: "New values of AmneziaWG for a mesh and its nodes, which are not kept. direction is the protocol that the first packets of a node imitate. " +
				"With the scope node, those of the mesh stay as they are in config.",
			Body:  "awg_version, direction, intensity, scope, config object, nodes objects",
			Items: "node_id, " + wire.AWGNodeMembers, Objects: map[string]string{"config": wire.AWGMeshMembers, "awg_options": wire.AWGOptions},
			Data: generatedAWG{}, Codes: mesh.CodeInvalidAWG,
		},
		{
			Method: http.MethodPost, Path: "/api/v1/configs/awg/convert", Access: wire.Session, Handle: a.convertAWG, Harmless: true,
			Summary: "The values of AmneziaWG of config, as another version needs them, with the changes. They are not kept.",
			Body:    "awg_version!, config! object", Objects: map[string]string{"config": "awg_version, " + wire.AWGMeshMembers, "awg_options": wire.AWGOptions},
			Data: convertedAWG{}, Codes: mesh.CodeInvalidAWG,
		},
		{
			Method: http.MethodPost, Path: "/api/v1/nodes/awg/random", Access: wire.Session, Handle: a.randomAWGNode, Harmless: true,
			Summary: "New values of AmneziaWG for a node, which are not kept. direction is the protocol that its first packets imitate.",
			Query:   "direction intensity", Data: view.AWGNode{}, Codes: mesh.CodeInvalidAWG,
		},
	}
}

var awgVersions = []string{"1.5", "2.0", "3.1"}

type protocolOptions struct {
	TunnelProtocols   []string         `json:"tunnel_protocols"`
	AWGVersions       []awgVersionView `json:"awg_versions"`
	DefaultAWGVersion string           `json:"default_awg_version"`
	AWGDirections     []string         `json:"awg_directions"`
	AWGIntensities    []string         `json:"awg_intensities"`
}

type awgVersionView struct {
	AWGVersion    string   `json:"awg_version"`
	ConfigMembers []string `json:"config_members"`
	NodeMembers   []string `json:"node_members"`
	Options       []string `json:"awg_options"`
	NodeOptions   []string `json:"node_awg_options"`
}

func (a *API) protocolOptions(c echo.Context) error {
	v := protocolOptions{
		TunnelProtocols:   []string{protocol.TunnelWireGuard, protocol.TunnelAmneziaWG},
		DefaultAWGVersion: mesh.DefaultAWGVersion,
		AWGDirections: []string{
			string(mesh.DisguiseGeneric), string(mesh.DisguiseDNS), string(mesh.DisguiseQUIC), string(mesh.DisguiseRTP), string(mesh.DisguiseSTUN),
		},
		AWGIntensities: []string{string(mesh.IntensityLow), string(mesh.IntensityBalanced), string(mesh.IntensityHigh)},
	}
	for _, version := range awgVersions {
		one := awgVersionView{AWGVersion: version, Options: []string{}, NodeOptions: []string{}}
		for _, name := range names(wire.AWGNodeMembers) {
			if name != "awg_options" {
				one.NodeMembers = append(one.NodeMembers, name)
			}
		}
		for _, name := range names(wire.AWGMeshMembers) {
			later := name == "awg_s3" || name == "awg_s4"
			if name != "awg_options" && (version != "1.5" || !later) {
				one.ConfigMembers = append(one.ConfigMembers, name)
			}
		}
		if version == "3.1" {
			one.Options, one.NodeOptions = names(wire.AWGOptions), names(wire.AWGNodeOptions)
		}
		v.AWGVersions = append(v.AWGVersions, one)
	}
	return wire.Respond(c, v)
}

// names returns the names of the members.
func names(members string) (all []string) {
	described, _ := wire.BodyMembers(members)
	for _, m := range described {
		all = append(all, m.Name)
	}
	return all
}

// awgDraft has values for a mesh.
type awgDraft struct {
	AWGVersion string `json:"awg_version"`
	view.AWGMesh
}

func (a *API) randomAWG(c echo.Context) error {
	f := &wire.Fields{}
	version, withKey := c.QueryParam("awg_version"), true
	if version == "" {
		version = mesh.DefaultAWGVersion
	}
	if !protocol.ValidAWGVersion(version) {
		f.Reject("awg_version", "must be one of "+strings.Join(awgVersions, ", "))
	}
	switch c.QueryParam("regenerate_key") {
	case "", "true", "1":
	case "false", "0":
		withKey = false
	default:
		f.Reject("regenerate_key", "must be true or false")
	}
	if err := f.Err(); err != nil {
		return err
	}
	values, err := mesh.NewAWG(version, rand.Reader)
	if err != nil {
		return err
	}
	if !withKey {
		values.HeaderProtectionKey = ""
	}
	return wire.Respond(c, awgDraft{version, view.AWGMeshWithKey(values)})
}

// generatedAWG has new values for a mesh and its nodes.
type generatedAWG struct {
	Scope     string             `json:"scope"`
	Direction mesh.Disguise      `json:"direction"`
	Intensity mesh.Intensity     `json:"intensity"`
	Config    awgDraft           `json:"config"`
	Nodes     []generatedAWGNode `json:"nodes"` // in the order of the request
}

type generatedAWGNode struct {
	NodeID string `json:"node_id"` // that of the request; empty if it has none
	view.AWGNode
}

// The scopes of new values.
const (
	scopeAll  = "all"
	scopeNode = "node"
)

func (a *API) generateAWG(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BulkBodyLimit)
	if err != nil {
		return err
	}
	q := mesh.AWGQuery{
		Version:   cmp.Or(wire.Or(f.Text("awg_version", wire.AWGVersion), ""), mesh.DefaultAWGVersion),
		Disguise:  mesh.Disguise(wire.Or(f.Text("direction", wire.Line(0, 20)), string(mesh.DisguiseGeneric))),
		Intensity: mesh.Intensity(wire.Or(f.Text("intensity", wire.Line(0, 20)), string(mesh.IntensityBalanced))),
	}
	scope := wire.Or(f.Text("scope", wire.OneOf(scopeAll, scopeNode)), scopeAll)
	q.NodesOnly = scope == scopeNode
	if values := f.Object("config"); values != nil {
		wire.ReadAWGMesh(values)(&q.Mesh)
		f.AbsorbObject("config", values.Faults())
	}
	ids := readAWGNodes(f, &q)
	if err := f.Err(); err != nil {
		return err
	}
	v, err := mesh.GenerateAWG(q, rand.Reader)
	if err != nil {
		return err
	}
	answer := generatedAWG{scope, q.Disguise, q.Intensity, awgDraft{q.Version, view.AWGMeshWithKey(v.Mesh)}, []generatedAWGNode{}}
	for i, n := range v.Nodes {
		answer.Nodes = append(answer.Nodes, generatedAWGNode{ids[i], view.AWGNodeOf(n)})
	}
	return wire.Respond(c, answer)
}

// readAWGNodes reads the present values of the nodes, and returns their ids. Values for a node
// alone need no present ones.
func readAWGNodes(f *wire.Fields, q *mesh.AWGQuery) (ids []string) {
	for i, row := range f.OptionalObjects("nodes", wire.BulkRows) {
		if row == nil { // already rejected
			continue
		}
		var n store.AWGNode
		ids = append(ids, wire.Or(row.Text("node_id", wire.Line(0, protocol.MaxIDLength)), ""))
		wire.ReadAWGNode(row)(&n)
		q.Nodes = append(q.Nodes, n)
		f.Absorb("nodes", i, row.Faults())
	}
	if len(q.Nodes) == 0 && q.NodesOnly {
		ids, q.Nodes = []string{""}, make([]store.AWGNode, 1)
	}
	return ids
}

// convertedAWG has the values of another version.
type convertedAWG struct {
	Config  awgDraft `json:"config"`
	Changes []string `json:"changes"`
}

func (a *API) convertAWG(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	to := f.Need("awg_version", wire.OneOf(awgVersions...))
	values := f.Object("config")
	f.Require("config", values != nil)
	cfg := store.Config{TunnelProtocol: protocol.TunnelAmneziaWG}
	if values != nil {
		cfg.AWGVersion = wire.Or(values.Text("awg_version", wire.AWGVersion), "")
		wire.ReadAWGMesh(values)(&cfg.AWG)
		f.AbsorbObject("config", values.Faults())
	}
	if err := f.Err(); err != nil {
		return err
	}
	if problems := mesh.CheckAWGMesh(cfg); len(problems) > 0 {
		return &mesh.Error{Code: mesh.CodeInvalidAWG, Message: strings.Join(problems, " ")}
	}
	cfg, changes, err := mesh.ConvertAWG(cfg, to, rand.Reader)
	if err != nil {
		return err
	}
	if changes == nil {
		changes = []string{}
	}
	return wire.Respond(c, convertedAWG{awgDraft{to, view.AWGMeshWithKey(cfg.AWG)}, changes})
}

func (a *API) randomAWGNode(c echo.Context) error {
	values, err := mesh.NewAWGNode(mesh.Disguise(c.QueryParam("direction")), mesh.Intensity(c.QueryParam("intensity")), rand.Reader)
	if err != nil {
		return err
	}
	return wire.Respond(c, view.AWGNodeOf(values))
}
