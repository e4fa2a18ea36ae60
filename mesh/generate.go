package mesh

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"wfm/store"
	"wfm/tunnel/wgconf"
)

// allowedPerLine is how many networks a line of AllowedIPs has: wg-quick's time grows with the square
// of a line's length.
const allowedPerLine = 20

// Generated reports whether the node's tunnel config is made from the mesh: Text then has it.
func (m *Mesh) Generated(nodeID string) bool {
	n := m.byID[nodeID]
	return n != nil && n.Enabled && n.ConfigSource == store.SourceMesh
}

// Texts returns the tunnel configs of all nodes whose configs are made from the mesh, by node id.
func (m *Mesh) Texts() map[string]string {
	all := map[string]string{}
	for _, n := range m.nodes {
		if m.Generated(n.ID) {
			all[n.ID] = m.text(n)
		}
	}
	return all
}

// Text returns the tunnel config of a node for which [Mesh.Generated] holds, and otherwise "".
func (m *Mesh) Text(nodeID string) string {
	if !m.Generated(nodeID) {
		return ""
	}
	return m.text(m.byID[nodeID])
}

// text makes the config. Peers are in the order in which their nodes were made, since a new name must
// not move them.
func (m *Mesh) text(n *member) string {
	w := writer{}
	w.Grow(512 + 256*len(n.halves))
	m.writeInterface(&w, n)
	allowed := m.allowed(n)
	for i, h := range n.halves {
		if h.peer.Key() != "" { // else it has no key yet
			m.writePeer(&w, h, allowed[i])
		}
	}
	return w.String()
}

// writer writes a config.
type writer struct{ strings.Builder }

// line writes "key = value", unless there is no value.
func (w *writer) line(key, value string) {
	if value == "" {
		return
	}
	w.WriteString(key)
	w.WriteString(" = ")
	w.WriteString(value)
	w.WriteByte('\n')
}

func (w *writer) networks(key string, all []netip.Prefix) {
	line := make([]byte, 0, 32*allowedPerLine)
	for i, p := range all {
		if i > 0 {
			line = append(line, ", "...)
		}
		line = p.AppendTo(line)
	}
	w.line(key, string(line))
}

func (w *writer) number(key string, n int) {
	if n != 0 {
		w.line(key, strconv.Itoa(n))
	}
}

func (w *writer) hooks(key string, commands ...[]string) {
	for _, list := range commands {
		for _, command := range list {
			w.line(key, command)
		}
	}
}

func (m *Mesh) writeInterface(w *writer, n *member) {
	w.WriteString("[Interface]\n")
	if n.KeyHolder == store.KeyAtNode {
		w.line("PrivateKey", wgconf.KeptAs(n.PublicKey))
	} else {
		w.line("PrivateKey", n.PrivateKey)
	}
	w.networks("Address", n.Addresses())
	if m.listens(n) {
		w.number("ListenPort", m.port(n))
	}
	w.line("DNS", cmp.Or(n.DNS, m.config.DefaultDNS))
	w.number("MTU", cmp.Or(n.MTU, m.config.DefaultMTU))
	if m.family() == "awg" {
		for _, v := range awgLines(m.config, n.AWG) {
			w.line(v.key, v.value)
		}
	}
	managed := m.managedHooks(n)
	w.hooks("PreUp", n.PreUp)
	w.hooks("PostUp", n.PostUp, managed.up)
	w.hooks("PreDown", n.PreDown)
	w.hooks("PostDown", n.PostDown, managed.down)
}

// listens reports whether the node needs a port that others know. Other nodes let the system choose
// one, so that several tunnels of one machine do not meet.
func (m *Mesh) listens(n *member) bool {
	if n.ListenPort != 0 || n.public("") != "" {
		return true
	}
	return slices.ContainsFunc(n.halves, func(h half) bool {
		return h.back.EndpointMode == store.EndpointManual && h.back.EndpointPortMode != store.PortManual
	})
}

func (m *Mesh) writePeer(w *writer, h half, allowed []netip.Prefix) {
	w.WriteString("\n# ")
	w.WriteString(commentOf(h.peer.Name))
	w.WriteString("\n[Peer]\n")
	w.line("PublicKey", h.peer.Key())
	w.line("PresharedKey", h.link.PresharedKey)
	for part := range slices.Chunk(allowed, allowedPerLine) {
		w.networks("AllowedIPs", part)
	}
	w.line("Endpoint", m.endpoint(h))
	w.number("PersistentKeepalive", h.to.PersistentKeepalive)
}

// commentOf is the name of a node as it can stand in a comment.
func commentOf(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(name, "?"))
}

// SameButComments reports whether two tunnel configs differ in comments at most, so that a node that
// has one of them need not be given the other.
func SameButComments(a, b string) bool {
	for a != "" || b != "" {
		var lineA, lineB string
		lineA, a = nextMeant(a)
		lineB, b = nextMeant(b)
		if lineA != lineB {
			return false
		}
	}
	return true
}

// nextMeant returns the next line of a config that the tools or the agent read, and the rest. The marks
// of managed hooks count as comments.
func nextMeant(text string) (line, rest string) {
	for line == "" && text != "" {
		line, text, _ = strings.Cut(text, "\n")
		if kept, public := wgconf.Kept(line); kept {
			return wgconf.KeptAs(public), text
		}
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
	}
	return line, text
}
