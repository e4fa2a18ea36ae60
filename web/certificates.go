package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/internal/tlsproblem"
	"wfm/web/wire"
)

func (a *systemAPI) certificatesRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/.well-known/acme-challenge/:token", Access: wire.Open, Handle: a.acmeChallenge,
		},
		{
			Method: http.MethodGet, Path: "/api/v1/system/certificates", Access: wire.Session, Handle: a.listCertificates,
			Summary: "The TLS certificates, and how their renewal goes.",
			Data:    certificatesView{},
		},
		{
			Method: http.MethodPost, Path: "/api/v1/system/certificates/renew", Access: wire.Session, Handle: a.renewCertificates,
			Summary: "Renews them now; with new_ca under a new root of the appliance's own CA.",
			Body:    "? new_ca bool", Data: certificatesView{}, Codes: "TLS_DISABLED MQTT_TLS_CA_NOT_READY CERTIFICATE_RENEWAL_FAILED/502",
		},
		{
			Method: http.MethodGet, Path: "/api/v1/system/ca.pem", Access: wire.Open, Handle: a.caCertificate,
			Summary: "What a client needs to trust to reach what the appliance serves with TLS.",
			Bare:    "application/x-pem-file", Codes: "TLS_DISABLED MQTT_TLS_CA_NOT_READY",
		},
	}
}

// Certificates is what the server needs of the TLS certificates.
type Certificates interface {
	// CACert is the PEM of all that a client at host (empty: any) needs to trust. Errors:
	// tlsproblem.ErrNotReady, tlsproblem.ErrHost.
	CACert(host string) (string, error)
	// Cover has the certificate cover host, if that is ours to decide. Errors: as CACert, and
	// tlsproblem.ErrTooManyHosts.
	Cover(host string) error
	// Fingerprint is the SHA-256, hex, of the root that verifies what is served for host, if it is one
	// that machines do not trust by themselves, and served too; empty otherwise.
	Fingerprint(host string) string
	// Renew replaces the certificates now; with newCA under a new root. What is in use stays in use
	// if that fails.
	Renew(ctx context.Context, newCA bool) error
	// HTTPChallenge answers a request with which an issuer checks a name, and reports whether it was one.
	HTTPChallenge(w http.ResponseWriter, r *http.Request) bool
	// Status says how the certificates are; it does not wait for anything.
	Status() CertificateStatus
}

// CertificateStatus is how the certificates are.
type CertificateStatus struct {
	Issuer       string // local, acme or files
	Certificates []Certificate
	NotAfter     time.Time // of the one that ends first; zero: there is none
	NextRenewal  time.Time // or the next attempt; zero: none
	LastError    string
	LastErrorAt  time.Time
	Warning      string // that one runs out, or keeps agents from connecting
}

