package mesh

import (
	"fmt"
	"strings"
)

// linuxNAT has the words of the firewalls of Linux for one IP family.
type linuxNAT struct {
	name     string // for people
	nft      string // the family of nft
	iptables string // the program
}

var linuxFamilies = [2]linuxNAT{{"IPv4", "ip", "iptables"}, {"IPv6", "ip6", "ip6tables"}}

// tableName is the table of nft that belongs to the tunnel. nft takes fewer characters than a name of
// an interface may have.
func tableName(iface string) string {
	return "wfm-" + strings.NewReplacer(".", "..", "=", ".e", "+", ".p").Replace(iface)
}

// eitherTool runs the command of nft if that is there, otherwise those of iptables.
func eitherTool(nft, iptables string) string {
	return fmt.Sprintf("if command -v nft >/dev/null; then nft '%s'; else %s; fi", nft, iptables)
}

// natLinux translates in a table, or in chains, that belong to the tunnel alone. The first hook makes
// them anew, so that the others find them empty; the last one removes them.
func (h *hooks) natLinux(t nat, iface string) {
	for f, n := range t {
		if len(n.to) == 0 && len(n.ports) == 0 {
			continue
		}
		l := linuxFamilies[f]
		table := l.nft + " " + tableName(iface)
		pre, post := "WFM-PRE-"+iface, "WFM-POST-"+iface
		chain := func(builtin, chain string) string {
			return fmt.Sprintf("%[1]s -w -t nat -N %[3]s 2>/dev/null || %[1]s -w -t nat -F %[3]s; "+
				"%[1]s -w -t nat -C %[2]s -j %[3]s 2>/dev/null || %[1]s -w -t nat -A %[2]s -j %[3]s", l.iptables, builtin, chain)
		}
		h.add("NAT of "+l.name,
			eitherTool(fmt.Sprintf("add table %[1]s; delete table %[1]s; add table %[1]s; "+
				"add chain %[1]s pre { type nat hook prerouting priority -100; }; add chain %[1]s post { type nat hook postrouting priority 100; }", table),
				chain("PREROUTING", pre)+"; "+chain("POSTROUTING", post)),
			fmt.Sprintf("if command -v nft >/dev/null; then nft 'add table %[1]s; delete table %[1]s'; fi; if command -v %[2]s >/dev/null; then { "+
				"%[2]s -w -t nat -D PREROUTING -j %[3]s; %[2]s -w -t nat -F %[3]s; %[2]s -w -t nat -X %[3]s; "+
				"%[2]s -w -t nat -D POSTROUTING -j %[4]s; %[2]s -w -t nat -F %[4]s; %[2]s -w -t nat -X %[4]s; } 2>/dev/null || true; fi",
				table, l.iptables, pre, post))
		if len(n.to) > 0 {
			h.add("masquerade for routes", eitherTool(
				fmt.Sprintf(`add rule %s post oifname != "%%i" %s saddr { %s } %s daddr { %s } masquerade`,
					table, l.nft, commaList(n.from, ", "), l.nft, commaList(n.to, ", ")),
				fmt.Sprintf("%s -w -t nat -A %s ! -o %%i -s %s -d %s -j MASQUERADE", l.iptables, post, commaList(n.from, ","), commaList(n.to, ","))), "")
		}
		for _, p := range n.ports {
			h.add(fmt.Sprintf("port forward %s %d", p.protocol, p.port), eitherTool(
				fmt.Sprintf(`add rule %[1]s pre iifname != "%%i" fib daddr type local %[2]s dport %[3]d dnat to %[4]s; `+
					`add rule %[1]s post oifname "%%i" %[5]s daddr %[6]s %[2]s dport %[7]d ct status dnat masquerade`,
					table, p.protocol, p.port, p.target, l.nft, p.target.Addr(), p.target.Port()),
				fmt.Sprintf("%[1]s -w -t nat -A %[2]s ! -i %%i -m addrtype --dst-type LOCAL -p %[3]s --dport %[4]d -j DNAT --to-destination %[5]s; "+
					"%[1]s -w -t nat -A %[6]s -o %%i -d %[7]s -p %[3]s --dport %[8]d -m conntrack --ctstate DNAT -j MASQUERADE",
					l.iptables, pre, p.protocol, p.port, p.target, post, p.target.Addr(), p.target.Port())), "")
		}
	}
}

// natDarwin loads an anchor of pf that belongs to the tunnel alone, below the one that the system's
// own rules always look into. pf counts by tokens who needs it.
func (h *hooks) natDarwin(t nat, iface string) {
	var rules []string
	for _, n := range t {
		for _, to := range n.to { // the interface behind which the network is
			rules = append(rules, fmt.Sprintf(`"nat on $(route -n get %s | awk '/interface:/ {print $2}') from { %s } to %s -> ($(route -n get %s | awk `+
				`'/interface:/ {print $2}'))"`,
				to.Addr(), commaList(n.from, ", "), to, to.Addr()))
		}
		for _, p := range n.ports {
			rules = append(rules,
				fmt.Sprintf(`"nat on %%i proto %s from any to %s port %d -> (%%i)"`, p.protocol, p.target.Addr(), p.target.Port()),
				fmt.Sprintf(`"rdr pass on ! %%i proto %s from any to (self) port %d -> %s port %d"`, p.protocol, p.port, p.target.Addr(), p.target.Port()))
		}
	}
	if len(rules) == 0 {
		return
	}
	anchor, token := "com.apple/wfm-"+iface, "/var/run/wfm-pf-"+iface
	h.add("NAT",
		fmt.Sprintf(`printf '%%s\n' %s | pfctl -q -a %s -f -; if [ ! -s %s ]; then pfctl -E 2>&1 | sed -n 's/^Token : //p' >%s; fi`,
			strings.Join(rules, " "), anchor, token, token),
		fmt.Sprintf(`pfctl -q -a %[1]s -F all; if [ -s %[2]s ]; then pfctl -q -X "$(cat %[2]s)"; rm -f %[2]s; fi`, anchor, token))
}
