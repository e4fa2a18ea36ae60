package ui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"mime"
	"path"
	"slices"
	"strings"
	"time"

	"wfm/protocol"
)

//go:embed static templates
var files embed.FS

// Page has the values that all pages share, and in Body those of one template.
type Page struct {
	Title string
	Nav   string // the entry of the navigation to mark
	// User is the name of the login. It is empty on the pages before the login, which have no navigation.
	User    string
	Version string // of the appliance
	// LiveConfig and LiveNode are the ids of the page's mesh and node. After an event about them, the
	// script fetches the page again. With LiveAll, it does so after every event.
	LiveAll              bool
	LiveConfig, LiveNode string
	// Event is the id of the newest event before the page was read. The page's stream resumes after it.
	Event string
	// Shape identifies the kind of page. It changes, for example, when a node is bound. Text typed
	// into a page of another shape is not carried over.
	Shape string
	// Every is the interval in seconds at which the page is fetched without an event; 0 means never.
	Every int
	Body  any
}

// pages maps the name of each page, which is its file's, to its template.
var pages = parse()

// shared are the files with the templates that several pages use.
var shared = []string{
	"templates/layout.html", "templates/parts.html", "templates/mesh.html", "templates/newnode.html", "templates/nodemesh.html",
	"templates/rolloutparts.html",
}

func parse() map[string]*template.Template {
	parts := template.Must(template.New("").Funcs(funcs).ParseFS(files, shared...))
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		panic(err)
	}
	all := make(map[string]*template.Template)
	for _, name := range names {
		if !slices.Contains(shared, name) {
			page := strings.TrimSuffix(path.Base(name), ".html")
			all[page] = template.Must(template.Must(parts.Clone()).ParseFS(files, name))
		}
	}
	return all
}

// Render renders the page with the named template.
func Render(name string, p Page) ([]byte, error) {
	t, ok := pages[name]
	if !ok {
		return nil, fmt.Errorf("no template %q", name)
	}
	var out bytes.Buffer
	if err := t.ExecuteTemplate(&out, "layout", p); err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// Asset is a static file that pages load.
type Asset struct {
	Content []byte
	Type    string // its Content-Type
	ETag    string
}

var assets = load()

func load() map[string]Asset {
	entries, err := files.ReadDir("static")
	if err != nil {
		panic(err)
	}
	all := make(map[string]Asset)
	for _, e := range entries {
		content, err := files.ReadFile("static/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(content)
		all[e.Name()] = Asset{content, contentType(e.Name()), `"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	return all
}

// contentType returns the Content-Type of the named file. It does not use the system's list of types,
// which may lack or change them.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".txt":
		return "text/plain; charset=utf-8"
	}
	return mime.TypeByExtension(path.Ext(name))
}

// Static returns the named file. ok is false if there is none.
func Static(name string) (a Asset, ok bool) {
	a, ok = assets[name]
	return a, ok
}

// entry is a link in the navigation.
type entry struct{ Name, Path string }

func navigation() []entry {
	return []entry{{"Overview", "/"}, {"Rollouts", "/rollouts"}, {"Audit", "/audit"}, {"Settings", "/settings"}}
}

var funcs = template.FuncMap{
	"navigation": navigation,
	"actions":    protocol.Listed,
	"protocols":  protocols,
	"tunnel":     tunnelName,
	"plain":      plain,
	"versions":   awgVersions,
	"when":       whenHTML,
	"day":        day,
	"size":       Size,
	"count":      count,
	"short":      short,
	"join":       strings.Join,
	"upper":      strings.ToUpper,
	"words":      func(s string) int { return len(strings.Fields(s)) },
	"list":       list,
	"now":        func() string { return time.Now().UTC().Format(time.RFC3339Nano) },
	// rollout returns the id of the rollout that gave a command, from the command's author. It is empty
	// if a user gave it.
	"rollout": func(author string) string {
		id, ok := strings.CutPrefix(author, "rollout ")
		if !ok {
			return ""
		}
		return id
	},
	"capital": Capital,
	"action":  Action,
	"sync":    SyncWords,
	"state":   StateWords,
	"request": Request,
	"idname":  idName,
}
