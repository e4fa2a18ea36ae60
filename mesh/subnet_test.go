package mesh_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"wfm/mesh"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

// refusedAs checks that err is a refusal with the code and the words.
func refusedAs(t *testing.T, err error, code, words string) {
	t.Helper()
	var e *mesh.Error
	if !errors.As(err, &e) || e.Code != code || e.Message != words {
		t.Errorf("the answer is %v; want %s: %s", err, code, words)
	}
}

func TestNextAddressIsTheLowestFreeOne(t *testing.T) {
	tests := []struct {
		subnet string
		taken  []string
		want   string
	}{
		{"10.66.0.0/24", nil, "10.66.0.1/32"},
		{"10.66.0.0/24", []string{"10.66.0.1", "10.66.0.3", "10.66.0.2"}, "10.66.0.4/32"},
		{"10.66.0.0/24", []string{"10.66.0.1", "10.66.0.1", "10.66.0.3"}, "10.66.0.2/32"},
		{"10.66.0.0/24", []string{"10.66.0.0", "10.66.0.2", "10.67.0.1", "fd00::1"}, "10.66.0.1/32"},
		{"10.66.0.0/30", []string{"10.66.0.1"}, "10.66.0.2/32"},
		{"10.66.0.8/31", []string{"10.66.0.8"}, "10.66.0.9/32"},
		{"fd00:66::/64", []string{"fd00:66::1"}, "fd00:66::2/128"},
	}
	for _, tt := range tests {
		var taken []netip.Addr
		for _, s := range tt.taken {
			taken = append(taken, addr(s))
		}
		if got, err := mesh.NextAddress(prefix(tt.subnet), taken); err != nil || got.String() != tt.want {
			t.Errorf("next of %s beside %v = %s, %v; want %s", tt.subnet, tt.taken, got, err, tt.want)
		}
	}
}

func TestAFullSubnetSaysWhatToDo(t *testing.T) {
	_, err := mesh.NextAddress(prefix("10.66.0.0/30"), []netip.Addr{addr("10.66.0.1"), addr("10.66.0.2")})
	refusedAs(t, err, mesh.CodeIPPoolExhausted,
		"virtual_subnet 10.66.0.0/30 has no free address left; give the mesh a larger one, or give the node a virtual_ip outside of it.")
	if _, err := mesh.NextAddress(prefix("255.255.255.254/31"), []netip.Addr{addr("255.255.255.254"), addr("255.255.255.255")}); err == nil {
		t.Error("an address after the very last one was found")
	}
}

func TestAddressesGivenOneAfterTheOtherAreAllDifferentAndFillTheSubnet(t *testing.T) {
	var taken []netip.Addr
	for {
		next, err := mesh.NextAddress(prefix("10.66.0.0/26"), taken)
		if err != nil {
			break
		}
		if warning, err := mesh.CheckAddress(next, []netip.Prefix{prefix("10.66.0.0/26")}, ownerIn(taken)); warning != "" || err != nil {
			t.Fatalf("%s was suggested, but: %s %v", next, warning, err)
		}
		taken = append(taken, next.Addr())
	}
	if len(taken) != 62 {
		t.Errorf("a /26 had room for %d nodes, want 62", len(taken))
	}
}

func ownerIn(taken []netip.Addr) func(netip.Addr) (string, bool) {
	return func(a netip.Addr) (string, bool) {
		if slices.Contains(taken, a) {
			return "north", true
		}
		return "", false
	}
}

