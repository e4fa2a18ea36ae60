package reach

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"wfm/web/access"
	"wfm/web/wire"
)

// Way is the address at which agents are to find the appliance.
type Way struct {
	Address  string
	URL      *url.URL // the same
	Warnings []string
}

// WayForAgents returns the given address, else the public origin, else the address that this
// request's client uses for the appliance. Error: wire.ErrNoServerAddress.
func (d *Directory) WayForAgents(r *http.Request, given *string) (Way, error) {
	page, proxied := clientOrigin(r)
	var w Way
	switch {
	case given != nil:
		w.Address = *given
	case d.Public != "":
		w.Address = d.Public
	default:
		address, problem := ServerURL(page)
		if problem != "" {
			return w, wire.ErrNoServerAddress
		}
		w.Address = address
	}
	var err error
	if w.URL, err = url.Parse(w.Address); err != nil {
		return w, wire.ErrNoServerAddress
	}
	if proxied && d.Public == "" {
		w.warn("You reached the appliance by %s, but the request came to it without TLS: a proxy is in front. Start the appliance with --trusted-proxies "+
			"%s, or with --public-origin %s.",
			page, wire.RequestHost(r.RemoteAddr), page)
	}
	if u, err := url.Parse(page); err == nil && u.Scheme != w.URL.Scheme && access.PlainHost(u.Scheme, u.Host) == access.PlainHost(w.URL.Scheme, w.URL.Host) {
		w.warn("The command names %s, but you reached the same host by %s.", w.Address, page)
	}
	if host := w.URL.Hostname(); loopback(host) {
		w.warn("The address in the command, %s, is the node itself: the command works on the machine of the appliance alone. "+
			"Open this page under an address that the node reaches, name another address, or start the appliance with --public-origin.", host)
	}
	return w, nil
}

func (w *Way) warn(format string, args ...any) {
	w.Warnings = append(w.Warnings, fmt.Sprintf(format, args...))
}

// clientOrigin returns the origin that the request's client uses for the appliance. proxied reports
// that the origin is https although the request came without TLS: the Origin of its page says so,
// or an untrusted proxy. This permits nothing; it only makes a bind command that works for the
// client.
func clientOrigin(r *http.Request) (origin string, proxied bool) {
	own := access.Scheme(r) + "://" + r.Host
	if access.Secure(r) {
		return own, false
	}
	if page, err := access.ParseOrigin(r.Header.Get("Origin")); err == nil {
		if page == "https://"+access.PlainHost("https", r.Host) {
			return page, true
		}
		return own, false
	}
	if saysHTTPS(r.Header) {
		return "https://" + access.PlainHost("https", r.Host), true
	}
	return own, false
}

// saysHTTPS reports whether a proxy says, in either of the usual headers, that its client spoke
// TLS.
func saysHTTPS(h http.Header) bool {
	protos := strings.Split(strings.Join(h.Values("X-Forwarded-Proto"), ","), ",")
	if strings.EqualFold(strings.TrimSpace(protos[len(protos)-1]), "https") {
		return true
	}
	hops := strings.Split(strings.Join(h.Values("Forwarded"), ","), ",")
	for pair := range strings.SplitSeq(hops[len(hops)-1], ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if strings.EqualFold(name, "proto") && strings.EqualFold(strings.Trim(value, `"`), "https") {
			return true
		}
	}
	return false
}

// loopback reports whether the host means, on every machine, that machine itself.
func loopback(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback() || addr.Unmap().IsUnspecified()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || host == "localhost.localdomain" || host == "ip6-localhost"
}

// shellSafeURL matches the URLs that are safe on a command line. The brackets of an IPv6 address
// need quoting.
var shellSafeURL = regexp.MustCompile(`^https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?$`)

// ServerURL accepts an address of the appliance that is safe on a command line.
func ServerURL(v string) (clean, problem string) {
	v = strings.TrimRight(strings.TrimSpace(v), "/")
	u, err := url.Parse(v)
	if err == nil && u.Port() != "" {
		_, err = strconv.ParseUint(u.Port(), 10, 16)
	}
	if err != nil || len(v) > 255 || u.Hostname() == "" || !shellSafeURL.MatchString(v) {
		return "", "must begin with http:// or https:// and name a host and nothing but letters, digits and . : / _ -"
	}
	return v, ""
}
