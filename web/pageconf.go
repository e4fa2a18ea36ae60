package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/ui"
	"wfm/web/wire"
)

// diffView is what saving a text would change, for who has typed it while somebody else saved.
type diffView struct {
	Version   int        `json:"version"` // the desired one, which it is compared with
	Author    string     `json:"author"`
	CreatedAt *time.Time `json:"created_at"`
	Lines     []diffLine `json:"lines"`
}

// confDiff compares a text with the one that is desired. Like the text, the answer holds a private
// key; so it is for who may write, and is not kept.
func (p *pages) confDiff(c echo.Context) error {
	body, err := wire.ReadBody(c, confBodyLimit)
	if err != nil {
		return err
	}
	mine := body.Need("content", wire.ConfText)
	if err := body.Err(); err != nil {
		return err
	}
	var v diffView
	var theirs string
	if _, err := p.reader.pathFacts(c, func(tx *store.Tx, f facts) error {
		this, err := tx.ConfVersion(f.node.ID, f.conf.Desired.Version)
		if err != nil {
			return err
		}
		v.Version, v.Author, v.CreatedAt = this.Version, this.Author, wire.When(this.At)
		theirs, err = tx.ConfText(f.node.ID, this.SHA256)
		return err
	}); err != nil {
		return err
	}
	text, err := diff(fmt.Sprint("version ", v.Version), theirs, "yours", mine)
	if err != nil {
		return err
	}
	v.Lines = diffLines(text)
	return wire.Respond(c, v)
}

type confBody struct {
	Config        store.Config
	Node          nodeView
	API, NodePath string
	DiffPath      string // see confDiff
	Sync          string
	CanPush       bool // there is an agent to push to, and nothing in the way
	ToStage       bool // what is desired is not staged for the mesh's tools
	Conf          syncRefs
	Text          string
	Hidden        bool // who asks may not see texts
	Versions      []confVersionView
	Shown         *confTextView
	Diff          []diffLine
}

// diffLine is a line of a unified diff. Its class says what its first character says.
type diffLine struct {
	Class string `json:"class"`
	Text  string `json:"text"`
}

// confPage is the editor of a node's tunnel config, with its history.
func (p *pages) confPage(c echo.Context) (show, error) {
	v := confBody{Hidden: !mayWrite(loginOf(c))}
	version, _ := strconv.Atoi(pageQuery(c, "version")) // anything else shows none
	f, err := p.reader.pathFacts(c, func(tx *store.Tx, f facts) (err error) {
		if f.conf.Desired.Version != 0 && !v.Hidden {
			if v.Text, err = tx.ConfText(f.node.ID, f.conf.Desired.SHA256); err != nil {
				return err
			}
		}
		versions, err := tx.ConfVersions(f.node.ID, 0, wire.MaxPage)
		for _, one := range versions {
			v.Versions = append(v.Versions, f.versionView(one))
		}
		return err
	})
	if err != nil {
		return show{}, err
	}
	if v.Text != "" {
		p.audit.noteKeyRead(c, f.node.ID, f.conf.Desired.Version, 0)
	}
	if version > 0 {
		shown, err := p.reader.readConfVersion(c, version, 0)
		if err != nil {
			return show{}, err
		}
		v.Shown, v.Diff = &shown, diffLines(shown.Diff)
	}
	v.Config, v.Node, v.Conf, v.Sync = f.config, f.view(), f.syncRefs(), f.syncShown()
	v.CanPush, v.ToStage = f.bound() && p.reader.obstacle(f) == "", f.toStage()
	v.NodePath = "/configs/" + f.config.ID + "/nodes/" + f.node.ID
	v.API, v.DiffPath = "/api/v1"+v.NodePath, "/ui"+v.NodePath+"/diff"
	return show{template: "conf", Page: ui.Page{
		Title: "Tunnel config of " + f.node.Name, Nav: "Overview", LiveConfig: f.config.ID, LiveNode: f.node.ID, Body: v,
	}}, nil
}

func diffLines(text string) []diffLine {
	lines := []diffLine{}
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
