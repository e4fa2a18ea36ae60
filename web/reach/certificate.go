package reach

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"wfm/internal/tlsproblem"
	"wfm/web/access"
)

// Cover makes the certificate cover the host that the bind command names. An administrator has just
// named it by asking for the command there.
func (d *Directory) Cover(c echo.Context, host string) error {
	return d.CoverBroker(c, d.HostFor(host))
}

// CoverBroker makes the certificate cover the broker's host. A new host needs writes of its own,
// since its certificate must exist before the host is handed out.
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

// Pin returns the option of the bind command by which the agent trusts our own CA at the address.
// It is "" unless this request came by that address, which shows that the CA is served there.
func (d *Directory) Pin(r *http.Request, address *url.URL) string {
	if d.Certs == nil || r.TLS == nil || address.Scheme != "https" || access.PlainHost("https", address.Host) != access.PlainHost("https", r.Host) {
		return ""
	}
	if f := d.Certs.Fingerprint(address.Hostname()); f != "" {
		return " --cert-sha256 " + f
	}
	return ""
}
