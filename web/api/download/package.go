package download

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/protocol"
	"wfm/store"
	"wfm/tunnel"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

const pathBulk = "/api/v1/tools/download/config-bulk"

func (a *API) packageRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: pathBulk + "/options", Access: wire.Session, Handle: a.packageOptions, Query: "config_id",
			Summary: "The nodes of the mesh config_id, and whether each has a tunnel config to download.",
			Data:    packageOptions{}, Codes: "CONFIG_NOT_FOUND",
		},
		{
			Method: http.MethodPost, Path: pathBulk + "/package", Access: wire.Session, Handle: a.newPackage, OneWrite: true,
			Summary: "Prepares an archive of the tunnel configs of nodes, for five minutes. Without node_ids, it has all nodes with a tunnel config.",
			Body:    "config_id!, node_ids strings", Data: packageView{}, Codes: "CONFIG_NOT_FOUND NO_DESIRED_CONFIG",
		},
		{
			Method: http.MethodGet, Path: pathBulk + "/package/:package_id", Access: wire.Write, Handle: a.sendPackage,
			Summary: "An archive of tunnel configs, with a manifest.json.",
			Bare:    "application/zip", Codes: "PACKAGE_NOT_FOUND CONFIG_VERSION_NOT_FOUND",
		},
		{
			Method: http.MethodGet, Path: pathBulk + "/:package_id", Access: wire.Write, Handle: a.sendPackage,
			Summary: "An archive of tunnel configs, with a manifest.json.",
			Bare:    "application/zip", Codes: "PACKAGE_NOT_FOUND CONFIG_VERSION_NOT_FOUND",
		},
	}
}

type packageOptions struct {
	ConfigID   string            `json:"config_id"`
	ConfigName string            `json:"config_name"`
	Nodes      []packageNodeView `json:"nodes"`
}

type packageNodeView struct {
	NodeID    string         `json:"node_id"`
	NodeName  string         `json:"node_name"`
	NodeType  store.NodeType `json:"node_type"`
	Filename  string         `json:"filename"`
	Available bool           `json:"available"` // whether it has a tunnel config
}

func (a *API) packageOptions(c echo.Context) error {
	cfg, err := store.Read(a.DB, func(tx *store.Tx) (store.Config, error) { return tx.Config(c.QueryParam("config_id")) })
	if err != nil {
		return err
	}
	all, err := a.Reader.ConfigFacts(cfg.ID)
	if err != nil {
		return err
	}
	v := packageOptions{cfg.ID, cfg.Name, []packageNodeView{}}
	for _, f := range all {
		v.Nodes = append(v.Nodes, packageNodeView{f.Node.ID, f.Node.Name, f.Node.Type, fileName(f.Node), f.Conf.Desired.Version != 0})
	}
	return wire.Respond(c, v)
}

// packed is one file of an archive.
type packed struct {
	node store.Node
	ref  store.ConfRef
	name string
}

type packageView struct {
	PackageID    string     `json:"package_id"`
	Filename     string     `json:"filename"`
	DownloadPath string     `json:"download_path"`
	NodeCount    int        `json:"node_count"`
	ExpiresAt    *time.Time `json:"expires_at"`
}

func (a *API) newPackage(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BulkBodyLimit)
	if err != nil {
		return err
	}
	configID := f.Need("config_id", wire.Line(1, protocol.MaxIDLength))
	ids := f.Texts("node_ids", wire.BulkRows, wire.Line(1, protocol.MaxIDLength))
	if err := f.Err(); err != nil {
		return err
	}
	var files []packed
	var cfg store.Config
	if err := a.Audit.Update(c, func(tx *store.Tx) (err error) {
		access.NoteID(c, "config_id", configID)
		files, cfg, err = choose(tx, configID, ids)
		return err
	}); err != nil {
		return err
	}
	id, expires := a.packages.add(files, time.Now())
	a.Log.Info("archive of tunnel configs prepared", "config_id", cfg.ID, "nodes", len(files), "by", access.LoginOf(c).Username)
	return wire.Respond(c, packageView{id, archiveName(cfg), pathBulk + "/package/" + id, len(files), wire.When(expires)})
}

