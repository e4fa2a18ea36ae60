package importconf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
)

// awgField is a key of AmneziaWG, and its fields.
type awgField struct {
	key     string
	version string // the first that knows it
	mesh    func(*store.AWGMesh) *string
	node    func(*store.AWGNode) *string
}

// awgFields lists the keys. Those with both fields are the mesh's if all files have the same value.
var awgFields = []awgField{
	{"Jc", "1.5", nil, func(a *store.AWGNode) *string { return &a.Jc }},
	{"Jmin", "1.5", nil, func(a *store.AWGNode) *string { return &a.Jmin }},
	{"Jmax", "1.5", nil, func(a *store.AWGNode) *string { return &a.Jmax }},
	{"I1", "1.5", nil, func(a *store.AWGNode) *string { return &a.I1 }},
	{"I2", "1.5", nil, func(a *store.AWGNode) *string { return &a.I2 }},
	{"I3", "1.5", nil, func(a *store.AWGNode) *string { return &a.I3 }},
	{"I4", "1.5", nil, func(a *store.AWGNode) *string { return &a.I4 }},
	{"I5", "1.5", nil, func(a *store.AWGNode) *string { return &a.I5 }},
	{"S1", "1.5", func(a *store.AWGMesh) *string { return &a.S1 }, nil},
	{"S2", "1.5", func(a *store.AWGMesh) *string { return &a.S2 }, nil},
	{"S3", "2.0", func(a *store.AWGMesh) *string { return &a.S3 }, nil},
	{"S4", "2.0", func(a *store.AWGMesh) *string { return &a.S4 }, nil},
	{"H1", "1.5", func(a *store.AWGMesh) *string { return &a.H1 }, nil},
	{"H2", "1.5", func(a *store.AWGMesh) *string { return &a.H2 }, nil},
	{"H3", "1.5", func(a *store.AWGMesh) *string { return &a.H3 }, nil},
	{"H4", "1.5", func(a *store.AWGMesh) *string { return &a.H4 }, nil},
	{headerKey, "3.1", func(a *store.AWGMesh) *string { return &a.HeaderProtectionKey }, nil},
	{trailers, "3.1", nil, nil}, // a switch of the mesh
	{
		"ContentPaddingAddition", "3.1", func(a *store.AWGMesh) *string { return &a.ContentPaddingAddition },
		func(a *store.AWGNode) *string { return &a.ContentPaddingAddition },
	},
	{
		"RekeyAfterTime", "3.1", func(a *store.AWGMesh) *string { return &a.RekeyAfterTime },
		func(a *store.AWGNode) *string { return &a.RekeyAfterTime },
	},
	{
		"RekeyTimeout", "3.1", func(a *store.AWGMesh) *string { return &a.RekeyTimeout },
		func(a *store.AWGNode) *string { return &a.RekeyTimeout },
	},
	{
		"RejectAfterTime", "3.1", func(a *store.AWGMesh) *string { return &a.RejectAfterTime },
		func(a *store.AWGNode) *string { return &a.RejectAfterTime },
	},
	{
		"KeepaliveTimeout", "3.1", func(a *store.AWGMesh) *string { return &a.KeepaliveTimeout },
		func(a *store.AWGNode) *string { return &a.KeepaliveTimeout },
	},
	{
		"MaxHandshakeAttempts", "3.1", func(a *store.AWGMesh) *string { return &a.MaxHandshakeAttempts },
		func(a *store.AWGNode) *string { return &a.MaxHandshakeAttempts },
	},
	{"DisableCookies", "3.1", nil, func(a *store.AWGNode) *string { return &a.DisableCookies }},
}

const (
	headerKey = "HeaderProtectionKey"
	trailers  = "RandomTrailers"
)

// awgKeys has the keys by their names in lower case.
var awgKeys = func() map[string]string {
	m := map[string]string{}
	for _, f := range awgFields {
		m[strings.ToLower(f.key)] = f.key
	}
	return m
}()

// awgDefaults are the values that a file takes by not naming them; "" for the others.
var awgDefaults = map[string]string{
	"S1": "0", "S2": "0", "S3": "0", "S4": "0", "H1": "1", "H2": "2", "H3": "3", "H4": "4", "Jc": "0", "Jmin": "0", "Jmax": "0",
}

// awgValue returns the value in the form of the records.
func awgValue(key, text string) string {
	switch key {
	case trailers, "DisableCookies":
		if strings.EqualFold(text, "on") || text == "1" {
			return "on"
		}
		return ""
	case headerKey:
		if !mesh.ValidKey(text) { // all zeros: none
			return ""
		}
	}
	return text
}

// meant returns the value of a key that the file has or takes by default.
func (c *conf) meant(key string) string { return cmp.Or(c.awg[key].text, awgDefaults[key]) }

