package wire

import "wfm/store"

// The parts of [Route.Body] for the members that [ReadAWGMesh] and [ReadAWGNode] read, and of
// [Route.Objects] for the options among them.
const (
	AWGMeshMembers = "awg_s1 value, awg_s2 value, awg_s3 value, awg_s4 value, awg_h1 value, awg_h2 value, awg_h3 value, awg_h4 value, awg_options object"
	AWGOptions     = "header_protection_key, content_padding_addition value, rekey_after_time value, rekey_timeout value, reject_after_time value, " +
		"keepalive_timeout value, max_handshake_attempts value, random_trailers bool, disable_cookies bool"
	AWGNodeMembers = "awg_jc value, awg_jmin value, awg_jmax value, awg_i1, awg_i2, awg_i3, awg_i4, awg_i5, awg_options object"
	// AWGNodeOptions are those that a node may have otherwise than its mesh.
	AWGNodeOptions = "content_padding_addition value, rekey_after_time value, rekey_timeout value, reject_after_time value, keepalive_timeout value, " +
		"max_handshake_attempts value, disable_cookies bool"
)

// ofMesh are the options that all nodes of a mesh need alike.
var ofMesh = []string{"header_protection_key", "random_trailers"}

// maxAWGValue is the length up to which a value of AmneziaWG is read, in characters. The tools
// decide what is in it.
const maxAWGValue = 4096

// change is a change of one field of T.
type change[T any] func(*T)

// ReadAWGMesh reads a mesh's values of AmneziaWG and returns the change to them. An empty value
// removes the former one. The values are not checked, see mesh.CheckAWGMesh.
func ReadAWGMesh(f *Fields) func(*store.AWGMesh) {
	var all []change[store.AWGMesh]
	text := func(v *string, to func(*store.AWGMesh) *string) {
		if v != nil {
			all = append(all, func(a *store.AWGMesh) { *to(a) = *v })
		}
	}
	flag := func(v *bool, to func(*store.AWGMesh) *bool) {
		if v != nil {
			all = append(all, func(a *store.AWGMesh) { *to(a) = *v })
		}
	}
	line := Line(0, maxAWGValue)
	text(f.Value("awg_s1", line), func(a *store.AWGMesh) *string { return &a.S1 })
	text(f.Value("awg_s2", line), func(a *store.AWGMesh) *string { return &a.S2 })
	text(f.Value("awg_s3", line), func(a *store.AWGMesh) *string { return &a.S3 })
	text(f.Value("awg_s4", line), func(a *store.AWGMesh) *string { return &a.S4 })
	text(f.Value("awg_h1", line), func(a *store.AWGMesh) *string { return &a.H1 })
	text(f.Value("awg_h2", line), func(a *store.AWGMesh) *string { return &a.H2 })
	text(f.Value("awg_h3", line), func(a *store.AWGMesh) *string { return &a.H3 })
	text(f.Value("awg_h4", line), func(a *store.AWGMesh) *string { return &a.H4 })
	if o := f.Object("awg_options"); o != nil {
		text(o.Text("header_protection_key", line), func(a *store.AWGMesh) *string { return &a.HeaderProtectionKey })
		text(o.Value("content_padding_addition", line), func(a *store.AWGMesh) *string { return &a.ContentPaddingAddition })
		text(o.Value("rekey_after_time", line), func(a *store.AWGMesh) *string { return &a.RekeyAfterTime })
		text(o.Value("rekey_timeout", line), func(a *store.AWGMesh) *string { return &a.RekeyTimeout })
		text(o.Value("reject_after_time", line), func(a *store.AWGMesh) *string { return &a.RejectAfterTime })
		text(o.Value("keepalive_timeout", line), func(a *store.AWGMesh) *string { return &a.KeepaliveTimeout })
		text(o.Value("max_handshake_attempts", line), func(a *store.AWGMesh) *string { return &a.MaxHandshakeAttempts })
		flag(o.Flag("random_trailers"), func(a *store.AWGMesh) *bool { return &a.RandomTrailers })
		flag(o.Flag("disable_cookies"), func(a *store.AWGMesh) *bool { return &a.DisableCookies })
		f.AbsorbObject("awg_options", o.Faults())
	}
	return together(all)
}

// ReadAWGNode reads the values of AmneziaWG that a node has for itself, see [ReadAWGMesh]. An empty
// option is that of the mesh, and so is a disable_cookies that is null.
func ReadAWGNode(f *Fields) func(*store.AWGNode) {
	var all []change[store.AWGNode]
	text := func(v *string, to func(*store.AWGNode) *string) {
		if v != nil {
			all = append(all, func(a *store.AWGNode) { *to(a) = *v })
		}
	}
	line := Line(0, maxAWGValue)
	text(f.Value("awg_jc", line), func(a *store.AWGNode) *string { return &a.Jc })
	text(f.Value("awg_jmin", line), func(a *store.AWGNode) *string { return &a.Jmin })
	text(f.Value("awg_jmax", line), func(a *store.AWGNode) *string { return &a.Jmax })
	text(f.Text("awg_i1", line), func(a *store.AWGNode) *string { return &a.I1 })
	text(f.Text("awg_i2", line), func(a *store.AWGNode) *string { return &a.I2 })
	text(f.Text("awg_i3", line), func(a *store.AWGNode) *string { return &a.I3 })
	text(f.Text("awg_i4", line), func(a *store.AWGNode) *string { return &a.I4 })
	text(f.Text("awg_i5", line), func(a *store.AWGNode) *string { return &a.I5 })
	if o := f.Object("awg_options"); o != nil {
		text(o.Value("content_padding_addition", line), func(a *store.AWGNode) *string { return &a.ContentPaddingAddition })
		text(o.Value("rekey_after_time", line), func(a *store.AWGNode) *string { return &a.RekeyAfterTime })
		text(o.Value("rekey_timeout", line), func(a *store.AWGNode) *string { return &a.RekeyTimeout })
		text(o.Value("reject_after_time", line), func(a *store.AWGNode) *string { return &a.RejectAfterTime })
		text(o.Value("keepalive_timeout", line), func(a *store.AWGNode) *string { return &a.KeepaliveTimeout })
		text(o.Value("max_handshake_attempts", line), func(a *store.AWGNode) *string { return &a.MaxHandshakeAttempts })
		cookies := "" // null: as the mesh
		if disable := o.Flag("disable_cookies"); disable != nil {
			cookies = map[bool]string{true: "on", false: "off"}[*disable]
		}
		if cookies != "" || o.Null("disable_cookies") {
			text(&cookies, func(a *store.AWGNode) *string { return &a.DisableCookies })
		}
		for _, name := range ofMesh {
			if o.Given(name) {
				o.Reject(name, "must be the same for all nodes; give it in awg_options of the mesh")
			}
		}
		f.AbsorbObject("awg_options", o.Faults())
	}
	return together(all)
}

func together[T any](all []change[T]) func(*T) {
	return func(v *T) {
		for _, c := range all {
			c(v)
		}
	}
}
