package tunnel

import (
	"errors"

	"wfm/store"
	"wfm/tunnel/wgconf"
)

// HandOut picks what an agent is given at bind: what is staged, else what the node confirmed, else
// what is desired. s is the node's state before the bind, which forgets what was confirmed; r is how
// the agent will reach the broker, resolved beforehand (see [Reach]).
//
// A text that does not fit the mesh's tools, or would cut the node off and was not forced, is passed
// over for the next. If none is without fault, the first is handed out all the same: a deployed agent
// writes what it gets over what it has, so an empty text would lose the node's config. An agent does
// not start what it is handed, and a push is checked again. The zero ref and "" mean there is no text.
func HandOut(tx *store.Tx, cfg store.Config, n store.Node, s store.ConfState, r wgconf.Reach) (store.ConfRef, string, error) {
	var first store.ConfRef
	var firstText string
	for _, ref := range []store.ConfRef{s.Staged, s.Confirmed, s.Desired} {
		if ref.Version == 0 {
			continue
		}
		text, err := tx.ConfText(n.ID, ref.SHA256)
		if errors.Is(err, store.ErrConfVersionNotFound) { // a late answer confirmed what had made room
			continue
		}
		if err != nil {
			return store.ConfRef{}, "", err
		}
		v, err := tx.ConfVersion(n.ID, ref.Version)
		if err != nil && !errors.Is(err, store.ErrConfVersionNotFound) {
			return store.ConfRef{}, "", err
		}
		conf, problem := Read(cfg, n.ID, text)
		if problem == nil && (v.Forced || !CutsOff(Warnings(conf, n, r))) {
			return ref, text, nil
		}
		if first.Version == 0 {
			first, firstText = ref, text
		}
	}
	return first, firstText, nil
}
