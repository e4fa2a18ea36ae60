package web

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"net/http"

	"github.com/labstack/echo/v4"

	"wfm/store"
)

// pageText is the whole page: no script, no style, nothing to load.
var pageText = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>WFM Appliance</title>
</head>
<body>
<h1>WFM Appliance</h1>
<p>The HTTP API is up, below <code>/api/v1</code>. This version has no admin page.</p>
{{if .SetupRequired}}<h2>Set-up is needed</h2>
<p>There is no admin account yet. The appliance printed a set-up token when it started; make the account with it
and a password of at least {{.MinPassword}} characters:</p>
<pre>curl -H 'Content-Type: application/json' \
  -d '{"setup_token":"&hellip;","password":"&hellip;"}' \
  {{.Address}}/api/v1/auth/setup</pre>
{{else}}<p>The admin account is set up. Log in with <code>POST /api/v1/auth/login</code>.</p>
{{end}}</body>
</html>
`))

func (s *Server) page(c echo.Context) error {
	_, err := s.admin()
	if err != nil && !errors.Is(err, store.ErrNoAdmin) {
		return err
	}
	address, err2 := s.serverAddress(c, nil)
	if err2 != nil {
		address = "http://<this host>"
	}
	var page bytes.Buffer
	if err := pageText.Execute(&page, map[string]any{
		"SetupRequired": err != nil, "MinPassword": minPassword, "Address": address,
	}); err != nil {
		return fmt.Errorf("render page: %w", err)
	}
	return c.HTMLBlob(http.StatusOK, page.Bytes())
}
