package view

import (
	"fmt"
	"time"

	"github.com/aymanbagabas/go-udiff"
	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/tunnel/wgconf"
	"wfm/web/access"
	"wfm/web/ui"
	"wfm/web/wire"
)

// ConfVersion is a version of a node's tunnel config.
type ConfVersion struct {
	Version   int        `json:"version"`
	SHA256    string     `json:"sha256"`
	Author    string     `json:"author"`
	CreatedAt *time.Time `json:"created_at"`
	Source    string     `json:"source"`
	Size      int        `json:"size"`
	Note      string     `json:"note"`
	// Whether the version is the desired, the staged, the confirmed one.
	Desired   bool `json:"desired"`
	Staged    bool `json:"staged"`
	Confirmed bool `json:"confirmed"`
}

// VersionView is one of the node's versions.
func (f Facts) VersionView(v store.ConfVersion) ConfVersion {
	return ConfVersion{
		Version: v.Version, SHA256: v.SHA256, Author: v.Author, CreatedAt: wire.When(v.At), Source: v.Source, Size: v.Size, Note: v.Note,
		Desired: v.Version == f.Conf.Desired.Version, Staged: v.Version == f.Conf.Staged.Version, Confirmed: v.Version == f.Conf.Confirmed.Version,
	}
}

// ConfText is a version with its text and its difference from another one.
type ConfText struct {
	ConfVersion
	Content       string `json:"content"`
	ContentHidden bool   `json:"content_hidden"`
	// Against is the version that Diff starts from; 0 if there is none.
	Against int    `json:"against"`
	Diff    string `json:"diff"` // unified
}

// ReadConfVersion reads the version of the path's node with its diff. against is 0 for the version
// before it.
func (r *Reader) ReadConfVersion(c echo.Context, version, against int) (v ConfText, err error) {
	var former string
	f, err := r.PathFacts(c, func(tx *store.Tx, f Facts) error {
		this, err := tx.ConfVersion(f.Node.ID, version)
		if err != nil {
			return err
		}
		v = ConfText{ConfVersion: f.VersionView(this), ContentHidden: !access.MayWrite(access.LoginOf(c))}
		if v.ContentHidden {
			return nil
		}
		if v.Content, err = tx.ConfText(f.Node.ID, this.SHA256); err != nil {
			return err
		}
		other, err := compared(tx, f.Node.ID, version, against)
		if err != nil || other.Version == 0 {
			return err
		}
		v.Against = other.Version
		former, err = tx.ConfText(f.Node.ID, other.SHA256)
		return err
	})
	if err != nil {
		return v, err
	}
	if !v.ContentHidden {
		r.Audit.NoteKeyRead(c, f.Node.ID, version, v.Against)
	}
	if v.Against != 0 {
		v.Diff, err = Diff(fmt.Sprint("version ", v.Against), former, fmt.Sprint("version ", version), v.Content)
	}
	return v, err
}

// WithKey returns the text with the private key of the latest version where it is hidden (see
// wgconf.HidePrivateKey).
func (r *Reader) WithKey(c echo.Context, text string) (string, error) {
	if !wgconf.HidesPrivateKey(text) {
		return text, nil
	}
	var former string
	_, err := r.PathFacts(c, func(tx *store.Tx, f Facts) (err error) {
		if f.Conf.Desired.Version != 0 {
			former, err = tx.ConfText(f.Node.ID, f.Conf.Desired.SHA256)
		}
		return err
	})
	return wgconf.PutBackPrivateKey(text, former), err
}

// compared returns the version named, or, if named is 0, the newest one before version. It returns
// the zero value if there is none.
func compared(tx *store.Tx, nodeID string, version, named int) (store.ConfVersion, error) {
	if named != 0 {
		return tx.ConfVersion(nodeID, named)
	}
	before, err := tx.ConfVersions(nodeID, uint64(version), 1) //nolint:gosec // versions count up from 1
	if err != nil || len(before) == 0 {
		return store.ConfVersion{}, err
	}
	return before[0], nil
}

// Diff compares two texts line by line.
func Diff(fromName, from, toName, to string) (string, error) {
	return udiff.ToUnified(fromName, toName, from, udiff.Lines(from, to), udiff.DefaultContextLines)
}

// ConfigCode returns a tunnel config as a QR code in SVG.
func ConfigCode(text string) (string, error) { return ui.ConfigQR(text) }