// choose returns the files of the nodes with the ids; each must have a tunnel config. Without ids,
// it returns those of all nodes with one. Error: tunnel.ErrNoDesiredConfig if there is none.
func choose(tx *store.Tx, configID string, ids []string) (files []packed, cfg store.Config, err error) {
	nodes, cfg, err := view.NamedNodes(tx, configID, ids)
	if err == nil && len(ids) == 0 {
		nodes, err = tx.Nodes(configID, "", 0)
	}
	if err != nil {
		return nil, cfg, err
	}
	faults := &wire.Fields{}
	used := map[string]bool{}
	for i, n := range nodes {
		state, err := tx.ConfState(n.ID)
		if err != nil {
			return nil, cfg, err
		}
		if state.Desired.Version == 0 {
			if len(ids) > 0 {
				faults.Reject(wire.Indexed("node_ids", i), "is a node without a tunnel config; leave it out")
			}
			continue
		}
		files = append(files, packed{n, state.Desired, unusedName(used, n)})
	}
	if err := faults.Err(); err != nil {
		return nil, cfg, err
	}
	if len(files) == 0 {
		return nil, cfg, tunnel.ErrNoDesiredConfig
	}
	return files, cfg, nil
}

// unusedName returns the name of the node's file. Interfaces of two nodes may have the same name;
// some file systems do not distinguish upper and lower case.
func unusedName(used map[string]bool, n store.Node) string {
	name := fileName(n)
	for i := 2; used[strings.ToLower(name)]; i++ {
		name = fmt.Sprintf("%s-%d.conf", n.InterfaceName, i)
	}
	used[strings.ToLower(name)] = true
	return name
}

// archiveName returns the name of an archive of the mesh.
func archiveName(cfg store.Config) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, cfg.Name)
	return "wfm-" + strings.Trim(name, "-") + ".zip"
}

// manifest describes the files of an archive.
type manifest struct {
	Mesh      string         `json:"config_name"`
	ConfigID  string         `json:"config_id"`
	CreatedAt time.Time      `json:"created_at"`
	Files     []manifestFile `json:"files"`
}

type manifestFile struct {
	Filename string `json:"filename"`
	NodeID   string `json:"node_id"`
	NodeName string `json:"node_name"`
	Version  int    `json:"version"`
	SHA256   string `json:"sha256"`
}

func (a *API) sendPackage(c echo.Context) error {
	files, ok := a.packages.get(c.Param("package_id"), time.Now())
	if !ok {
		return wire.ErrPackageNotFound
	}
	texts := make([]string, len(files))
	var cfg store.Config
	if err := a.DB.View(func(tx *store.Tx) (err error) {
		if cfg, err = tx.Config(files[0].node.ConfigID); err != nil {
			return err
		}
		for i, f := range files {
			if _, err := tx.ConfVersion(f.node.ID, f.ref.Version); err != nil {
				return err
			}
			if texts[i], err = tx.ConfText(f.node.ID, f.ref.SHA256); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for _, f := range files {
		a.handOut(c, f.node, f.ref)
	}
	list := manifest{Mesh: cfg.Name, ConfigID: cfg.ID, CreatedAt: time.Now().UTC()}
	archive := zip.NewWriter(wire.StartDownload(a.Stopping, c, "application/zip", archiveName(cfg), -1))
	add := func(name string, content []byte) error {
		w, err := archive.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: list.CreatedAt})
		if err == nil {
			_, err = w.Write(content)
		}
		return err
	}
	for i, f := range files {
		if err := add(f.name, []byte(texts[i])); err != nil {
			return err
		}
		list.Files = append(list.Files, manifestFile{f.name, f.node.ID, f.node.Name, f.ref.Version, f.ref.SHA256})
	}
	raw, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	if err := add("manifest.json", raw); err != nil {
		return err
	}
	return archive.Close()
}
