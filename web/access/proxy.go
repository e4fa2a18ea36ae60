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
			return nil, fmt.Errorf("%q is no address and no network, as in 10.0.0.5 or 10.0.0.0/24", raw)
		}
		proxies = append(proxies, network.Masked())
	}
	return proxies, nil
}

// front is what stands before us, as far as a request tells.
type front struct {
	peer    string // the address that the connection comes from: a proxy's, or the client's
	trusted bool   // it is one of our proxies
	// proto is what it says the client spoke, lower case; empty if it says nothing.
	proto string
}

type frontKey struct{}

func frontOf(r *http.Request) front {
	f, _ := r.Context().Value(frontKey{}).(front)
	return f
}

// Forwarded is the request as the client made it that the trusted proxies before us speak for: with
// its address, and whether it came over TLS. Anybody else's word for that counts for nothing.
//
// X-Forwarded-For is read from its end: each proxy appends whom it saw, so what stands before the
// last address that is no proxy of ours was written by the client.
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

// addrOf reads an address with or without a port; the zero Addr when it is none.
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

// Secure reports whether the client spoke TLS, with us or with a trusted proxy.
func Secure(r *http.Request) bool {
	f := frontOf(r)
	return r.TLS != nil || (f.trusted && f.proto == "https")
}
