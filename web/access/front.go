package access

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"wfm/web/wire"
)

// strangeOrigin returns the error for a write from a page of another origin than the one that the
// request was sent to. It explains how to configure a proxy, unless the browser says that the page
// is of another site.
func (g *Guard) strangeOrigin(r *http.Request) error {
	origin, err := ParseOrigin(r.Header.Get("Origin"))
	if site := r.Header.Get("Sec-Fetch-Site"); err != nil || site == "cross-site" || site == "same-site" {
		return wire.ErrOriginRejected
	}
	f := frontOf(r)
	scheme, host, _ := strings.Cut(origin, "://")
	switch {
	case host != PlainHost(scheme, r.Host):
		return &wire.OriginError{Err: wire.ErrOriginRejected, Message: fmt.Sprintf("This page came from %s, and its request names the host %s. "+
			"If a proxy is in front, have it keep Host with its port (nginx: proxy_set_header Host $http_host;), and start with --trusted-proxies %s. "+
			"Otherwise open the appliance's own page.", origin, shown(r.Host), f.peer)}
	case scheme != "https" || Secure(r):
		return wire.ErrOriginRejected
	case !f.trusted:
		return &wire.OriginError{Err: wire.ErrOriginRejected, Message: fmt.Sprintf("This page came by https://, the request by http://: a proxy is in front. "+
			"Start with --trusted-proxies %s or --public-origin %s.", f.peer, origin)}
	case f.proto == "":
		return &wire.OriginError{
			Err: wire.ErrOriginRejected,
			Message: fmt.Sprintf("This page came by https://, the request by http://: the proxy at %s is trusted, but does not say how it was reached. "+
				"Have it send X-Forwarded-Proto (nginx: proxy_set_header X-Forwarded-Proto $scheme;), or start with --public-origin %s.", f.peer, origin),
		}
	}
	return &wire.OriginError{Err: wire.ErrOriginRejected, Message: fmt.Sprintf("This page came by https://, and the proxy at %s says X-Forwarded-Proto: %s. "+
		"Have it pass on what the proxy in front of it says, or start with --public-origin %s.", f.peer, shown(f.proto), origin)}
}

// strangeHost returns the error for a request whose Host is not one of the appliance's.
func (g *Guard) strangeHost(r *http.Request) error {
	if g.origins.public == "" {
		return wire.ErrHostRejected
	}
	return &wire.OriginError{Err: wire.ErrHostRejected, Message: fmt.Sprintf("This request names the host %s, and the appliance answers at %s. "+
		"If a proxy is in front, have it keep Host with its port (nginx: proxy_set_header Host $http_host;). "+
		"Otherwise use that address, or allow this one in WFM_EXTRA_ALLOWED_ORIGINS.", shown(r.Host), g.origins.public)}
}

// insecure returns the error for a write without TLS where HTTPS is served.
func insecure(r *http.Request) error {
	if f := frontOf(r); !f.trusted && f.proto == "https" {
		return &wire.OriginError{Err: wire.ErrHTTPSRequired, Message: fmt.Sprintf("This appliance takes no changes without TLS, and the request came by http://: "+
			"the proxy at %s says that it was reached by https://, but is not trusted. Start with --trusted-proxies %s, or have it connect by "+
			"https://.", f.peer, f.peer)}
	}
	return wire.ErrHTTPSRequired
}

// UnderPath returns err, or an error that explains that the appliance cannot be served below a path
// of another site if the unknown path ends like a known one. paths are the known ones, as the
// router writes them.
func UnderPath(r *http.Request, err error, paths []string) error {
	if !errors.Is(err, wire.ErrUnknownPath) || len(r.URL.Path) < 2 {
		return err
	}
	_, rest, ok := strings.Cut(r.URL.Path[1:], "/")
	if !ok || !slices.ContainsFunc(paths, func(route string) bool { return wire.Matches(route, "/"+rest) }) {
		return err
	}
	return &wire.OriginError{
		Err: wire.ErrUnknownPath,
		Message: "There is nothing at this path. If a proxy puts the appliance under a path of another site: that cannot be done, " +
			"it needs a host name of its own, as in https://wfm.example.org/.",
	}
}

// shown returns the text of a request's header, shortened and on one line.
func shown(text string) string {
	quoted := strconv.Quote(text[:min(len(text), 100)])
	return quoted[1 : len(quoted)-1]
}

// maxNotes bounds the notes of one kind, since any client can write headers and could fill the log.
const maxNotes = 16

// frontNotes remembers the notes about proxies that were already logged.
type frontNotes struct {
	mu   sync.Mutex
	said map[string]int // the number of notes by kind, and of each note
}

// once reports whether to log the note of that kind.
func (n *frontNotes) once(kind, note string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.said == nil {
		n.said = make(map[string]int)
	}
	if key := kind + " " + note; n.said[key] == 0 && n.said[kind] < maxNotes {
		n.said[key], n.said[kind] = 1, n.said[kind]+1
		return true
	}
	return false
}

// NoteFront logs, once for each peer, headers of a proxy that have no effect because of the
// configuration.
func (g *Guard) NoteFront(r *http.Request) {
	f, h := frontOf(r), r.Header
	says := h.Get("X-Forwarded-For") != "" || f.proto != ""
	switch {
	case !f.trusted && (says || h.Get("Forwarded") != "") && g.fronts.once("untrusted", f.peer):
		g.log.Warn("X-Forwarded-For and X-Forwarded-Proto count for nothing, since no trusted proxy sent them: limits, the audit log and https:// are "+
			"taken for those of the proxy; if it is yours, start with --trusted-proxies "+f.peer, "peer", f.peer)
	case f.trusted && !says && h.Get("Forwarded") != "" && g.fronts.once("forwarded", f.peer):
		g.log.Warn("the header Forwarded is not read; have the proxy send X-Forwarded-For and X-Forwarded-Proto", "peer", f.peer)
	case f.trusted && f.proto != "" && h.Get("X-Forwarded-For") == "" && g.fronts.once("nameless", f.peer):
		g.log.Warn("the trusted proxy sends no X-Forwarded-For, so that all its clients count as one; have it append to that", "peer", f.peer)
	}
}

// noteOriginRefused logs once why a page's writes are refused.
func (g *Guard) noteOriginRefused(r *http.Request, err error) {
	if e, ok := errors.AsType[*wire.OriginError](err); ok && g.fronts.once("refused", e.Message) {
		g.log.Warn("requests are refused: "+e.Message, "peer", frontOf(r).peer, "host", shown(r.Host), "origin", shown(r.Header.Get("Origin")))
	}
}
