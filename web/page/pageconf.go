package page

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/tunnel/wgconf"
	"wfm/web/access"
	"wfm/web/ui"
	"wfm/web/view"
	"wfm/web/wire"
)

// diffView shows the change that saving a text would make, to a person whose text collides with
// another save.
type diffView struct {
	Version   int        `json:"version"` // the desired one, which the text is compared with
	Author    string     `json:"author"`
	CreatedAt *time.Time `json:"created_at"`
	Lines     []diffLine `json:"lines"`
}

// confDiff compares a text with the desired one. The answer hides the keys of both.
func (p *Pages) confDiff(c echo.Context) error {
	body, err := wire.ReadBody(c, wire.ConfBodyLimit)
	if err != nil {
		return err
	}
	mine := body.Need("content", wire.ConfText)
	if err := body.Err(); err != nil {
		return err
	}
	if mine, err = p.Reader.WithKey(c, mine); err != nil {
		return err
	}
	var v diffView
	var theirs string
	if _, err := p.Reader.PathFacts(c, func(tx *store.Tx, f view.Facts) error {
		this, err := tx.ConfVersion(f.Node.ID, f.Conf.Desired.Version)
		if err != nil {
			return err
		}
		v.Version, v.Author, v.CreatedAt = this.Version, this.Author, wire.When(this.At)
		theirs, err = tx.ConfText(f.Node.ID, this.SHA256)
		return err
	}); err != nil {
		return err
	}
	text, err := view.Diff(fmt.Sprint("version ", v.Version), theirs, "yours", mine)
	if err != nil {
		return err
	}
	v.Lines = diffLines(wgconf.HideKeys(text))
	return wire.Respond(c, v)
}

type confBody struct {
	Config        store.Config
	Node          view.Node
	API, NodePath string
	DiffPath      string // see confDiff
	Sync          string
	CanPush       bool // there is an agent to push to, and no obstacle
	ToStage       bool // the desired version is not staged for the mesh's tools
	Stage         string
	HandedOut     *view.HandedOut // of a static node
	Conf          view.SyncRefs
	Made          bool // it is made from the mesh
	Text          string
	Hidden        bool // the login may not see texts
	KeyShown      bool // the address asks for the keys
	KeyHidden     bool // the text has a private key that is not shown
	Versions      []view.ConfVersion
	Shown         *view.ConfText
	Diff          []diffLine
}

// diffLine is a line of a unified diff. Its class follows from its first character.
type diffLine struct {
	Class string `json:"class"`
	Text  string `json:"text"`
}

// confPage shows the editor of a node's tunnel config, with its history.
func (p *Pages) confPage(c echo.Context) (show, error) {
	v := confBody{Hidden: !access.MayWrite(access.LoginOf(c))}
	v.KeyShown = pageQuery(c, "key") == "show" && !v.Hidden
	version, _ := strconv.Atoi(pageQuery(c, "version")) // other text shows none
	f, err := p.Reader.PathFacts(c, func(tx *store.Tx, f view.Facts) (err error) {
		if f.Conf.Desired.Version != 0 && !v.Hidden {
			if v.Text, err = tx.ConfText(f.Node.ID, f.Conf.Desired.SHA256); err != nil {
				return err
			}
		}
		versions, err := tx.ConfVersions(f.Node.ID, 0, wire.MaxPage)
		for _, one := range versions {
			v.Versions = append(v.Versions, f.VersionView(one))
		}
		return err
	})
	if err != nil {
		return show{}, err
	}
	if v.Text != "" {
		p.Audit.NoteKeyRead(c, f.Node.ID, f.Conf.Desired.Version, 0)
	}
	if version > 0 {
		shown, err := p.Reader.ReadConfVersion(c, version, 0)
		if err != nil {
			return show{}, err
		}
		if !v.KeyShown {
			shown.Content, shown.Diff = wgconf.HideKeys(shown.Content), wgconf.HideKeys(shown.Diff)
		}
		v.Shown, v.Diff = &shown, diffLines(shown.Diff)
	}
	v.Made, v.Stage, v.HandedOut = f.Node.ConfigSource == store.SourceMesh, f.Stage(), f.HandedOut()
	switch text := v.Text; {
	case v.Made:
		v.Text = wgconf.HideKeys(text)
	case !v.KeyShown:
		v.Text = wgconf.HidePrivateKey(text)
		v.KeyHidden = v.Text != text
	}
	v.Config, v.Node, v.Conf, v.Sync = f.Config, f.View(), f.SyncRefs(), f.SyncShown()
	v.CanPush, v.ToStage = f.Bound() && p.Reader.Obstacle(f) == "", f.ToStage()
	v.NodePath = "/configs/" + f.Config.ID + "/nodes/" + f.Node.ID
	v.API, v.DiffPath = "/api/v1"+v.NodePath, "/ui"+v.NodePath+"/diff"
	return show{template: "conf", Page: ui.Page{
		Title: "Tunnel config of " + f.Node.Name, Nav: "Overview", LiveConfig: f.Config.ID, LiveNode: f.Node.ID, Body: v,
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
