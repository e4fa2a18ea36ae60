package appliance

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/internal/mqtttest"
	"wfm/protocol"
	"wfm/store"
)

// benchAppliance is a whole appliance with count bound nodes and a connected client for each.
func benchAppliance(b *testing.B, count int) (*Appliance, []*mqtttest.Client, []store.Bound) {
	b.Helper()
	a, err := New(b.Context(), Options{
		DataDir: b.TempDir(), HTTPAddr: "127.0.0.1:0", MQTTEnabled: true, MQTTAddr: "127.0.0.1:0",
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := a.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = a.Stop(b.Context()) })
	clients, bound := make([]*mqtttest.Client, count), bindNodes(b, a, count)
	for i := range clients {
		id := bound[i].Node.ID
		clients[i] = mqtttest.Dial(b, a.MQTTAddr(), 5)
		clients[i].Connect(mqtttest.Login{ClientID: protocol.ClientID(id), Username: id, Password: bound[i].Password, Keepalive: 60})
		clients[i].Subscribe(1, protocol.SubscribeTopics("cfg_x", id)...)
	}
	return a, clients, bound
}

// bindNodes makes nodes and binds an agent to each.
func bindNodes(b *testing.B, a *Appliance, count int) []store.Bound {
	b.Helper()
	bound := make([]store.Bound, count)
	err := a.db.Update(func(tx *store.Tx) error {
		if err := tx.PutConfig(&store.Config{ID: "cfg_x", Name: "x", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}); err != nil {
			return err
		}
		for i := range bound {
			id := fmt.Sprintf("node_%d", i)
			if err := tx.PutNode(&store.Node{ID: id, ConfigID: "cfg_x", Name: id, Enabled: true, Type: store.NodeDynamic, InterfaceName: "wg0"}); err != nil {
				return err
			}
			token, _, err := tx.IssueBindToken(id, time.Minute)
			if err != nil {
				return err
			}
			if bound[i], err = tx.Bind(token, store.Client{Capabilities: []string{protocol.CapabilityDedupe}}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return bound
}

// BenchmarkHeartbeat is a heartbeat from PUBLISH to PUBACK, stored on disk, one in flight a node.
func BenchmarkHeartbeat(b *testing.B) {
	for _, nodes := range []int{20, 100} { // one alone is held to its rate limit
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			_, clients, bound := benchAppliance(b, nodes)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for i, c := range clients {
				wg.Go(func() {
					topic := protocol.Topic{ConfigID: "cfg_x", NodeID: bound[i].Node.ID, Kind: protocol.KindHeartbeat}.String()
					for next.Add(1) <= int64(b.N) {
						c.Publish(topic, []byte(`{"payload":{"client_online":true}}`), 1, 7)
						c.Expect(packets.Puback)
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "heartbeats/s")
		})
	}
}

// BenchmarkCommand is a detect from Issue to the stored ACK, one after the other, over 100 nodes.
func BenchmarkCommand(b *testing.B) {
	a, clients, bound := benchAppliance(b, 100)
	for i := range clients {
		go answerDetects(clients[i], protocol.Topic{ConfigID: "cfg_x", NodeID: bound[i].Node.ID, Kind: protocol.KindDetectAck})
	}
	b.ResetTimer()
	for i := range b.N {
		cmd, err := a.ledger.Issue(b.Context(), bound[i%len(bound)].Node.ID, protocol.ActionDetect, "bench", false)
		if err != nil {
			b.Fatal(err)
		}
		if cmd, err = a.ledger.Wait(b.Context(), cmd.RequestID); err != nil || cmd.State != store.CommandApplied {
			b.Fatal(cmd.State, err)
		}
	}
}

// answerDetects acknowledges every detect until the connection ends.
func answerDetects(c *mqtttest.Client, topic protocol.Topic) {
	for {
		pk, err := c.Next()
		if err != nil {
			return
		}
		cmd, err := protocol.ParseTopic(pk.TopicName)
		if err != nil {
			continue // a PUBACK
		}
		env, err := protocol.Decode(cmd, pk.Payload)
		if err != nil {
			return
		}
		ack, err := protocol.NewEnvelope(topic, env.RequestID, protocol.Ack{Status: protocol.AckApplied}, time.Now())
		if err != nil {
			return
		}
		raw, err := ack.Encode()
		if err != nil {
			return
		}
		c.Publish(topic.String(), raw, 1, 9)
	}
}
