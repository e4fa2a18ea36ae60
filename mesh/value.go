package mesh

import (
	"errors"
	"strings"
	"unicode"

	"wfm/tunnel/wgconf"
)

// peerKey is any key of another node, for a peer whose other values are checked.
const peerKey = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="

// valueProblem returns why the value cannot stand in a tunnel config of the mesh, in the words of
// wgconf; "" if it can.
func (m *Mesh) valueProblem(key, value string) string {
	if strings.ContainsFunc(value, unicode.IsControl) {
		return "has a control character, such as a line break; remove it"
	}
	if strings.Contains(value, "#") {
		return "has a #, which begins a comment wherever it stands; write it without"
	}
	if strings.TrimSpace(value) == "" {
		return "is empty; give a value"
	}
	section := "[Interface]\n"
	switch key {
	case "Endpoint", "AllowedIPs", "PersistentKeepalive", "PresharedKey":
		section += "[Peer]\nPublicKey = " + peerKey + "\n"
	}
	_, err := wgconf.Parse(section+key+" = "+value, m.family())
	var invalid *wgconf.Error
	if !errors.As(err, &invalid) {
		return ""
	}
	return strings.TrimPrefix(invalid.Faults[0].Problem, key+": ")
}
