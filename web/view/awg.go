package view

import (
	"strconv"

	"wfm/store"
)

// AWGMesh has the values of AmneziaWG that all nodes of a mesh share; null if one is not given.
type AWGMesh struct {
	S1      *int       `json:"awg_s1"`
	S2      *int       `json:"awg_s2"`
	S3      *int       `json:"awg_s3"`
	S4      *int       `json:"awg_s4"`
	H1      *string    `json:"awg_h1"` // a number, or a range like 5-900
	H2      *string    `json:"awg_h2"`
	H3      *string    `json:"awg_h3"`
	H4      *string    `json:"awg_h4"`
	Options AWGOptions `json:"awg_options"`
}

// AWGOptions has the values that came with AmneziaWG 3.1.
type AWGOptions struct {
	// HeaderProtectionKey is a secret. It is absent in answers to logins that may only read.
	HeaderProtectionKey    *string `json:"header_protection_key,omitempty"`
	ContentPaddingAddition *string `json:"content_padding_addition"`
	RekeyAfterTime         *string `json:"rekey_after_time"`
	RekeyTimeout           *string `json:"rekey_timeout"`
	RejectAfterTime        *string `json:"reject_after_time"`
	KeepaliveTimeout       *string `json:"keepalive_timeout"`
	MaxHandshakeAttempts   *string `json:"max_handshake_attempts"`
	RandomTrailers         bool    `json:"random_trailers"`
	DisableCookies         bool    `json:"disable_cookies"`
}

// AWGMeshOf returns the view of the values, without the secret one.
func AWGMeshOf(a store.AWGMesh) AWGMesh {
	return AWGMesh{
		S1: numberOrNull(a.S1), S2: numberOrNull(a.S2), S3: numberOrNull(a.S3), S4: numberOrNull(a.S4),
		H1: orNull(a.H1), H2: orNull(a.H2), H3: orNull(a.H3), H4: orNull(a.H4),
		Options: AWGOptions{
			ContentPaddingAddition: orNull(a.ContentPaddingAddition), RekeyAfterTime: orNull(a.RekeyAfterTime), RekeyTimeout: orNull(a.RekeyTimeout),
			RejectAfterTime: orNull(a.RejectAfterTime), KeepaliveTimeout: orNull(a.KeepaliveTimeout),
			MaxHandshakeAttempts: orNull(a.MaxHandshakeAttempts), RandomTrailers: a.RandomTrailers, DisableCookies: a.DisableCookies,
		},
	}
}

// AWGMeshWithKey returns the view of the values, with the secret one.
func AWGMeshWithKey(a store.AWGMesh) AWGMesh {
	v := AWGMeshOf(a)
	v.Options.HeaderProtectionKey = orNull(a.HeaderProtectionKey)
	return v
}

// AWGNode has the values of AmneziaWG that each node has for itself; null if one is not given.
type AWGNode struct {
	Jc   *int    `json:"awg_jc"`
	Jmin *int    `json:"awg_jmin"`
	Jmax *int    `json:"awg_jmax"`
	I1   *string `json:"awg_i1"`
	I2   *string `json:"awg_i2"`
	I3   *string `json:"awg_i3"`
	I4   *string `json:"awg_i4"`
	I5   *string `json:"awg_i5"`
	// Options are those that the node has otherwise than its mesh.
	Options AWGNodeOptions `json:"awg_options"`
}

// AWGNodeOptions has a node's own values of AmneziaWG 3.1; null if one is that of the mesh.
type AWGNodeOptions struct {
	ContentPaddingAddition *string `json:"content_padding_addition"`
	RekeyAfterTime         *string `json:"rekey_after_time"`
	RekeyTimeout           *string `json:"rekey_timeout"`
	RejectAfterTime        *string `json:"reject_after_time"`
	KeepaliveTimeout       *string `json:"keepalive_timeout"`
	MaxHandshakeAttempts   *string `json:"max_handshake_attempts"`
	DisableCookies         *bool   `json:"disable_cookies"`
}

// AWGNodeOf returns the view of the values.
func AWGNodeOf(a store.AWGNode) AWGNode {
	return AWGNode{
		Jc: numberOrNull(a.Jc), Jmin: numberOrNull(a.Jmin), Jmax: numberOrNull(a.Jmax),
		I1: orNull(a.I1), I2: orNull(a.I2), I3: orNull(a.I3), I4: orNull(a.I4), I5: orNull(a.I5),
		Options: AWGNodeOptions{
			ContentPaddingAddition: orNull(a.ContentPaddingAddition), RekeyAfterTime: orNull(a.RekeyAfterTime), RekeyTimeout: orNull(a.RekeyTimeout),
			RejectAfterTime: orNull(a.RejectAfterTime), KeepaliveTimeout: orNull(a.KeepaliveTimeout),
			MaxHandshakeAttempts: orNull(a.MaxHandshakeAttempts), DisableCookies: switchOrNull(a.DisableCookies),
		},
	}
}

func switchOrNull(v string) *bool {
	if v == "" {
		return nil
	}
	on := v == "on"
	return &on
}

func numberOrNull(v string) *int {
	n, err := strconv.Atoi(v)
	if err != nil {
		return nil
	}
	return &n
}
