package page

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/apply"
	"wfm/store"
	"wfm/web/access"
	"wfm/web/reach"
	"wfm/web/ui"
	"wfm/web/view"
	"wfm/web/wire"
)

// pagePolicy is the Content-Security-Policy of pages: everything is loaded from here, nothing is
// inline.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// maxPageQuery bounds, in bytes, a value from a page's address.
const maxPageQuery = 200

// queryTooLong is the page's message about a longer one.
var queryTooLong = fmt.Sprintf("The search text is longer than %d bytes, so it was ignored. Shorten it.", maxPageQuery)

const pathStatic = "/static/:name"

// Pages serves the admin page.
// Its fields are set before the first request and not changed after that.
type Pages struct {
	DB        *store.DB
	Log       *slog.Logger
	Version   string
	Guard     *access.Guard
	Audit     *access.Auditor
	Reader    *view.Reader
	Directory *reach.Directory
	Newest    func() string // the id of the newest event
	Recent    *view.Activity
	Applier   *apply.Applier
	// Networks returns the addresses of the appliance's own interfaces, each with its network.
	Networks func() []netip.Prefix
}

// Routes returns the routes of the admin page. They only read: a page makes every change through
// the calls of the API.
func (p *Pages) Routes() []wire.Route {
	open := func(path string, build func(echo.Context) (show, error)) wire.Route {
		return wire.Route{Method: http.MethodGet, Path: path, Access: wire.Guarded, Handle: p.page(build)}
	}
	known := func(path string, build func(echo.Context) (show, error)) wire.Route {
		return open(path, p.known(build))
	}
	return []wire.Route{
		{Method: http.MethodGet, Path: pathStatic, Access: wire.Guarded, Handle: p.static},
		{Method: http.MethodPost, Path: "/ui/qr", Access: wire.Session, Harmless: true, Handle: p.qr},
		{Method: http.MethodPost, Path: "/ui/configs/:config_id/nodes/:node_id/diff", Access: wire.Session, Harmless: true, Handle: p.confDiff},
		{Method: http.MethodPost, Path: "/ui/configs/:config_id/nodes/:node_id/takeover", Access: wire.Session, Harmless: true, Handle: p.takeover},
		{Method: http.MethodGet, Path: "/ui/configs/:config_id/nodes", Access: wire.Session, Handle: p.nodeChoices},
		{Method: http.MethodPost, Path: "/ui/form", Access: wire.Open, Handle: p.scriptNeeded}, // reads nothing, so it needs no login
		open("/setup", p.setupPage),
		open("/login", p.loginPage),
		known("/", p.overviewPage),
		known("/configs/:config_id", p.nodesPage),
		known("/configs/:config_id/links", p.linksPage),
		known("/configs/:config_id/links/new", p.newLinkPage),
		known("/configs/:config_id/links/:link_id", p.linkPage),
		known("/configs/:config_id/picture", p.picturePage),
		known("/configs/:config_id/quick", p.quickPage),
		known("/configs/:config_id/import", p.importPage),
		known("/configs/:config_id/settings", p.meshSettingsPage),
		known("/configs/:config_id/import-conf", p.importConfPage),
		known("/configs/:config_id/nodes/:node_id", p.nodePage),
		known("/configs/:config_id/nodes/:node_id/conf", p.confPage),
		known("/configs/:config_id/rollout", p.newRolloutPage),
		known("/configs/:config_id/apply", p.applyPage),
		known("/settings", p.settingsPage),
		known("/audit", p.auditPage),
		known("/rollouts", p.rolloutsPage),
		known("/rollouts/:rollout_id", p.rolloutPage),
		known("/commands/:request_id", p.commandPage),
	}
}

// show is the result of a page's handler: a template and its values, or the address to redirect to.
type show struct {
	template string
	ui.Page
	goTo string
}

// page answers with the page, or with a page for the error.
func (p *Pages) page(build func(echo.Context) (show, error)) echo.HandlerFunc {
	return func(c echo.Context) error {
		v, err := build(c)
		if err != nil {
			return p.ErrorPage(c, err)
		}
		if v.goTo != "" {
			return c.Redirect(http.StatusSeeOther, v.goTo)
		}
		return p.render(c, http.StatusOK, v)
	}
}

func (p *Pages) render(c echo.Context, status int, v show) error {
	v.User, v.Version = access.LoginOf(c).Username, p.Version
	body, err := ui.Render(v.template, v.Page)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Content-Security-Policy", pagePolicy)
	return c.HTMLBlob(status, body)
}

