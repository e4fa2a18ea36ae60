package download

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/store"
	"wfm/tunnel"
	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) fileRoutes() []wire.Route {
	file := wire.Route{
		Method: http.MethodGet, Path: wire.PathNode + "/download-conf", Access: wire.Guarded, Query: "download_token",
		Summary: "The tunnel config of a node as a file, for a login that may write, or for a download_token.",
		Bare:    "text/plain",
		Codes: "NO_DESIRED_CONFIG AUTH_SETUP_REQUIRED INVALID_TOKEN TOKEN_EXPIRED FORBIDDEN " +
			"DOWNLOAD_TOKEN_REQUIRED INVALID_DOWNLOAD_TOKEN DOWNLOAD_TOKEN_SCOPE_MISMATCH",
	}
	file.Handle = a.file
	return []wire.Route{
		file,
		{
			Method: http.MethodPost, Path: wire.PathNode + "/download-token", Access: wire.Session, Handle: a.newToken, OneWrite: true,
			Summary: "A token that gives the tunnel config of the node once, within five minutes, and the command that fetches it. It ends with the login.",
			Data:    downloadTokenView{}, Codes: "NO_DESIRED_CONFIG VALIDATION_ERROR",
		},
		{
			Method: http.MethodGet, Path: wire.PathNode + "/config-qr", Access: wire.Write, Handle: a.code,
			Summary: "The tunnel config of a node as a QR code for the app on a phone. X-QR-Warning says if it may be hard to read.",
			Bare:    "image/svg+xml", Codes: "NO_DESIRED_CONFIG CONFIG_TOO_LONG_FOR_QR",
		},
	}
}

// tokenScope is the permission of a download token.
type tokenScope struct {
	nodeID string
	by     access.Login // who asked for it
}

type downloadTokenView struct {
	AccessToken  string     `json:"access_token"`
	TokenType    string     `json:"token_type"`
	ExpiresAt    *time.Time `json:"expires_at"`
	DownloadPath string     `json:"download_path"` // without the download_token, which the client adds
	Filename     string     `json:"filename"`
	Command      string     `json:"command"`  // fetches the file with curl
	Warnings     []string   `json:"warnings"` // sentences about conditions under which the command may fail
}

func (a *API) newToken(c echo.Context) error {
	way, err := a.Directory.WayForAgents(c.Request(), nil)
	if err != nil {
		return err
	}
	var f view.Facts
	if err := a.Audit.Update(c, func(tx *store.Tx) error {
		cfg, n, err := view.NodeOf(tx, c)
		if err != nil {
			return err
		}
		if f, err = a.Reader.Facts(tx, cfg, n); err == nil && f.Conf.Desired.Version == 0 {
			err = tunnel.ErrNoDesiredConfig
		}
		return err
	}); err != nil {
		return err
	}
	token, expires := a.tokens.add(tokenScope{f.Node.ID, access.LoginOf(c)}, time.Now())
	v := downloadTokenView{
		AccessToken: token, TokenType: "download", ExpiresAt: wire.When(expires), Filename: fileName(f.Node),
		DownloadPath: "/api/v1/configs/" + f.Node.ConfigID + "/nodes/" + f.Node.ID + "/download-conf", Warnings: append([]string{}, way.Warnings...),
	}
	v.Command = fmt.Sprintf("curl --fail --output %s '%s%s?download_token=%s'", v.Filename, way.Address, v.DownloadPath, token)
	a.Log.Info("download token issued", "node_id", f.Node.ID, "by", access.LoginOf(c).Username)
	return wire.Respond(c, v)
}

// fileName returns the name under which wg-quick and the apps make the interface of the node.
func fileName(n store.Node) string { return n.InterfaceName + ".conf" }

// file answers the file to a token, or to a login.
func (a *API) file(c echo.Context) error {
	token := c.QueryParam("download_token")
	if token == "" {
		err := a.Guard.WithLogin(wire.Route{Method: http.MethodGet, Access: wire.Write}, a.sendFile)(c)
		if errors.Is(err, wire.ErrAuthRequired) {
			err = wire.ErrDownloadTokenRequired
		}
		return err
	}
	scope, ok := a.tokens.get(token, time.Now())
	if !ok {
		return wire.ErrDownloadToken
	}
	// A login that is taken away must not let a private key out any more.
	switch err := a.Guard.SessionLives(scope.by.Token); {
	case errors.Is(err, wire.ErrInvalidToken), errors.Is(err, wire.ErrTokenExpired):
		return wire.ErrDownloadToken
	case err != nil:
		return err
	}
	access.SetLogin(c, scope.by) // the audit log names the login that asked for the token
	switch {
	case c.Param("node_id") != scope.nodeID:
		return wire.ErrDownloadTokenScope
	case c.Request().Method == http.MethodHead:
		return a.sendFile(c)
	case !a.tokens.remove(token, time.Now()): // another request was faster
		return wire.ErrDownloadToken
	}
	return a.sendFile(c)
}

func (a *API) sendFile(c echo.Context) error {
	f, text, err := a.text(c)
	if err != nil {
		return err
	}
	a.handOut(c, f.Node, f.Conf.Desired)
	w := wire.StartDownload(a.Stopping, c, "text/plain; charset=utf-8", fileName(f.Node), int64(len(text)))
	_, err = io.WriteString(w, text)
	return err
}

// text returns the desired tunnel config of the path's node. Error: tunnel.ErrNoDesiredConfig.
func (a *API) text(c echo.Context) (f view.Facts, text string, err error) {
	f, err = a.Reader.PathFacts(c, func(tx *store.Tx, f view.Facts) error {
		if f.Conf.Desired.Version == 0 {
			return tunnel.ErrNoDesiredConfig
		}
		text, err = tx.ConfText(f.Node.ID, f.Conf.Desired.SHA256)
		return err
	})
	return f, text, err
}

// handOut records that a text is handed out. The text is handed out even if the record cannot be
// written: a full disk must not cost a person the tunnel.
func (a *API) handOut(c echo.Context, n store.Node, ref store.ConfRef) {
	if c.Request().Method == http.MethodHead {
		return
	}
	a.Audit.NoteKeyRead(c, n.ID, ref.Version, 0)
	if n.Type != store.NodeStatic {
		return
	}
	if err := a.DB.Update(func(tx *store.Tx) error { return tx.NoteHandedOut(n.ID, ref) }); err != nil {
		a.Log.Error("a tunnel config was handed out, but the audit log could not be written", "node_id", n.ID, "version", ref.Version, "err", err)
	}
}

// The sizes of a text, in bytes, up to which its QR code can be read easily, and up to which there is
// one.
const (
	easyCode = 2000
	mostCode = 2953
)

func (a *API) code(c echo.Context) error {
	f, text, err := a.text(c)
	if err != nil {
		return err
	}
	if len(text) > mostCode {
		return wire.ErrTooLongForQR
	}
	svg, err := view.ConfigCode(text)
	if err != nil {
		return err
	}
	a.handOut(c, f.Node, f.Conf.Desired)
	if len(text) > easyCode {
		c.Response().Header().Set("X-QR-Warning", fmt.Sprintf(
			"The tunnel config has %d bytes, and phones may fail to read codes of more than %d; hand out the file instead.", len(text), easyCode))
	}
	return c.Blob(http.StatusOK, "image/svg+xml", []byte(svg))
}