func TestCheckAddress(t *testing.T) {
	subnets := []netip.Prefix{prefix("10.66.0.0/24"), prefix("fd00:66::/64")}
	tests := []struct{ address, warning, err string }{
		{"10.66.0.5/32", "", ""},
		{"fd00:66::5/128", "", ""},
		{"10.66.0.9/32", "", "virtual_ip 10.66.0.9 is taken by north; choose a free one."},
		{"10.66.0.0/32", "", "virtual_ip 10.66.0.0 is the address of the network 10.66.0.0/24 itself; choose another one."},
		{"fd00:66::/128", "", "virtual_ip fd00:66:: is the address of the network fd00:66::/64 itself; choose another one."},
		{"10.66.0.255/32", "", "virtual_ip 10.66.0.255 is the broadcast address of 10.66.0.0/24; choose another one."},
		{
			"10.67.0.1/32",
			"virtual_ip 10.67.0.1 is outside of the mesh's subnet 10.66.0.0/24: links that carry the subnet do not reach it by themselves.", "",
		},
	}
	for _, tt := range tests {
		warning, err := mesh.CheckAddress(prefix(tt.address), subnets, ownerIn([]netip.Addr{addr("10.66.0.9")}))
		if warning != tt.warning {
			t.Errorf("%s: the warning is %q, want %q", tt.address, warning, tt.warning)
		}
		if tt.err == "" && err != nil {
			t.Errorf("%s was refused: %v", tt.address, err)
		}
		if tt.err != "" {
			refusedAs(t, err, mesh.CodeInvalidVirtualIP, tt.err)
		}
	}
}

func TestParseSubnet(t *testing.T) {
	for _, s := range []string{"10.66.0.0/24", " 10.0.0.0/8", "192.168.9.0/30", "fd00:66::/64", "fd00::/126"} {
		if _, err := mesh.ParseSubnet("virtual_subnet", s); err != nil {
			t.Errorf("%q was refused: %v", s, err)
		}
	}
	tests := map[string]string{
		"":                    `virtual_subnet "" is not a network; write one like 10.66.0.0/24 or fd00:66::/64.`,
		"10.66.0.0":           `virtual_subnet "10.66.0.0" is not a network; write one like 10.66.0.0/24 or fd00:66::/64.`,
		"10.66.0.0/33":        `virtual_subnet "10.66.0.0/33" is not a network; write one like 10.66.0.0/24 or fd00:66::/64.`,
		"::ffff:10.0.0.0/120": `virtual_subnet "::ffff:10.0.0.0/120" is not a network; write one like 10.66.0.0/24 or fd00:66::/64.`,
		"10.66.0.5/24":        "virtual_subnet 10.66.0.5/24 is an address in a network; write the network, 10.66.0.0/24.",
		"10.66.0.0/31":        "virtual_subnet 10.66.0.0/31 has the length /31; give one from /8 to /30.",
		"0.0.0.0/0":           "virtual_subnet 0.0.0.0/0 has the length /0; give one from /8 to /30.",
		"fd00::/16":           "virtual_subnet fd00::/16 has the length /16; give one from /32 to /126.",
		"224.0.0.0/24":        "virtual_subnet 224.0.0.0/24 has addresses that no node can have; take a private network like 10.66.0.0/24.",
		"127.0.0.0/24":        "virtual_subnet 127.0.0.0/24 has addresses that no node can have; take a private network like 10.66.0.0/24.",
	}
	for s, want := range tests {
		_, err := mesh.ParseSubnet("virtual_subnet", s)
		refusedAs(t, err, mesh.CodeInvalidSubnet, want)
	}
}