// known is a page that needs a login. It redirects other clients to a page they may see.
func (p *Pages) known(build func(echo.Context) (show, error)) func(echo.Context) (show, error) {
	return func(c echo.Context) (show, error) {
		l, _, err := p.Guard.Authenticate(c.Request())
		switch {
		case errors.Is(err, store.ErrNoAdmin):
			return show{goTo: "/setup"}, nil
		case errors.Is(err, wire.ErrAuthRequired), errors.Is(err, wire.ErrInvalidToken), errors.Is(err, wire.ErrTokenExpired):
			return show{goTo: "/login?next=" + url.QueryEscape(c.Request().URL.RequestURI())}, nil
		case err != nil:
			return show{}, err
		}
		access.SetLogin(c, l)
		event := p.Newest() // before the page is read, since its stream begins here
		v, err := build(c)
		v.Event = event
		return v, err
	}
}

// ErrorPage answers with a page for the error.
func (p *Pages) ErrorPage(c echo.Context, err error) error {
	a := wire.Translate(err)
	v := map[string]string{"Title": http.StatusText(a.Status), "Message": a.Message}
	if a.Code == wire.CodeInternal {
		p.Log.Error("page failed", "route", c.Path(), "request_id", wire.RequestIDOf(c), "err", err)
		v["RequestID"] = wire.RequestIDOf(c)
	}
	return p.render(c, a.Status, show{template: "error", Page: ui.Page{Title: v["Title"], Body: v}})
}

func (p *Pages) static(c echo.Context) error {
	a, ok := ui.Static(c.Param("name"))
	if !ok {
		return wire.ErrUnknownPath
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "no-cache") // cached, but revalidated: a new version comes with the binary
	h.Set("ETag", a.ETag)
	if c.Request().Header.Get("If-None-Match") == a.ETag {
		return c.NoContent(http.StatusNotModified)
	}
	return c.Blob(http.StatusOK, a.Type, a.Content)
}

// qr draws a text that the script has just received: a bind command must not be in an address.
func (p *Pages) qr(c echo.Context) error {
	f, err := wire.ReadBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	text := f.Need("text", wire.Line(1, 1000))
	if err := f.Err(); err != nil {
		return err
	}
	svg, err := ui.QR(text)
	if err != nil {
		return &wire.InvalidError{Fields: map[string]string{"text": "is too long"}}
	}
	return c.Blob(http.StatusOK, "image/svg+xml", []byte(svg))
}

// scriptNeeded answers a form that the browser sent by itself, because the page's script has not
// run. It reads nothing of it, since it may contain a password.
func (p *Pages) scriptNeeded(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderAllow, "")
	return p.render(c, http.StatusMethodNotAllowed, show{template: "error", Page: ui.Page{Title: "JavaScript is needed", Body: map[string]string{
		"Title":   "Nothing was changed",
		"Message": "Changing something here needs JavaScript, and the page's script did not run. Allow JavaScript, go back, reload the page and try again.",
	}}})
}

func (p *Pages) setupPage(echo.Context) (show, error) {
	_, err := p.Guard.Admin()
	if err != nil && !errors.Is(err, store.ErrNoAdmin) {
		return show{}, err
	}
	return show{template: "setup", Page: ui.Page{Title: "Set-up", Body: map[string]any{
		"Possible": err != nil, "MinPassword": access.MinPassword,
	}}}, nil
}

func (p *Pages) loginPage(c echo.Context) (show, error) {
	if _, err := p.Guard.Admin(); errors.Is(err, store.ErrNoAdmin) {
		return show{goTo: "/setup"}, nil
	}
	return show{template: "login", Page: ui.Page{Title: "Log in", Body: map[string]any{"Next": p.ownPath(c.QueryParam("next"))}}}, nil
}

// ownPath returns path if it leads to a page, otherwise the overview. A link must not send a person
// who logs in to another host (browsers take a backslash for a slash, and drop controls). Nor must
// it make the browser request anything but a page: that request would come from our own site, with
// the cookie that SameSite withholds from the link itself.
func (p *Pages) ownPath(path string) string {
	const home = "/"
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsFunc(path, func(r rune) bool {
		return r <= ' ' || r == '\\' || r == '{'
	}) {
		return home
	}
	u, err := url.Parse(path)
	if err != nil || u.RawPath != "" { // an encoded slash
		return home
	}
	for _, r := range p.Routes() {
		if r.Method == http.MethodGet && r.Access == wire.Guarded && r.Path != pathStatic && wire.Matches(r.Path, u.Path) {
			return path
		}
	}
	return home
}

// pageQuery returns a value of the address; empty if it is too long, which leftOut reports.
func pageQuery(c echo.Context, name string) string {
	v := strings.TrimSpace(c.QueryParam(name))
	if len(v) > maxPageQuery {
		return ""
	}
	return v
}

// leftOut returns the page's message if one of the values is too long, otherwise "".
func leftOut(c echo.Context, names ...string) string {
	for _, name := range names {
		if len(strings.TrimSpace(c.QueryParam(name))) > maxPageQuery {
			return queryTooLong
		}
	}
	return ""
}
