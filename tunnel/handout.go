package tunnel

import (
	"errors"

	"wfm/store"
	"wfm/tunnel/wgconf"
)

// HandOut returns the config for an agent at bind: the staged one, otherwise the one the node
// confirmed, otherwise the desired one. s is the node's state before the bind, which clears the
// confirmation. r describes how the agent will reach the broker, resolved beforehand (see [Reach]).
//
// A text that does not fit the mesh's tools, or would cut the node off and was not forced, is
// passed over for the next. If every text has a fault, HandOut returns the first one: a deployed
// agent overwrites its config with the answer, so an empty text would lose the node's config. An
// agent does not start the config from the bind, and a push is checked again. A text whose private key
// the agent does not have is never returned, since the tools refuse it. The zero ref and "" mean that
// there is no text. n has the agent that is bound.
func HandOut(tx *store.Tx, cfg store.Config, n store.Node, s store.ConfState, r wgconf.Reach) (store.ConfRef, string, error) {
	var first store.ConfRef
	var firstText string
	for _, ref := range []store.ConfRef{s.Staged, s.Confirmed, s.Desired} {
		if ref.Version == 0 {
			continue
		}
		text, err := tx.ConfText(n.ID, ref.SHA256)
		if errors.Is(err, store.ErrConfVersionNotFound) { // removed by the version limit, then confirmed by a late answer
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
		if problem == nil && checkKey(conf, n) != nil {
			continue
		}
		if kept, _ := wgconf.Kept(text); kept && problem != nil {
			continue
		}
		if problem == nil && (v.Forced || !CutsOff(Warnings(conf, n, r))) {
			return ref, text, nil
		}
		if first.Version == 0 {
			first, firstText = ref, text
		}
	}
	return first, firstText, nil
}
