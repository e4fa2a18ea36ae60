package appliance

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"wfm/internal/mqtttest"
	"wfm/protocol"
	"wfm/store"
)

// fleet is a mesh of raw clients at the embedded broker, for the figures in docs/scaling.md.
type fleet struct {
	b       *testing.B
	a       *Appliance
	bound   []store.Bound
	clients []*mqtttest.Client
}

// How many clients connect, or report, at a time.
const (
	fleetConnecting = 64
	fleetReporting  = 512
)

// each runs do for every client, for some at once, and returns how long all took.
func (f *fleet) each(atOnce int, do func(i int)) time.Duration {
	began := time.Now()
	var wg sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for i := range f.bound {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			do(i)
		})
	}
	wg.Wait()
	return time.Since(began)
}

func (f *fleet) connect(i int) {
	id := f.bound[i].Node.ID
	c := mqtttest.Dial(f.b, f.a.MQTTAddr(), 5)
	c.Connect(mqtttest.Login{ClientID: protocol.ClientID(id), Username: id, Password: f.bound[i].Password, Keepalive: 600})
	c.Subscribe(1, protocol.SubscribeTopics("cfg_x", id)...)
	f.clients[i] = c
}

func (f *fleet) heartbeat(i int) {
	topic := protocol.Topic{ConfigID: "cfg_x", NodeID: f.bound[i].Node.ID, Kind: protocol.KindHeartbeat}.String()
	f.clients[i].Publish(topic, []byte(`{"payload":{"client_online":true}}`), 1, 7)
	f.clients[i].Expect(packets.Puback)
}

// resident is the memory of this process in KiB, with the generator's share in it.
func resident(b *testing.B) float64 {
	b.Helper()
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("no /proc: ", err)
	}
	_, rest, _ := strings.Cut(string(raw), "VmRSS:")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		b.Fatal(err)
	}
	return kib
}

// BenchmarkFleet connects a fleet, has every node report a few times, and drops and reconnects all.
func BenchmarkFleet(b *testing.B) {
	for _, nodes := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			a, _, _ := benchAppliance(b, 0)
			f := &fleet{b: b, a: a, bound: bindNodes(b, a, nodes), clients: make([]*mqtttest.Client, nodes)}
			before := resident(b)
			rate := func(d time.Duration) float64 { return float64(nodes) / d.Seconds() }
			connecting := rate(f.each(fleetConnecting, f.connect))
			memory := (resident(b) - before) / float64(nodes)
			const rounds = 5
			b.ResetTimer()
			for range b.N {
				var took time.Duration
				for range rounds {
					took += f.each(fleetReporting, f.heartbeat)
				}
				b.ReportMetric(rounds*rate(took), "heartbeats/s")
				for _, c := range f.clients {
					_ = c.Close()
				}
				b.ReportMetric(f.each(fleetConnecting, f.connect).Seconds(), "s/storm")
			}
			b.ReportMetric(connecting, "connects/s")
			b.ReportMetric(memory, "KiB/node")
			b.ReportMetric(float64(a.db.Size())/1024/float64(nodes), "file-KiB/node")
		})
	}
}
