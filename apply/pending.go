package apply

import (
	"wfm/store"
	"wfm/tunnel"
)

// Pending returns how many nodes of the mesh have an agent and do not have their desired tunnel config,
// nor a push of it on its way. It is cheap enough for every page.
func Pending(tx *store.Tx, cfg store.Config) (count int, err error) {
	family := tunnel.Family(cfg)
	r := reader{tx: tx, cfg: cfg}
	for _, id := range tx.NodeIDs(cfg.ID) {
		s, err := tx.ConfState(id)
		if err != nil {
			return 0, err
		}
		if s.Desired.Version == 0 || tunnel.Sync(s, store.NodeDynamic, family) == store.SyncLatest {
			continue
		}
		n, err := tx.Node(id)
		if err != nil {
			return 0, err
		}
		if !n.Enabled || n.Client == nil || n.Type == store.NodeStatic {
			continue
		}
		push, err := r.lastPush(n, s.Desired)
		if err != nil {
			return 0, err
		}
		if push.RequestID == "" || push.State.Ended() {
			count++
		}
	}
	return count, nil
}
