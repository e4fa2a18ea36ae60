package reach

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"wfm/internal/tlsproblem"
	"wfm/web/access"
)

// Cover has the certificate cover the host that the agent will be told, which an administrator has
// just named by asking for the bind command there.
func (d *Directory) Cover(c echo.Context, host string) error {
	return d.CoverBroker(c, d.HostFor(host))
}

// CoverBroker has the certificate cover the name or address of the broker. A host that is new takes writes
// of its own, with a certificate to be made before anybody is told of the host.
func (d *Directory) CoverBroker(c echo.Context, host string) error {
	if !d.ownTLS() {
		return nil
	}
	if _, err := d.Certs.CACert(host); !errors.Is(err, tlsproblem.ErrHost) {
		return err
	}
	if err := d.Audit.Begin(c); err != nil {
		return err
	}
	return d.Certs.Cover(host)
}

// Pin has the agent trust our own CA at the address. That it is served there is known if
// this request has come that way.
func (d *Directory) Pin(r *http.Request, address *url.URL) string {
	if d.Certs == nil || r.TLS == nil || address.Scheme != "https" || access.PlainHost("https", address.Host) != access.PlainHost("https", r.Host) {
		return ""
	}
	if f := d.Certs.Fingerprint(address.Hostname()); f != "" {
		return " --cert-sha256 " + f
	}
	return ""
}