func TestParseAddressTakesItWithAndWithoutAPrefix(t *testing.T) {
	for s, want := range map[string]string{"10.66.0.5": "10.66.0.5/32", "10.66.0.5/32": "10.66.0.5/32", "10.66.0.5/24": "10.66.0.5/24", "fd00::5": "fd00::5/128"} {
		if got, err := mesh.ParseAddress("virtual_ip", s); err != nil || got.String() != want {
			t.Errorf("%q is read as %s, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", "10.66.0", "10.66.0.5/33", "fe80::1%eth0", "127.0.0.1", "0.0.0.0", "224.0.0.1", "::ffff:10.0.0.1", "::1", "255.255.255.255"} {
		_, err := mesh.ParseAddress("virtual_ip", s)
		refusedAs(t, err, mesh.CodeInvalidVirtualIP, fmt.Sprintf("virtual_ip %q is not an address that a node can have; write one like 10.66.0.5/32.", s))
	}
}

func TestOfferSubnetMeetsNothingInUse(t *testing.T) {
	tests := []struct {
		inUse []string
		want  string
	}{
		{nil, "10.66.0.0/24"},
		{[]string{"10.66.0.0/24"}, "10.66.1.0/24"},
		{[]string{"10.66.1.0/24", "10.66.0.128/25", "192.168.0.0/16", "fd00::/64", "0.0.0.0/0"}, "10.66.2.0/24"},
		{[]string{"10.66.0.0/16", "10.66.7.0/24"}, "10.67.0.0/24"},
		{[]string{"10.64.0.0/10", "10.128.0.5/32"}, "10.128.1.0/24"},
		{[]string{"10.65.0.0/16", "10.66.0.0/23"}, "10.66.2.0/24"},
	}
	for _, tt := range tests {
		var inUse []netip.Prefix
		for _, s := range tt.inUse {
			inUse = append(inUse, prefix(s))
		}
		if got, err := mesh.OfferSubnet(inUse); err != nil || got.String() != tt.want {
			t.Errorf("beside %v, %s is offered, %v; want %s", tt.inUse, got, err, tt.want)
		}
	}
	_, err := mesh.OfferSubnet([]netip.Prefix{prefix("10.0.0.0/8")})
	refusedAs(t, err, mesh.CodeIPPoolExhausted, "No /24 from 10.66.0.0 to 10.255.255.0 is free; give a virtual_subnet.")
}

func TestOfferSubnetIsTheFirstThatFits(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var inUse []netip.Prefix
		for range random.IntN(20) {
			a := netip.AddrFrom4([4]byte{10, byte(64 + random.IntN(4)), byte(random.IntN(4)), byte(random.IntN(256))})
			inUse = append(inUse, netip.PrefixFrom(a, 14+random.IntN(19)).Masked())
		}
		fits := func(p netip.Prefix) bool {
			return !slices.ContainsFunc(inUse, p.Overlaps)
		}
		want := prefix("10.66.0.0/24")
		for n := 66 << 8; !fits(want); n++ {
			want = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), 0}), 24)
		}
		if got, err := mesh.OfferSubnet(inUse); err != nil || got != want {
			t.Fatalf("beside %v, %s is offered, %v; want %s", inUse, got, err, want)
		}
	}
}

func TestCheckSubnetWarnsOfNetworksInUse(t *testing.T) {
	taken := []mesh.Taken{
		{noPrefix, "nothing"}, {prefix("0.0.0.0/0"), "the appliance"}, {prefix("10.66.0.0/16"), "mesh office"}, {prefix("192.168.1.0/24"), "the appliance"},
	}
	for subnet, want := range map[string]string{
		"10.67.0.0/24": "", "fd00:66::/64": "",
		"10.66.9.0/24": "virtual_subnet 10.66.9.0/24 overlaps 10.66.0.0/16 of mesh office: a device that is in both cannot tell them apart. " +
			"Choose another virtual_subnet.",
		"192.168.0.0/16": "virtual_subnet 192.168.0.0/16 overlaps 192.168.1.0/24 of the appliance: a device that is in both cannot tell them apart. " +
			"Choose another virtual_subnet.",
	} {
		if got := mesh.CheckSubnet(prefix(subnet), taken); got != want {
			t.Errorf("%s: the warning is %q, want %q", subnet, got, want)
		}
	}
}

func TestNewULA(t *testing.T) {
	got, err := mesh.NewULA(bytes.NewReader([]byte{1, 2, 3, 4, 5}))
	if err != nil || got != prefix("fd01:203:405::/64") {
		t.Errorf("the network is %s, %v", got, err)
	}
	if _, err := mesh.NewULA(bytes.NewReader(nil)); err == nil {
		t.Error("a network without randomness")
	}
}

func BenchmarkNextAddressBeside5000(b *testing.B) {
	subnet := prefix("10.66.0.0/16")
	var taken []netip.Addr
	for a := subnet.Addr().Next(); len(taken) < 5000; a = a.Next() {
		taken = append(taken, a)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(taken), func(i, j int) { taken[i], taken[j] = taken[j], taken[i] })
	for b.Loop() {
		if _, err := mesh.NextAddress(subnet, taken); err != nil {
			b.Fatal(err)
		}
	}
}
