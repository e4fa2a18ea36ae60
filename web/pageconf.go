package web

import (
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/ui"
)

type confBody struct {
	Config        store.Config
	Node          nodeView
	API, NodePath string
	Sync          string
	Conf          syncRefs
	Text          string
	Hidden        bool // who asks may not see texts
	Versions      []confVersionView
	Shown         *confTextView
	Diff          []diffLine
}

// diffLine is a line of a unified diff. Its class says what its first character says.
type diffLine struct{ Class, Text string }

// confPage is the editor of a node's tunnel config, with its history.
func (s *Server) confPage(c echo.Context) (show, error) {
	v := confBody{Hidden: !mayWrite(loginOf(c))}
	version, _ := strconv.Atoi(pageQuery(c, "version")) // anything else shows none
	f, err := s.pathFacts(c, func(tx *store.Tx, f facts) (err error) {
		if f.conf.Desired.Version != 0 && !v.Hidden {
			if v.Text, err = tx.ConfText(f.node.ID, f.conf.Desired.SHA256); err != nil {
				return err
			}
		}
		versions, err := tx.ConfVersions(f.node.ID, 0, maxPage)
		for _, one := range versions {
			v.Versions = append(v.Versions, f.versionView(one))
		}
		return err
	})
	if err != nil {
		return show{}, err
	}
	if v.Text != "" {
		s.noteKeyRead(c, f.node.ID, f.conf.Desired.Version, 0)
	}
	if version > 0 {
		shown, err := s.readConfVersion(c, version, 0)
		if err != nil {
			return show{}, err
		}
		v.Shown, v.Diff = &shown, diffLines(shown.Diff)
	}
	v.Config, v.Node, v.Conf, v.Sync = f.config, f.view(), f.syncRefs(), f.syncShown()
	v.NodePath = "/configs/" + f.config.ID + "/nodes/" + f.node.ID
	v.API = "/api/v1" + v.NodePath
	return show{template: "conf", Page: ui.Page{
		Title: "Tunnel config of " + f.node.Name, Nav: "Overview", LiveConfig: f.config.ID, LiveNode: f.node.ID, Body: v,
	}}, nil
}

func diffLines(text string) []diffLine {
	var lines []diffLine
	for line := range strings.Lines(text) {
		class := "same"
		switch {
		case strings.HasPrefix(line, "@@"), strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
			class = "at"
		case line[0] == '+':
			class = "add"
		case line[0] == '-':
			class = "del"
		}
		lines = append(lines, diffLine{class, strings.TrimSuffix(line, "\n")})
	}
	return lines
}
