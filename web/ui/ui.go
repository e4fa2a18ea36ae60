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
	"strings"
	"time"

	"wfm/protocol"
)

//go:embed static templates
var files embed.FS

// Page is what every page has; Body is what its template shows.
type Page struct {
	Title string
	Nav   string // the entry of the navigation that this page belongs to
	// User is who is logged in; empty on the pages before that, which have no navigation.
	User    string
	Version string // of the appliance
	// LiveConfig and LiveNode name what the page is about: events of it have the page fetched again.
	// With LiveAll every event does.
	LiveAll              bool
	LiveConfig, LiveNode string
	// Event is the id of the newest event from before the page was read. The page's stream resumes after it.
	Event string
	// Shape changes when the page becomes another one, as that of a node does when it is bound: what
	// was typed into the former shape means nothing in the new one.
	Shape string
	// Every is how often, in seconds, it is fetched without an event; 0 never.
	Every int
	Body  any
}

// pages has the template of each page by the name of its file.
var pages = parse()

func parse() map[string]*template.Template {
	shared := template.Must(template.New("").Funcs(funcs).ParseFS(files, "templates/layout.html", "templates/parts.html"))
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		panic(err)
	}
	all := make(map[string]*template.Template)
	for _, name := range names {
		page := strings.TrimSuffix(path.Base(name), ".html")
		if page != "layout" && page != "parts" {
			all[page] = template.Must(template.Must(shared.Clone()).ParseFS(files, name))
		}
	}
	return all
}

// Render makes the page with the template of that name.
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

// Asset is a file that pages load.
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

// contentType does not ask the machine, whose list of types may lack or change them.
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

// Static returns the file of that name; ok is false when there is none.
func Static(name string) (a Asset, ok bool) {
	a, ok = assets[name]
	return a, ok
}

// entry is one entry of the navigation.
type entry struct{ Name, Path string }

func navigation() []entry {
	return []entry{{"Overview", "/"}, {"Rollouts", "/rollouts"}, {"Audit", "/audit"}, {"Settings", "/settings"}}
}

var funcs = template.FuncMap{
	"navigation": navigation,
	"actions":    func() []protocol.ActionSpec { return protocol.Actions(nil) },
	"protocols":  func() []string { return []string{"wireguard", "amneziawg", "amneziawg_2"} },
	"versions":   func() []string { return []string{"", "1.5", "2.0", "3.1"} },
	"when":       whenHTML,
	"day":        day,
	"size":       Size,
	"count":      count,
	"short":      short,
	"join":       strings.Join,
	"words":      func(s string) int { return len(strings.Fields(s)) },
	"list":       list,
	"now":        func() string { return time.Now().UTC().Format(time.RFC3339Nano) },
	// rollout is the id of the rollout that gave a command, by its author; empty when a person did.
	"rollout": func(author string) string {
		id, ok := strings.CutPrefix(author, "rollout ")
		if !ok {
			return ""
		}
		return id
	},
	"capital": Capital,
	"action":  Action,
	"sync":    syncWords,
	"request": Request,
	"idname":  idName,
}