// shared reports whether all nodes of a mesh need the same value.
func (f awgField) shared() bool { return f.node == nil }

// planAWG takes the values of AmneziaWG from the files: those of the mesh if it is empty, and those of
// the nodes.
func (p *planner) planAWG() {
	if protocol.ToolFamily(p.plan.Config.TunnelProtocol) != "awg" || len(p.files) == 0 {
		return
	}
	p.checkShared()
	if len(p.Nodes) == 0 {
		p.takeAWG()
	} else {
		p.compareAWG()
	}
	cfg := &p.plan.Config
	for _, n := range p.nodes {
		if n.conf == nil {
			continue
		}
		for _, f := range awgFields {
			if f.node == nil {
				continue
			}
			if v := n.conf.awg[f.key].text; f.mesh == nil || v != *f.mesh(&cfg.AWG) {
				*f.node(&n.AWG) = v
			}
		}
		if n.AWG.Jc == "" { // else values would be made for it
			n.AWG.Jc = "0"
		}
	}
}

// checkShared finds files that differ where all nodes need the same.
func (p *planner) checkShared() {
	first := p.files[0]
	for _, c := range p.files[1:] {
		for _, f := range awgFields {
			if !f.shared() || first.meant(f.key) == c.meant(f.key) {
				continue
			}
			here, there := c.written(f.key), first.written(f.key)
			p.problem(c, c.awg[f.key].line, "All nodes of a mesh need the same %s: this file has %s, and %s has %s. Correct one of them.",
				f.key, here, first.file.Name, there)
		}
	}
}

// written shows the value of a key, unless it is secret.
func (c *conf) written(key string) string {
	v := c.awg[key]
	switch {
	case v.text == "" && awgDefaults[key] != "":
		return "none, which means " + awgDefaults[key]
	case v.text == "":
		return "none"
	case key == headerKey:
		return fmt.Sprintf("the one on line %d", v.line)
	}
	return fmt.Sprintf("%q on line %d", v.text, v.line)
}

// takeAWG gives an empty mesh the values of the files.
func (p *planner) takeAWG() {
	cfg, first := &p.plan.Config, p.files[0]
	needed := "1.5"
	cfg.AWG = store.AWGMesh{RandomTrailers: first.awg[trailers].text != ""}
	for _, f := range awgFields {
		for _, c := range p.files {
			if c.awg[f.key].text != "" {
				needed = max(needed, f.version)
			}
		}
		switch {
		case f.mesh == nil:
		case f.shared():
			*f.mesh(&cfg.AWG) = first.awg[f.key].text
		case !slices.ContainsFunc(p.files, func(c *conf) bool { return c.awg[f.key].text != first.awg[f.key].text }):
			*f.mesh(&cfg.AWG) = first.awg[f.key].text
		}
	}
	for _, h := range []string{cfg.AWG.H1, cfg.AWG.H2, cfg.AWG.H3, cfg.AWG.H4} {
		if strings.Contains(h, "-") {
			needed = max(needed, "2.0")
		}
	}
	if cfg.AWG == (store.AWGMesh{}) { // else values would be made for it
		cfg.AWG = store.AWGMesh{S1: "0", S2: "0", H1: "1", H2: "2", H3: "3", H4: "4"}
	}
	if version := cmp.Or(cfg.AWGVersion, "2.0"); version < needed {
		cfg.AWGVersion = needed
		p.setting("The version of AmneziaWG becomes %s, which knows all values of the files.", needed)
	}
	p.setting("The values of AmneziaWG that all nodes share become those of the files.")
}

// compareAWG checks that the files have the values of a mesh that has nodes already.
func (p *planner) compareAWG() {
	cfg, first := p.plan.Config, p.files[0]
	for _, f := range awgFields {
		if first.awg[f.key].text != "" && cmp.Or(cfg.AWGVersion, "2.0") < f.version {
			p.problem(first, first.awg[f.key].line, "%s needs AmneziaWG %s, and the mesh has %s. Raise awg_version of the mesh first, or import into a mesh of its own.",
				f.key, f.version, cmp.Or(cfg.AWGVersion, "2.0"))
			continue
		}
		if !f.shared() {
			continue
		}
		has := ""
		switch {
		case f.mesh != nil:
			has = *f.mesh(&cfg.AWG)
		case cfg.AWG.RandomTrailers:
			has = "on"
		}
		if cmp.Or(has, awgDefaults[f.key]) != first.meant(f.key) {
			p.problem(first, first.awg[f.key].line,
				"%s differs from the mesh's, and all nodes need the same. Correct the file, or import into a mesh of its own.", f.key)
		}
	}
}
