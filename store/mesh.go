package store

import (
	"net/netip"
	"slices"
	"time"
)

// MeshSettings are the settings of a [Config] from which the tunnel configs of its nodes are made. A
// field that is zero was not given. The zero value is a mesh whose nodes' configs are all written by
// hand.
type MeshSettings struct {
	VirtualSubnet     netip.Prefix `json:"virtual_subnet,omitzero"`  // IPv4 or IPv6
	VirtualSubnet6    netip.Prefix `json:"virtual_subnet6,omitzero"` // IPv6, beside an IPv4 VirtualSubnet
	DefaultListenPort int          `json:"default_listen_port,omitempty"`
	DefaultMTU        int          `json:"default_mtu,omitempty"` // bytes
	DefaultDNS        string       `json:"default_dns,omitempty"` // as in a tunnel config: servers and search domains, with commas
	AutoSync          bool         `json:"auto_sync,omitempty"`   // of new nodes
	AWG               AWGMesh      `json:"awg,omitzero"`
}

// AWGMesh has the values of AmneziaWG that all nodes of a mesh share, each as it stands in a tunnel
// config: a number, a range like 100-200, or a key in base64. An empty value is not given.
type AWGMesh struct {
	S1 string `json:"s1,omitempty"`
	S2 string `json:"s2,omitempty"`
	S3 string `json:"s3,omitempty"`
	S4 string `json:"s4,omitempty"`
	H1 string `json:"h1,omitempty"`
	H2 string `json:"h2,omitempty"`
	H3 string `json:"h3,omitempty"`
	H4 string `json:"h4,omitempty"`

	HeaderProtectionKey    string `json:"header_protection_key,omitempty"` // a secret
	ContentPaddingAddition string `json:"content_padding_addition,omitempty"`
	RekeyAfterTime         string `json:"rekey_after_time,omitempty"`
	RekeyTimeout           string `json:"rekey_timeout,omitempty"`
	RejectAfterTime        string `json:"reject_after_time,omitempty"`
	KeepaliveTimeout       string `json:"keepalive_timeout,omitempty"`
	MaxHandshakeAttempts   string `json:"max_handshake_attempts,omitempty"`
	RandomTrailers         bool   `json:"random_trailers,omitempty"`
	DisableCookies         bool   `json:"disable_cookies,omitempty"`
}

// ConfigSource says where a node's tunnel config comes from.
type ConfigSource string

// The sources of a tunnel config.
const (
	SourceText ConfigSource = ""     // somebody writes it
	SourceMesh ConfigSource = "mesh" // it is made from the mesh
)

// KeyHolder says who has a node's private key.
type KeyHolder string

// The holders of a private key.
const (
	KeyAtAppliance KeyHolder = ""     // NodeSettings.PrivateKey
	KeyAtNode      KeyHolder = "node" // the node alone; the appliance knows the public key
)

// NodeSettings are the settings of a [Node] from which its tunnel config is made, and its peers'. A
// field that is zero was not given. The zero value is a node whose config is written by hand.
type NodeSettings struct {
	ConfigSource ConfigSource `json:"config_source,omitempty"`
	KeyHolder    KeyHolder    `json:"key_holder,omitempty"`
	// KeyChosen is set if a person chose the holder, or gave the private key. Otherwise the node holds the
	// key as soon as its agent can.
	KeyChosen  bool   `json:"key_chosen,omitempty"`
	PublicKey  string `json:"public_key,omitempty"`  // base64
	PrivateKey string `json:"private_key,omitempty"` // base64

	VirtualIP  netip.Prefix `json:"virtual_ip,omitzero"`  // in the tunnel; with its host bits
	VirtualIP6 netip.Prefix `json:"virtual_ip6,omitzero"` // IPv6, beside an IPv4 VirtualIP
	// IPv4Address and IPv6Address are where others reach the node: addresses or host names.
	IPv4Address string `json:"ipv4_address,omitempty"`
	IPv6Address string `json:"ipv6_address,omitempty"`
	ListenPort  int    `json:"listen_port,omitempty"`
	MTU         int    `json:"mtu,omitempty"` // bytes
	DNS         string `json:"dns,omitempty"` // see MeshSettings.DefaultDNS
	AutoSync    bool   `json:"auto_sync,omitempty"`

	// Routes are networks behind the node, which the others reach through it.
	Routes     []netip.Prefix `json:"routes,omitempty"`
	Masquerade bool           `json:"masquerade,omitempty"` // the node puts its own address on packets for Routes

	PreUp    []string `json:"pre_up,omitempty"`
	PostUp   []string `json:"post_up,omitempty"`
	PreDown  []string `json:"pre_down,omitempty"`
	PostDown []string `json:"post_down,omitempty"`

	AWG AWGNode `json:"awg,omitzero"`
}

