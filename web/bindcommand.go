package web

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/web/wire"
)

func (a *bindAPI) bindcommandRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodPost, Path: wire.PathNode + "/bind-command", Access: wire.Session, Handle: a.bindCommand, OneWrite: true,
			Summary: "A command that binds an agent to the node, once and within five minutes.",
			Body:    "? server_url", Data: bindCommandView{},
			Codes: "NODE_DISABLED CLIENT_BIND_STATIC_NODE MQTT_DISABLED MQTT_TLS_CA_NOT_READY",
		},
	}
}

// bindTokenTTL is how long a bind command can be run.
const bindTokenTTL = 5 * time.Minute

// bindCommandView is how an agent is bound to a node.
type bindCommandView struct {
	Command string `json:"command"` // of wfm-agent
	// WfmctlCommand is for nodes that run the WG Free Mesh client, whose own wfm-agent ignores
	// arguments and would start a second time.
	WfmctlCommand string     `json:"wfmctl_command"`
	Token         string     `json:"token"`
	ExpiresAt     *time.Time `json:"expires_at"`
	Warnings      []string   `json:"warnings"` // sentences on what may keep the commands from working
}

// bindCommand makes the commands that a person runs on the node to bind its agent.
func (a *bindAPI) bindCommand(c echo.Context) error {
	f, err := wire.ReadOptionalBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	given := f.Text("server_url", wire.ServerURL)
	if err := f.Err(); err != nil {
		return err
	}
	if err := a.reader.mqtt(); err != nil {
		return err
	}
	way, err := a.directory.wayForAgents(c.Request(), given)
	if err != nil {
		return err
	}
	if err := a.directory.cover(c, way.url.Hostname()); err != nil {
		return err
	}
	var nodeID, token string
	var expires time.Time
	if err := a.audit.update(c, func(tx *store.Tx) error {
		_, n, err := nodeOf(tx, c)
		if err != nil {
			return err
		}
		nodeID = n.ID
		token, expires, err = tx.IssueBindToken(n.ID, bindTokenTTL)
		return err
	}); err != nil {
		return err
	}
	a.log.Info("bind command issued", "node_id", nodeID, "by", loginOf(c).Username)
	return wire.Respond(c, a.bindCommandView(c.Request(), way, token, expires))
}

// bindCommandView words the commands for the token.
func (a *bindAPI) bindCommandView(r *http.Request, w agentWay, token string, expires time.Time) bindCommandView {
	pin := a.directory.pin(r, w.url)
	warnings := append([]string{}, w.warnings...)
	if pin != "" {
		warnings = append(warnings, "wfmctl takes no fingerprint: on a node with the WG Free Mesh client, the appliance's CA (/api/v1/system/ca.pem) has to be among those the system trusts.")
	}
	return bindCommandView{
		Command:       "wfm-agent bind --server " + quoted(w.address) + pin + " --token " + token,
		WfmctlCommand: fmt.Sprintf(`wfmctl bind --server "%s" --token "%s"`, w.address, token),
		Token:         token, ExpiresAt: wire.When(expires), Warnings: warnings,
	}
}

// quoted keeps a shell from reading the brackets of an IPv6 address as a pattern.
func quoted(address string) string {
	if strings.Contains(address, "[") {
		return "'" + address + "'"
	}
	return address
}

// agentWay is the address at which agents are to find the appliance.
type agentWay struct {
	address  string
	url      *url.URL // the same
	warnings []string
}

// wayForAgents is the address given, else the public origin, else the one under which this request's
// client knows the appliance. Error: wire.ErrNoServerAddress.
func (d *directory) wayForAgents(r *http.Request, given *string) (agentWay, error) {
	page, proxied := clientOrigin(r)
	var w agentWay
	switch {
	case given != nil:
		w.address = *given
	case d.origins.public != "":
		w.address = d.origins.public
	default:
		address, problem := wire.ServerURL(page)
		if problem != "" {
			return w, wire.ErrNoServerAddress
		}
		w.address = address
	}
	var err error
	if w.url, err = url.Parse(w.address); err != nil {
		return w, wire.ErrNoServerAddress
	}
	if proxied && d.origins.public == "" {
		w.warn("You reached the appliance by %s, but the request came to it without TLS: a proxy is in front. Start the appliance with --trusted-proxies %s, or with --public-origin %s.",
			page, wire.RequestHost(r.RemoteAddr), page)
	}
	if u, err := url.Parse(page); err == nil && u.Scheme != w.url.Scheme && plainHost(u.Scheme, u.Host) == plainHost(w.url.Scheme, w.url.Host) {
		w.warn("The command names %s, but you reached the same host by %s.", w.address, page)
	}
	if host := w.url.Hostname(); loopback(host) {
		w.warn("The address in the command, %s, is the node itself: the command works on the machine of the appliance alone. "+
			"Open this page under an address that the node reaches, name another address, or start the appliance with --public-origin.", host)
	}
	return w, nil
}

func (w *agentWay) warn(format string, args ...any) {
	w.warnings = append(w.warnings, fmt.Sprintf(format, args...))
}

// clientOrigin is the origin under which the request's client knows the appliance. proxied means that
// it says https although the request came without TLS: its page's Origin does, or a proxy that we were
// not told to trust. Nothing is allowed on that word: who asks for a bind command gets the one that
// works for them.
func clientOrigin(r *http.Request) (origin string, proxied bool) {
	own := scheme(r) + "://" + r.Host
	if secure(r) {
		return own, false
	}
	if page, err := ParseOrigin(r.Header.Get("Origin")); err == nil {
		if page == "https://"+plainHost("https", r.Host) {
			return page, true
		}
		return own, false
	}
	if saysHTTPS(r.Header) {
		return "https://" + plainHost("https", r.Host), true
	}
	return own, false
}

// saysHTTPS reports whether a proxy says that its client spoke TLS, in either header there is.
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

// loopback reports whether the host is, for every machine, that machine itself.
func loopback(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback() || addr.Unmap().IsUnspecified()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || host == "localhost.localdomain" || host == "ip6-localhost"
}
