package wgshow

import "strings"

// Limits for one output.
const (
	maxInterfaces = 64
	maxPeers      = 2048 // of all interfaces together
)

// Interface is a tunnel interface. Its values are as printed; a value that was not printed is
// empty.
type Interface struct {
	Name       string
	PublicKey  string
	ListenPort string
	Peers      []Peer
}

// Peer is a peer of an interface, in the words of the tool: "1 minute, 32 seconds ago", "1.25 KiB".
// A value that was not printed is empty, and so is one that the tool prints as "(none)".
type Peer struct {
	PublicKey  string
	Endpoint   string
	AllowedIPs []string
	Handshake  string // how long ago; empty: never
	Received   string
	Sent       string
	Keepalive  string
}

// Parse returns the interfaces that text describes, in order. It returns none for any other text.
func Parse(text string) []Interface {
	var all []Interface
	var peer *Peer
	peers := 0
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		switch {
		case name == "interface":
			if len(all) == maxInterfaces {
				return all
			}
			all, peer = append(all, Interface{Name: value}), nil
		case len(all) == 0: // nothing to attach it to
		case name == "peer":
			if peers++; peers > maxPeers {
				return all
			}
			last := &all[len(all)-1]
			last.Peers = append(last.Peers, Peer{PublicKey: value})
			peer = &last.Peers[len(last.Peers)-1]
		case peer != nil:
			peer.set(name, value)
		default:
			all[len(all)-1].set(name, value)
		}
	}
	return all
}

func (i *Interface) set(name, value string) {
	switch name {
	case "public key":
		i.PublicKey = given(value)
	case "listening port":
		i.ListenPort = given(value)
	}
}

func (p *Peer) set(name, value string) {
	switch name {
	case "endpoint":
		p.Endpoint = given(value)
	case "allowed ips":
		for ip := range strings.SplitSeq(given(value), ",") {
			if ip = strings.TrimSpace(ip); ip != "" {
				p.AllowedIPs = append(p.AllowedIPs, ip)
			}
		}
	case "latest handshake":
		p.Handshake = given(value)
	case "transfer":
		received, sent, _ := strings.Cut(value, ",")
		p.Received = strings.TrimSuffix(strings.TrimSpace(received), " received")
		p.Sent = strings.TrimSuffix(strings.TrimSpace(sent), " sent")
	case "persistent keepalive":
		p.Keepalive = given(value)
	}
}

func given(value string) string {
	if value == "(none)" {
		return ""
	}
	return value
}