// Certificate describes one certificate.
type Certificate struct {
	Kind      string    `json:"kind"` // server or root
	Names     []string  `json:"names"`
	IssuedBy  string    `json:"issued_by"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	SHA256    string    `json:"sha256"` // of the certificate, hex
}

// renewalTimeout bounds a renewal that somebody waits for, within writeTimeout.
const renewalTimeout = 80 * time.Second

// httpsPinned is how long browsers keep to HTTPS after a visit, and so how long whoever gives it up
// has to go on serving it.
const httpsPinned = 30 * 24 * time.Hour

type tlsServiceView struct {
	Status      string     `json:"status"` // off, pending, ok, warning or error
	Issuer      string     `json:"issuer"`
	Names       []string   `json:"names"`
	NotAfter    *time.Time `json:"not_after"`
	NextRenewal *time.Time `json:"next_renewal"`
	LastError   string     `json:"last_error"`
	LastErrorAt *time.Time `json:"last_error_at"`
	Warning     string     `json:"warning"`
}

func (r *reader) tlsService() tlsServiceView {
	if r.certs == nil {
		return tlsServiceView{Status: "off", Names: []string{}}
	}
	v := viewTLS(r.certs.Status(), time.Now())
	if v.NotAfter == nil && r.httpsPort != 0 && v.Warning == "" {
		v.Warning = "there is no certificate for HTTPS yet; until there is, everything is served over HTTP without TLS"
	}
	return v
}

// redirects reports whether HTTP leads to HTTPS. It does not before the first certificate: nobody
// could follow, and whoever is to mend that would be locked out.
func (g *guard) redirects() bool {
	return g.httpsPort != 0 && g.certified()
}

func viewTLS(st CertificateStatus, now time.Time) tlsServiceView {
	v := tlsServiceView{
		Status: "ok", Issuer: st.Issuer, Names: []string{}, NotAfter: wire.When(st.NotAfter), NextRenewal: wire.When(st.NextRenewal),
		LastError: st.LastError, LastErrorAt: wire.When(st.LastErrorAt), Warning: st.Warning,
	}
	for _, c := range st.Certificates {
		if c.Kind == "server" {
			for _, name := range c.Names {
				if !slices.Contains(v.Names, name) {
					v.Names = append(v.Names, name)
				}
			}
		}
	}
	switch {
	case st.NotAfter.IsZero() && st.LastError == "":
		v.Status = "pending"
	case now.After(st.NotAfter): // there is none, or no valid one
		v.Status = "error"
	case st.LastError != "" || st.Warning != "":
		v.Status = "warning"
	}
	return v
}

type certificatesView struct {
	tlsServiceView
	Certificates []Certificate `json:"certificates"`
}

// certificates describes those in use.
func (r *reader) certificates() []Certificate {
	if r.certs == nil {
		return nil
	}
	return r.certs.Status().Certificates
}

func (a *systemAPI) listCertificates(c echo.Context) error {
	v := certificatesView{tlsServiceView: a.reader.tlsService(), Certificates: []Certificate{}}
	v.Certificates = append(v.Certificates, a.reader.certificates()...)
	return wire.Respond(c, v)
}

func (a *systemAPI) renewCertificates(c echo.Context) error {
	f, err := wire.ReadOptionalBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	newCA := wire.Or(f.Flag("new_ca"), false)
	if err := f.Err(); err != nil {
		return err
	}
	if a.certificates == nil {
		return wire.ErrTLSOff
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), renewalTimeout)
	defer cancel()
	if err := a.certificates.Renew(ctx, newCA); err != nil {
		return &wire.RenewalError{Err: err, None: a.certificates.Status().NotAfter.IsZero()}
	}
	a.log.Info("certificates renewed", "new_ca", newCA, "by", loginOf(c).Username)
	return a.listCertificates(c)
}

// caCertificate is public: whoever is to connect needs it first.
func (a *systemAPI) caCertificate(c echo.Context) error {
	if a.certificates == nil {
		return wire.ErrTLSOff
	}
	pem, err := a.certificates.CACert("")
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderContentDisposition, `attachment; filename="wfm-ca.pem"`)
	return c.Blob(http.StatusOK, "application/x-pem-file", []byte(pem))
}

func (a *systemAPI) acmeChallenge(c echo.Context) error {
	if a.certificates == nil || !a.certificates.HTTPChallenge(c.Response(), c.Request()) {
		return wire.ErrUnknownPath
	}
	return nil
}

// cover has the certificate cover the host that the agent will be told, which an administrator has
// just named by asking for the bind command there.
func (d *directory) cover(c echo.Context, host string) error {
	return d.coverBroker(c, d.mqttHost(host))
}

// coverBroker has the certificate cover the name or address of the broker. A host that is new takes writes
// of its own, with a certificate to be made before anybody is told of the host.
func (d *directory) coverBroker(c echo.Context, host string) error {
	if !d.ownTLS() {
		return nil
	}
	if _, err := d.certs.CACert(host); !errors.Is(err, tlsproblem.ErrHost) {
		return err
	}
	if err := d.audit.begin(c); err != nil {
		return err
	}
	return d.certs.Cover(host)
}

// pin has the agent trust our own CA at the address. That it is served there is known if
// this request has come that way.
func (d *directory) pin(r *http.Request, address *url.URL) string {
	if d.certs == nil || r.TLS == nil || address.Scheme != "https" || plainHost("https", address.Host) != plainHost("https", r.Host) {
		return ""
	}
	if f := d.certs.Fingerprint(address.Hostname()); f != "" {
		return " --cert-sha256 " + f
	}
	return ""
}

// secured sends people to HTTPS, where it is served. What programs send is refused instead: their
// token has been in the clear once already, and must not be again.
func (g *guard) secured(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if secure(r) || !g.redirects() {
			g.pinHTTPS(c)
			return next(c)
		}
		if !wire.ReadOnly(r) {
			return insecure(r)
		}
		origin := g.origins.public
		if !strings.HasPrefix(origin, "https://") {
			origin = "https://" + plainHost("https", net.JoinHostPort(wire.RequestHost(r.Host), strconv.Itoa(g.httpsPort)))
		}
		return c.Redirect(http.StatusPermanentRedirect, origin+r.URL.RequestURI())
	}
}

// pinHTTPS has browsers use nothing but HTTPS with this host for a while, so that nobody on the way
// gets to answer a first request without it. Only where they trust the certificate by themselves:
// otherwise they could not be told to go on if it changes. And only on the standard port: it would
// lead http://host:8000 to https on that same port, where nothing answers it.
func (g *guard) pinHTTPS(c echo.Context) {
	r := c.Request()
	host := wire.RequestHost(r.Host)
	if r.TLS == nil || g.certificates == nil || host != r.Host || g.certificates.Fingerprint(host) != "" {
		return
	}
	c.Response().Header().Set("Strict-Transport-Security", "max-age="+strconv.Itoa(int(httpsPinned.Seconds())))
}
