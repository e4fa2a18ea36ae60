package mesh_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"wfm/mesh"
	"wfm/store"
)

// BenchmarkChange measures transactions with a change of one node, how many configs each makes anew, and
// how many times as long it takes as a change that shows in no config.
func BenchmarkChange(b *testing.B) {
	full := func(b *testing.B) *kept {
		b.Helper()
		k := newKept(b, "10.66.0.0/16")
		k.bulk(b, func(e *mesh.Edit) error {
			for i := range 200 {
				if err := put(e, fmt.Sprintf("n%d", i), at(fmt.Sprintf("192.0.2.%d", i+1))); err != nil {
					return err
				}
			}
			return k.quick(mesh.Quick{Mode: mesh.FullMesh})(e)
		})
		return k
	}
	hub := func(b *testing.B) *kept {
		b.Helper()
		k := newKept(b, "10.66.0.0/16")
		k.bulk(b, func(e *mesh.Edit) error {
			if err := put(e, "n0", at("192.0.2.1")); err != nil {
				return err
			}
			for i := range 2000 {
				if err := put(e, fmt.Sprintf("n%d", i+1)); err != nil {
					return err
				}
			}
			return k.quick(mesh.Quick{Mode: mesh.HubSpoke, HubNodeID: "n0"})(e)
		})
		return k
	}
	for _, bc := range []struct {
		name   string
		make   func(*testing.B) *kept
		node   string
		change func(n *store.Node, i int)
	}{
		{"full mesh of 200/tags", full, "n7", func(n *store.Node, i int) { n.Tags = []string{fmt.Sprint(i)} }},
		{"full mesh of 200/MTU", full, "n7", func(n *store.Node, i int) { n.MTU = 1300 + i%2 }},
		{"full mesh of 200/name", full, "n7", func(n *store.Node, i int) { n.Name = fmt.Sprint("n7-", i%2) }},
		{"full mesh of 200/address", full, "n7", func(n *store.Node, i int) { n.IPv4Address = fmt.Sprint("198.51.100.", 1+i%2) }},
		{"hub with 2,000 leaves/tags", hub, "n0", func(n *store.Node, i int) { n.Tags = []string{fmt.Sprint(i)} }},
		{"hub with 2,000 leaves/key of a leaf", hub, "n7", func(n *store.Node, i int) { n.PrivateKey = keysOf(fmt.Sprint("x", i%2)).Private }},
		{"hub with 2,000 leaves/MTU", hub, "n0", func(n *store.Node, i int) { n.MTU = 1300 + i%2 }},
		{"hub with 2,000 leaves/name", hub, "n0", func(n *store.Node, i int) { n.Name = fmt.Sprint("n0-", i%2) }},
		{"hub with 2,000 leaves/address", hub, "n0", func(n *store.Node, i int) { n.IPv4Address = fmt.Sprint("198.51.100.", 1+i%2) }},
	} {
		b.Run(bc.name, func(b *testing.B) {
			k := bc.make(b)
			configs, i := 0, 0
			change := func(change func(*store.Node, int)) {
				c, err := k.try(func(e *mesh.Edit) error { return k.altered(bc.node, e, func(n *store.Node) { change(n, i) }) })
				if err != nil {
					b.Fatal(err)
				}
				configs += len(c.NodeIDs)
				i++
			}
			change(bc.change) // reads the records
			const compared = 20
			least := time.Duration(math.MaxInt64)
			for range compared {
				begun := time.Now()
				change(func(n *store.Node, i int) { n.Tags = []string{fmt.Sprint("t", i)} })
				least = min(least, time.Since(begun))
			}
			configs, i = 0, i%2
			first := i
			for b.Loop() {
				change(bc.change)
			}
			b.ReportMetric(float64(configs)/float64(i-first), "configs/op")
			b.ReportMetric(float64(b.Elapsed())/float64(i-first)/float64(least), "x-of-none")
		})
	}
}

// bulk makes an edit whose result is not checked.
func (k *kept) bulk(tb testing.TB, edit func(*mesh.Edit) error) {
	tb.Helper()
	if _, err := k.try(edit); err != nil {
		tb.Fatal(err)
	}
}
