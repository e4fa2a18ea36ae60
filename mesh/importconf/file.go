package importconf

import (
	"errors"
	"path"
	"slices"
	"strings"

	"wfm/mesh"
	"wfm/store"
	"wfm/tunnel"
	"wfm/tunnel/wgconf"
)

// File is a file as it was given.
type File struct {
	Name   string // folders may stand before it
	Text   string
	Static bool // of a node without an agent
}

// base returns the name of the file without folders and extension. wg-quick takes it as the name of the
// interface.
func (f File) base() string {
	return strings.TrimSuffix(path.Base(strings.ReplaceAll(f.Name, `\`, "/")), ".conf")
}

// folder returns the name of the folder that the file is in; "" if the name has none, or one in which
// such files are on every machine.
func (f File) folder() string {
	folder := path.Base(path.Dir(strings.ReplaceAll(f.Name, `\`, "/")))
	switch folder {
	case ".", "..", "/", "wireguard", "amneziawg", "etc":
		return ""
	}
	return folder
}

// conf is what a file says. It holds secrets, which wgconf.Config does not.
type conf struct {
	wgconf.Config
	file File
	name string // in a comment; "" if none gives it
	// private is the private key, "" if the file has none.
	private string
	dns     []string
	hooks   map[string][]string // commands, by the key
	managed []string            // hooks that the appliance made for a mesh
	awg     map[string]value    // by the key
	peers   []peer              // as Config.Peers
	odd     []oddity            // lines that only a text can have
}

// value is the value of a key, and its line.
type value struct {
	text string
	line int
}

// oddity is a line for which neither nodes nor links have a field.
type oddity struct {
	key  string
	line int
}

// peer is a section about a peer.
type peer struct {
	wgconf.Peer
	name         string // in a comment
	presharedKey string
	pskLine      int
}

// read reads the file with the grammar of the mesh's tools. The error is a *wgconf.Error.
func read(cfg store.Config, f File) (*conf, error) {
	parsed, err := tunnel.Read(cfg, "node_"+strings.Repeat("x", 22), f.Text)
	if err != nil {
		return nil, err
	}
	r := reader{conf: &conf{Config: parsed, file: f, hooks: map[string][]string{}, awg: map[string]value{}}}
	for line := range strings.SplitSeq(f.Text, "\n") {
		r.line++
		r.read(strings.TrimSuffix(line, "\r"))
	}
	r.take()
	return r.conf, nil
}

// faults returns the problems of a file that read refuses.
func faults(f File, err error) (all []Remark) {
	invalid, ok := errors.AsType[*wgconf.Error](err)
	if !ok {
		return []Remark{{f.Name, 0, "This file cannot be read: " + err.Error() + "."}}
	}
	for _, fault := range invalid.Faults {
		all = append(all, Remark{f.Name, fault.Line, sentence(fault.Problem)})
	}
	return all
}

// sentence makes a sentence of a fault's words.
func sentence(problem string) string {
	if problem == "" || strings.HasSuffix(problem, ".") {
		return problem
	}
	return problem + "."
}

// reader takes from an accepted text what wgconf does not keep.
type reader struct {
	*conf
	line    int
	begun   bool      // a key of the section was read
	pending []comment // comments whose section is not known yet
}

func (r *reader) read(line string) {
	before, after, hasComment := strings.Cut(line, "#")
	trimmed := strings.Trim(before, " \t")
	switch {
	case trimmed == "" && hasComment:
		r.pending = append(r.pending, readComment(after))
		if !r.begun { // right after the header
			r.take()
		}
	case trimmed == "":
		r.pending = slices.DeleteFunc(r.pending, func(c comment) bool { return !c.explicit })
	case trimmed[0] == '[':
		r.begun = false
		if strings.EqualFold(trimmed, "[peer]") {
			r.peers = append(r.peers, peer{Peer: r.Peers[len(r.peers)]})
		}
		r.take()
	default:
		r.begun = true
		r.take()
		key, text, _ := strings.Cut(trimmed, "=")
		mark := ""
		if mesh.IsManaged(line) {
			mark = strings.TrimSpace(after)
		}
		r.set(strings.ToLower(strings.TrimSpace(key)), strings.Trim(text, " \t"), mark)
	}
}

// take gives the pending comments to the section. After a key, only those that say that they are a name
// count.
func (r *reader) take() {
	for _, c := range r.pending {
		switch {
		case c.name == "" || r.begun && !c.explicit:
		case len(r.peers) > 0:
			if to := &r.peers[len(r.peers)-1].name; *to == "" || c.explicit {
				*to = c.name
			}
		case c.explicit:
			r.name = c.name
		}
	}
	r.pending = nil
}

// set takes a key, in lower case, with its value.
// mark is the comment of the line, if it says that the appliance made a hook.
func (r *reader) set(key, text, mark string) {
	if text == "" {
		return
	}
	squeezed := strings.Join(strings.Fields(text), "")
	if name, ok := hookKeys[key]; ok {
		if mark != "" {
			r.managed = append(r.managed, name+" = "+text+" "+mark)
		} else {
			r.hooks[name] = append(r.hooks[name], text)
		}
		return
	}
	if name, ok := awgKeys[key]; ok {
		if name[0] != 'I' {
			text = squeezed
		}
		r.awg[name] = value{awgValue(name, text), r.line}
		return
	}
	last := len(r.peers) - 1
	switch key {
	case "privatekey":
		if r.Interface.HasPrivateKey {
			r.private = squeezed
		}
	case "dns":
		r.dns = append(r.dns, strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' })...)
	case "presharedkey":
		if r.peers[last].HasPresharedKey {
			r.peers[last].presharedKey, r.peers[last].pskLine = squeezed, r.line
		}
	case "persistentkeepalive":
		r.oddIf(strings.Contains(text, "-"), "PersistentKeepalive with a range")
	case "table":
		r.oddIf(!strings.EqualFold(text, "auto"), "Table")
	case "fwmark":
		r.oddIf(squeezed != "0" && !strings.EqualFold(text, "off"), "FwMark")
	case "saveconfig":
		r.oddIf(r.Interface.SaveConfig, "SaveConfig")
	case "j1", "j2", "j3", "itime":
		r.oddIf(true, strings.ToUpper(key[:1])+key[1:])
	}
}

func (r *reader) oddIf(odd bool, key string) {
	if odd {
		r.odd = append(r.odd, oddity{key, r.line})
	}
}

var hookKeys = map[string]string{"preup": "PreUp", "postup": "PostUp", "predown": "PreDown", "postdown": "PostDown"}
