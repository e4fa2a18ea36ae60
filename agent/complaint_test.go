package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Output of wg-quick without CAP_NET_ADMIN, with wireguard-go installed.
const withoutRight = `[#] ip link add site-a type wireguard
RTNETLINK answers: Operation not permitted
[!] Missing WireGuard kernel module. Falling back to slow userspace implementation.
[#] wireguard-go site-a
Unable to access interface: Protocol not supported
[#] ip link delete dev site-a
Cannot find device "site-a"
`

// goesOn is the output at the beginning of a start in which wireguard-go makes up for a missing
// kernel module.
const goesOn = `[#] ip link add wg0 type wireguard
Error: Unknown device type.
[!] Missing WireGuard kernel module. Falling back to slow userspace implementation.
[#] wireguard-go wg0
[#] wg setconf wg0 /dev/fd/63
`

// noRoute is the output that follows if there is no route to the endpoint yet.
const noRoute = "[#] ip -4 address add 10.61.0.2/24 dev wg0\nRTNETLINK answers: Network is unreachable\n[#] ip link set mtu 1420 up dev wg0\n"

func TestTheFirstComplaintOfAFailureComesFirstAndSaysWhatToDo(t *testing.T) {
	for stderr, want := range map[string]string{
		withoutRight: `: RTNETLINK answers: Operation not permitted; Unable to access interface: Protocol not supported; Cannot find device "site-a"; ` +
			"the agent needs root or CAP_NET_ADMIN",
		goesOn + "[#] resolvconf -a wg0 -m 0 -x\n/usr/bin/wg-quick: line 32: resolvconf: command not found\n[#] ip link delete dev " +
			"wg0\n": ": /usr/bin/wg-quick: line 32: resolvconf: command not found; " +
			"DNS in the config needs resolvconf on the node: install the package openresolv, or leave DNS out",
		goesOn + "[#] iptables-restore -n\n/usr/bin/wg-quick: line 32: iptables-restore: command not found\n[#] ip link delete dev " +
			"wg0\n": ": /usr/bin/wg-quick: line 32: iptables-restore: command not found; " +
			"a default route in AllowedIPs needs a firewall tool on the node: install the package nftables",
		goesOn + "Name or service not known: `a.b:5'\nConfiguration parsing error\n[#] ip link delete dev wg0\n": ": Name or service not known: `a.b:5'; " +
			"Configuration parsing error; " +
			"the name of an Endpoint does not exist for the node: check the name and the node's DNS, or give an address",
		goesOn + "Unable to modify interface: Address already in use\n": ": Unable to modify interface: Address already in use; " +
			"another tunnel or program on the node uses this ListenPort: give another one",
		"[#] ip link add wg0 type wireguard\nError: Unknown device type.\n": ": Error: Unknown device type.; " +
			"the node needs the WireGuard kernel module, or a userspace daemon like wireguard-go",
		strings.Replace(withoutRight, "RTNETLINK answers: Operation not permitted", "Error: Unknown device type.",
			1): `: Error: Unknown device type.; Unable to access interface: Protocol not supported; ` +
			`Cannot find device "site-a"; the node needs the WireGuard kernel module, or a userspace daemon like wireguard-go`,
		// The tool continued without a route to the endpoint; it ended because the hook failed.
		goesOn + noRoute + "[#] false\n[#] ip link delete dev wg0\n": ": it seems that a hook " +
			"of the config failed or hung (false); what hooks print is not shown",
		goesOn + noRoute + "[#] false\n[#] ip link delete dev wg0\nCannot find device \"wg0\"\n": ": Cannot find device \"wg0\"",
		goesOn + noRoute + "[#] ip -4 route add 10.2.0.0/24 dev wg0\nRTNETLINK answers: File exists\n[#] ip link delete dev wg0\n": ": RTNETLINK answers: " +
			"File exists",
		"[#] iptables -D FORWARD -i wg0\n[#] ip link delete dev wg0\nRTNETLINK answers: Operation not permitted\n": ": RTNETLINK answers: Operation not permitted; " +
			"the agent needs root or CAP_NET_ADMIN",
		"[#] ip -4 address add 10.9.0.2/32 dev wg0\nsome words\n[#] /opt/hook\nhunter2\n[#] nft -f /dev/fd/63\n[#] ip link delete dev " +
			"wg0\n": ": it seems that a hook of the config failed or hung (/opt/hook); what hooks print is not shown",
		"Warning: `/x' is world accessible\none\ntwo\nthree\nfour\nfive\n": ": one; three; four; five",
	} {
		if got := complaint(stderr) + advice(stderr); got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
}

func TestAToolThatTookTooLongSaysHowFarItWas(t *testing.T) {
	const hidden = ": it seems that a hook of the config failed or hung (sleep); what hooks print is not shown"
	for stderr, want := range map[string]string{
		"":                                     "; it was still reading the config",
		goesOn + "Terminated\n":                "; its last step was wg setconf wg0 /dev/fd/63",
		goesOn + "[#] sleep 50\nTerminated\n":  hidden,
		"[#] true x\n" + goesOn:                "; its last step was wg setconf wg0 /dev/fd/63",
		"[#] ip link add x type wireguard\nno": ": no; its last step was ip link add x type wireguard",
		goesOn + "[#] ip -4 route add 10.0.0.0/24 dev wg0\n[#] ip -4 route add 10.0.1.0/24 dev wg0\n": "; its last step was ip -4 route add 10.0.1.0/24 dev " +
			"wg0, after 2 routes",
	} {
		if got := stopped("wg-quick", stderr); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := stopped("wg", "slow\n"); got != ": slow" {
		t.Errorf("%q", got)
	}
}

// A tool that echoes thousands of routes gives the reason for its failure last.
func TestTheEndOfALongOutputIsKept(t *testing.T) {
	b := boundedBuffer{limit: 1000, tailLimit: 1000}
	_, _ = fmt.Fprintln(&b, "the first complaint")
	for i := range 5000 {
		_, _ = fmt.Fprintf(&b, "[#] ip -4 route add 10.%d.%d.0/24 dev wg0\n", i/256, i%256)
	}
	_, _ = fmt.Fprint(&b, "[#] /opt/hook\n", strings.Repeat("hunter2 hunter2\n", 10), "[#] ip link set up dev wg0\nthe last complaint\n")
	if got := complaint(b.String()); got != ": the first complaint; the last complaint" {
		t.Errorf("%q", got)
	}
	_, _ = fmt.Fprint(&b, "[#] /opt/hook\n", strings.Repeat("hunter2 hunter2\n", 1000))
	if got := complaint(b.String()); strings.Contains(got, "hunter") || len(b.String()) > 2100 {
		t.Errorf("%q of %d bytes", got, len(b.String()))
	}
}

func TestAQuickToolHasMoreTimeForMoreWork(t *testing.T) {
	long := []byte("[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n[Peer]\n" +
		"PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\nAllowedIPs = 10.0.0.0/24" + strings.Repeat(", 10.0.0.0/24", 1500))
	if usual := limit(25*time.Second, []byte(realConfig(1))); usual != 25*time.Second {
		t.Errorf("an ordinary config has %s", usual)
	}
	if got := limit(25*time.Second, long); got < 2*time.Minute || got > 16*time.Minute {
		t.Errorf("a long config has %s", got)
	}
	res := &toolResult{timedOut: true, err: fmt.Errorf("wg-quick did not end")}
	if got := because(res, long, "wg").Error(); !strings.Contains(got, "wg-quick did not end. The quick tool needs about") ||
		!strings.Contains(got, "1501 networks") {
		t.Error(got)
	}
	if got := because(res, []byte(realConfig(1)), "wg").Error(); got != "wg-quick did not end" {
		t.Error(got)
	}
}
