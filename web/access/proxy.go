package access

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"wfm/web/wire"
)

// ParseProxies reads addresses and networks (CIDR) of reverse proxies, separated by commas.
func ParseProxies(list string) ([]netip.Prefix, error) {
	var proxies []netip.Prefix
	for raw := range strings.SplitSeq(list, ",") {
		raw = strings.TrimSpace(raw)
		if raw == "" {
			continue
		}
		network, err := netip.ParsePrefix(raw)
		if addr, errAddr := netip.ParseAddr(raw); errAddr == nil {
			network, err = addr.Unmap().Prefix(addr.Unmap().BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("%q is not an address or network; write it as 10.0.0.5 or 10.0.0.0/24", raw)
		}
		proxies = append(proxies, network.Masked())
	}
	return proxies, nil
}

// front describes the proxy in front of us, as far as a request shows it.
type front struct {
	peer    string // address of the connection: a proxy's, or the client's
	trusted bool   // it is a trusted proxy
	// proto is the client's protocol according to the proxy, in lower case; empty if it does not
	// say.
	proto string
}

type frontKey struct{}

func frontOf(r *http.Request) front {
	f, _ := r.Context().Value(frontKey{}).(front)
	return f
}

// Forwarded returns the request as the client made it before the trusted proxies: with its address,
// and whether it used TLS. Headers from other peers are ignored.
//
// X-Forwarded-For is read from its end: each proxy appends its peer, so everything before the last
// address that is not a proxy of ours was written by the client.
func Forwarded(r *http.Request, trusted []netip.Prefix) *http.Request {
	f := front{peer: wire.RemoteHost(r), trusted: isTrusted(trusted, addrOf(r.RemoteAddr))}
	if protos := r.Header.Values("X-Forwarded-Proto"); len(protos) > 0 {
		last := protos[len(protos)-1]
		f.proto = strings.ToLower(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]))
	}
	r = r.WithContext(context.WithValue(r.Context(), frontKey{}, f))
	if !f.trusted {
		return r
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr := addrOf(strings.TrimSpace(hop))
		if !addr.IsValid() {
			break
		}
		r.RemoteAddr = net.JoinHostPort(addr.String(), "0")
		if !isTrusted(trusted, addr) {
			break
		}
	}
	return r
}

// addrOf parses an address with or without a port; the zero Addr if it is invalid.
func addrOf(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

func isTrusted(trusted []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// Secure reports whether the client used TLS, with us or with a trusted proxy.
func Secure(r *http.Request) bool {
	f := frontOf(r)
	return r.TLS != nil || (f.trusted && f.proto == "https")
}
