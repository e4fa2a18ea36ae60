package web_test

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
	"wfm/web"
)

// BenchmarkApply measures the plan of a free mesh all of whose tunnel configs have changed, with its check,
// and applying it: staging all and beginning the rollout.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{500, 5000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			t := &testing.T{}
			db, err := store.Open(b.TempDir(), store.Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = db.Close() })
			r := rollouts{db}
			a := apiOver(t, db, func(o *web.Options) {
				o.Rollouts, o.Networks, o.MQTTHost = &r, func() []netip.Prefix { return nil }, "203.0.113.9"
			})
			a.token = adminSession(t, db, time.Hour)
			freeMesh(b, db, size)
			change := func(mtu int) {
				if err := db.Update(func(tx *store.Tx) error {
					_, err := mesh.Change(tx, "cfg_big", "admin", rand.Reader, func(e *mesh.Edit) error {
						cfg, err := tx.Config("cfg_big")
						if err != nil {
							return err
						}
						cfg.DefaultMTU = mtu
						return e.PutConfig(&cfg)
					})
					return err
				}); err != nil {
					b.Fatal(err)
				}
			}
			var planned, applied time.Duration
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				change(1300 + i%2)
				b.StartTimer()
				begun := time.Now()
				var p planJSON
				a.get("/api/v1/configs/cfg_big/apply").ok(&p)
				planned += time.Since(begun)
				begun = time.Now()
				var v appliedJSON
				a.post("/api/v1/configs/cfg_big/apply", object{"plan_hash": p.PlanHash}).ok(&v)
				applied += time.Since(begun)
				b.StopTimer()
				if p.Counts["change"] != size || v.Rollout.Counts["total"] != size {
					b.Fatalf("%+v, %+v", p.Counts, v)
				}
				a.post("/api/v1/rollouts/"+v.RolloutID+"/cancel", nil).ok(nil)
				b.StartTimer()
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.ReportMetric(planned.Seconds()/float64(b.N), "s/plan")
			b.ReportMetric(applied.Seconds()/float64(b.N), "s/apply")
			b.ReportMetric(float64(m.Sys)/(1<<20), "MiB-sys")
		})
	}
}

// freeMesh makes a mesh of nodes with agents, every 50th of which is a gateway.
func freeMesh(b *testing.B, db *store.DB, size int) {
	b.Helper()
	if err := db.Update(func(tx *store.Tx) error {
		_, err := mesh.Change(tx, "cfg_big", "admin", rand.Reader, func(e *mesh.Edit) error {
			cfg := store.Config{ID: "cfg_big", Name: "big", Enabled: true, TunnelProtocol: protocol.TunnelWireGuard}
			cfg.VirtualSubnet = netip.MustParsePrefix("10.128.0.0/12")
			if err := e.PutConfig(&cfg); err != nil {
				return err
			}
			for i := range size {
				n, err := e.NewNode(fmt.Sprintf("node_%d", i))
				if err != nil {
					return err
				}
				if n.Name = fmt.Sprintf("n%d", i); i%50 == 0 {
					n.IPv4Address = fmt.Sprintf("198.51.%d.%d", i/50/200, 1+i/50%200)
				}
				if err := e.PutNode(&n); err != nil {
					return err
				}
			}
			_, err := e.Quick(mesh.Quick{Mode: mesh.FreeMesh}, func() string { return protocol.NewID("link") })
			return err
		})
		return err
	}); err != nil {
		b.Fatal(err)
	}
	for i := range size {
		if err := db.Update(func(tx *store.Tx) error {
			token, _, err := tx.IssueBindToken(fmt.Sprintf("node_%d", i), time.Minute)
			if err == nil {
				_, err = tx.Bind(token, store.Client{Hostname: "h", Platform: "linux", Version: "0.9", MQTTHost: "203.0.113.9"})
			}
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}
