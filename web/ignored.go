package web

import (
	"slices"
	"strings"
)

// ignoredConfig and ignoredNode are members of a config and of a node that mean something to WG Free
// Mesh and nothing here yet. They are answered in warnings, so that a script learns of it. A member
// that gets a meaning leaves its list.
var (
	ignoredConfig = []string{
		"virtual_subnet", "default_listen_port", "default_mtu", "default_dns", "auto_sync", "awg_s1", "awg_s2", "awg_s3", "awg_s4",
		"awg_h1", "awg_h2", "awg_h3", "awg_h4", "awg_options", "awg_node_updates",
	}
	ignoredNode = []string{
		"ipv4_address", "ipv6_address", "listen_port", "virtual_ip", "mtu", "dns", "auto_sync", "public_key", "private_key",
		"pre_up", "post_up", "pre_down", "post_down", "awg_jc", "awg_jmin", "awg_jmax", "awg_i1", "awg_i2", "awg_i3", "awg_i4", "awg_i5", "awg_options",
	}
)

// ignored returns a sentence for each of the members that the request's object has. Null and an
// empty string ask for nothing.
func (f *fields) ignored(members []string) []string {
	sentences := []string{}
	for name, raw := range f.raw {
		if v := string(raw); slices.Contains(members, name) && v != "null" && v != `""` {
			sentences = append(sentences, name+": ignored, it has no meaning here; the node's tunnel config (PUT applied-conf) decides")
		}
	}
	slices.SortFunc(sentences, strings.Compare)
	return sentences
}