// AWGNode has the values of AmneziaWG that each node has for itself, written as in [AWGMesh].
type AWGNode struct {
	Jc   string `json:"jc,omitempty"`
	Jmin string `json:"jmin,omitempty"`
	Jmax string `json:"jmax,omitempty"`
	I1   string `json:"i1,omitempty"`
	I2   string `json:"i2,omitempty"`
	I3   string `json:"i3,omitempty"`
	I4   string `json:"i4,omitempty"`
	I5   string `json:"i5,omitempty"`

	// The node has these options otherwise than its mesh; empty: as the mesh.
	ContentPaddingAddition string `json:"content_padding_addition,omitempty"`
	RekeyAfterTime         string `json:"rekey_after_time,omitempty"`
	RekeyTimeout           string `json:"rekey_timeout,omitempty"`
	RejectAfterTime        string `json:"reject_after_time,omitempty"`
	KeepaliveTimeout       string `json:"keepalive_timeout,omitempty"`
	MaxHandshakeAttempts   string `json:"max_handshake_attempts,omitempty"`
	DisableCookies         string `json:"disable_cookies,omitempty"` // on or off
}

func (s NodeSettings) clone() NodeSettings {
	s.Routes = slices.Clone(s.Routes)
	s.PreUp, s.PostUp = slices.Clone(s.PreUp), slices.Clone(s.PostUp)
	s.PreDown, s.PostDown = slices.Clone(s.PreDown), slices.Clone(s.PostDown)
	return s
}

// Link makes two nodes of a mesh each other's peers.
type Link struct {
	ID           string    `json:"id"` // of the group of both directions
	ConfigID     string    `json:"config_id"`
	Enabled      bool      `json:"enabled"`
	Manual       bool      `json:"manual,omitempty"` // a person made or changed it
	PresharedKey string    `json:"preshared_key,omitempty"`
	Notes        string    `json:"notes,omitempty"`
	Forward      Direction `json:"forward"`
	Reverse      Direction `json:"reverse"` // Forward's nodes, the other way round
	CreatedAt    time.Time `json:"created_at"`
	UpdatedAt    time.Time `json:"updated_at"`
}

// Direction is one half of a [Link]: the peer section in the tunnel config of the local node.
type Direction struct {
	LocalNodeID         string         `json:"local_node_id"`
	PeerNodeID          string         `json:"peer_node_id"`
	AllowedIPs          []netip.Prefix `json:"allowed_ips"`
	PersistentKeepalive int            `json:"persistent_keepalive,omitempty"` // seconds; 0: off

	EndpointMode       EndpointMode   `json:"endpoint_mode"`
	EndpointRefFamily  EndpointFamily `json:"endpoint_ref_family,omitempty"`  // of EndpointAuto
	EndpointManualHost string         `json:"endpoint_manual_host,omitempty"` // of EndpointManual
	EndpointPortMode   PortMode       `json:"endpoint_port_mode,omitempty"`
	EndpointManualPort int            `json:"endpoint_manual_port,omitempty"` // of PortManual
}

// EndpointMode says how a node finds its peer.
type EndpointMode string

// The endpoint modes.
const (
	EndpointAuto   EndpointMode = "auto"   // at the peer's public address, if it has one
	EndpointManual EndpointMode = "manual" // at the host that the link names
	EndpointNone   EndpointMode = "none"   // the peer makes the connection
)

// EndpointFamily is one of the two public addresses of a node.
type EndpointFamily string

// The endpoint families.
const (
	EndpointIPv4 EndpointFamily = "ipv4" // NodeSettings.IPv4Address
	EndpointIPv6 EndpointFamily = "ipv6" // NodeSettings.IPv6Address
)

// PortMode says which port of the peer an endpoint has.
type PortMode string

// The port modes.
const (
	PortOfPeer PortMode = "ref_peer_listen_port" // the one that the peer listens on
	PortManual PortMode = "manual"               // the one that the link names
)

// PortForward lets hosts outside of the mesh reach a service on one node through another one.
type PortForward struct {
	ID         string          `json:"id"`
	ConfigID   string          `json:"config_id"`
	FromNodeID string          `json:"from_node_id"` // where the service is
	FromPort   int             `json:"from_port"`
	ToNodeID   string          `json:"to_node_id"` // the entry: its hooks forward
	ToPort     int             `json:"to_port"`
	ToPlatform string          `json:"to_platform"` // of the entry: linux or darwin
	Protocol   ForwardProtocol `json:"protocol"`
	Enabled    bool            `json:"enabled"`
	CreatedAt  time.Time       `json:"created_at"`
	UpdatedAt  time.Time       `json:"updated_at"`
}

// ForwardProtocol is the protocol of a [PortForward].
type ForwardProtocol string

// The protocols of port forwards.
const (
	ForwardTCP ForwardProtocol = "tcp"
	ForwardUDP ForwardProtocol = "udp"
	ForwardAll ForwardProtocol = "all" // both
)
