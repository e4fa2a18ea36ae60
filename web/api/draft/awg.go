package draft

import (
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

// The versions of AmneziaWG, and the one for new meshes while the tools for 3.1 are rare.
var awgVersions = []string{"1.5", "2.0", "3.1"}

const defaultAWGVersion = "2.0"

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
}

func (a *API) protocolOptions(c echo.Context) error {
	v := protocolOptions{
		TunnelProtocols:   []string{protocol.TunnelWireGuard, protocol.TunnelAmneziaWG},
		DefaultAWGVersion: defaultAWGVersion,
		AWGDirections: []string{
			string(mesh.DisguiseGeneric), string(mesh.DisguiseDNS), string(mesh.DisguiseQUIC), string(mesh.DisguiseRTP), string(mesh.DisguiseSTUN),
		},
		AWGIntensities: []string{string(mesh.IntensityLow), string(mesh.IntensityBalanced), string(mesh.IntensityHigh)},
	}
	for _, version := range awgVersions {
		one := awgVersionView{AWGVersion: version, NodeMembers: names(wire.AWGNodeMembers), Options: []string{}}
		for _, name := range names(wire.AWGMeshMembers) {
			later := name == "awg_s3" || name == "awg_s4"
			if name != "awg_options" && (version != "1.5" || !later) {
				one.ConfigMembers = append(one.ConfigMembers, name)
			}
		}
		if version == "3.1" {
			one.Options = names(wire.AWGOptions)
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
		version = defaultAWGVersion
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
