package wgconf

import (
	"net/netip"
	"time"
)

// Config is the content of a config text, as far as callers need it. It holds no secret.
type Config struct {
	Interface Interface
	Peers     []Peer // in the order of the text; no two have the same PublicKey

	notes     []note // findings in single lines, for Warnings
	longLines []longLine
	quickTime time.Duration // see QuickTime
}

// Interface is the one [Interface] section. Lines count from 1.
type Interface struct {
	// HasPrivateKey is set if the text has the key. Otherwise the node sets one, for instance by a
	// hook.
	HasPrivateKey bool
	KeptLine      int // of a PrivateKey that is [KeptOnNode]; 0 if there is none
	// PublicKey is derived from the private key, or the one that a text with KeptLine names; in base64,
	// "" if the text does not tell.
	PublicKey string

	Addresses      []netip.Prefix // with their host bits
	AddressLine    int            // of the first Address; 0 if there is none
	DNS            []netip.Addr
	SearchDomains  []string // the names among the values of DNS
	DNSLine        int      // of the first DNS; 0 if there is none
	ListenPort     int      // 0: chosen by the system
	MTU            int      // bytes; 0: chosen by the tool
	Table          string   // off, auto, a number or a name; "" for auto
	FwMark         string   // as written in the text; "" if missing
	SaveConfig     bool
	SaveConfigLine int    // 0 if there is none
	Hooks          []Hook // in the order of the text

	Line int // of the section's header
}

// Hook is a command the tool runs as root. Its text is not kept: it may hold secrets.
type Hook struct {
	Key  string // PreUp, PostUp, PreDown or PostDown
	Line int
	// SetsPrivateKey is set if the command gives the interface a private key from a file, as
	// wg-quick(8) shows for keys that stay on the node.
	SetsPrivateKey bool
}

// Peer is one [Peer] section. Lines count from 1.
type Peer struct {
	PublicKey           string         // base64
	Endpoint            string         // host:port as written in the text; "" if missing
	AllowedIPs          []netip.Prefix // without host bits
	PersistentKeepalive int            // seconds, the upper end of a range; 0 if off
	HasPresharedKey     bool

	Line           int // of the section's header
	AllowedIPsLine int // of the first AllowedIPs; 0 if there is none
}

// note is a finding about one line. The warning with its code lists it.
type note struct {
	code string
	line int
	text string
}
