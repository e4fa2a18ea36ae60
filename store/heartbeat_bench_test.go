package store

import (
	"fmt"
	"testing"
	"time"

	"wfm/protocol"
)

// benchWitness does the same reads as the appliance's witness, and appends to the history.
func benchWitness(tx *Tx, n Node) error {
	if _, err := tx.Config(n.ConfigID); err != nil {
		return err
	}
	e, err := tx.Evidence(n.ID)
	if err != nil {
		return err
	}
	return tx.AddTransition(n, Transition{At: e.ReachableAt, To: "online", Reason: "its MQTT connection is open"})
}

// benchHeartbeat does the same work in a transaction as the appliance does for a heartbeat.
func benchHeartbeat(tx *Tx, grant Grant) error {
	if g, ok, err := tx.Grant(grant.NodeID); err != nil || !ok || g.Generation != grant.Generation {
		return fmt.Errorf("no grant: %w", err)
	}
	running := true
	if err := tx.UpdateEvidence(grant.NodeID, func(e *Evidence) {
		e.ReachableAt, e.HeartbeatAt = tx.now.UTC(), tx.now.UTC()
		e.BootID, e.SessionID = "0d5f3c1e-1d5f-4b8e-9a53-2f1c4e1f2a10", "5a0cbd6e-5b9a-4f0a-9f6e-a30cbb1d7d55"
		e.TunnelRunning, e.TunnelAt, e.AgentWanted = &running, tx.now.UTC(), protocol.WantedRunning
	}); err != nil {
		return err
	}
	n, err := tx.Node(grant.NodeID)
	if err != nil {
		return err
	}
	if e, err := tx.Evidence(n.ID); err != nil || !*e.TunnelRunning {
		return fmt.Errorf("no evidence: %w", err)
	}
	if _, err := tx.Wanted(n.ID); err != nil {
		return err
	}
	if n, err = tx.Node(n.ID); err == nil && n.Client.Version != "1.2.3" {
		err = fmt.Errorf("version %q", n.Client.Version)
	}
	return err
}

// boundNodes returns a store with that many bound nodes, and their grants.
func boundNodes(tb testing.TB, count int, o Options) (*DB, []Grant) {
	tb.Helper()
	db, err := Open(tb.TempDir(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	grants := make([]Grant, 0, count)
	update(tb, db, func(tx *Tx) error {
		if err := tx.PutConfig(&Config{ID: "cfg_a", Name: "a", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}); err != nil {
			return err
		}
		for i := range count {
			id := fmt.Sprintf("node_%05d", i)
			if err := tx.PutNode(&Node{
				ID: id, ConfigID: "cfg_a", Name: id, Enabled: true, Type: NodeDynamic, InterfaceName: "wg0", Tags: []string{"field"},
			}); err != nil {
				return err
			}
			token, _, err := tx.IssueBindToken(id, time.Minute)
			if err != nil {
				return err
			}
			if _, err := tx.Bind(token, Client{Version: "1.2.3", Capabilities: []string{protocol.CapabilityDedupe}}); err != nil {
				return err
			}
		}
		return nil
	})
	for _, g := range db.Grants() {
		grants = append(grants, g)
	}
	return db, grants
}

// BenchmarkHeartbeat measures the writer's serial work for a heartbeat, with its share of the
// commit, in batches of nodes that take turns. The benchmark's goroutine replaces the idle writer.
// Writes are synced only with disk=true.
func BenchmarkHeartbeat(b *testing.B) {
	const batchSize = 256
	for _, disk := range []bool{false, true} {
		b.Run(fmt.Sprintf("disk=%v", disk), func(b *testing.B) {
			db, grants := boundNodes(b, 2000, Options{Witness: benchWitness})
			db.bolt.NoSync = !disk
			next := 0
			batch := func(size int) []*writeRequest {
				requests := make([]*writeRequest, size)
				for i := range requests {
					g := grants[next%len(grants)]
					next++
					requests[i] = &writeRequest{fn: func(tx *Tx) error { return benchHeartbeat(tx, g) }, reply: make(chan error, 1)}
				}
				return requests
			}
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; {
				requests := batch(min(batchSize, b.N-done))
				done += len(requests)
				txs, culprit, err := db.writer.attempt(requests)
				if culprit >= 0 || err != nil {
					b.Fatal(culprit, err)
				}
				for _, tx := range txs {
					if tx.err != nil {
						b.Fatal(tx.err)
					}
				}
			}
		})
	}
}
