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

func (s *Server) certificatesRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/.well-known/acme-challenge/:token", Access: wire.Open, Handle: s.acmeChallenge,
		},
		{
			Method: http.MethodGet, Path: "/api/v1/system/certificates", Access: wire.Session, Handle: s.listCertificates,
			Summary: "The TLS certificates, and how their renewal goes.",
			Data:    certificatesView{},
		},
		{
			Method: http.MethodPost, Path: "/api/v1/system/certificates/renew", Access: wire.Session, Handle: s.renewCertificates,
			Summary: "Renews them now; with new_ca under a new root of the appliance's own CA.",
			Body:    "? new_ca bool", Data: certificatesView{}, Codes: "TLS_DISABLED MQTT_TLS_CA_NOT_READY CERTIFICATE_RENEWAL_FAILED/502",
		},
		{
			Method: http.MethodGet, Path: "/api/v1/system/ca.pem", Access: wire.Open, Handle: s.caCertificate,
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

func (s *Server) tlsService() tlsServiceView {
	if s.opts.Certificates == nil {
		return tlsServiceView{Status: "off", Names: []string{}}
	}
	v := viewTLS(s.opts.Certificates.Status(), time.Now())
	if v.NotAfter == nil && s.opts.HTTPSPort != 0 && v.Warning == "" {
		v.Warning = "there is no certificate for HTTPS yet; until there is, everything is served over HTTP without TLS"
	}
	return v
}

// redirects reports whether HTTP leads to HTTPS. It does not before the first certificate: nobody
// could follow, and whoever is to mend that would be locked out.
func (s *Server) redirects() bool {
	return s.opts.HTTPSPort != 0 && (s.opts.Certificates == nil || !s.opts.Certificates.Status().NotAfter.IsZero())
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

func (s *Server) listCertificates(c echo.Context) error {
	v := certificatesView{tlsServiceView: s.tlsService(), Certificates: []Certificate{}}
	if s.opts.Certificates != nil {
		v.Certificates = append(v.Certificates, s.opts.Certificates.Status().Certificates...)
	}
	return wire.Respond(c, v)
}

func (s *Server) renewCertificates(c echo.Context) error {
	f, err := wire.ReadOptionalBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	newCA := wire.Or(f.Flag("new_ca"), false)
	if err := f.Err(); err != nil {
		return err
	}
	if s.opts.Certificates == nil {
		return wire.ErrTLSOff
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), renewalTimeout)
	defer cancel()
	if err := s.opts.Certificates.Renew(ctx, newCA); err != nil {
		return &wire.RenewalError{Err: err, None: s.opts.Certificates.Status().NotAfter.IsZero()}
	}
	s.log.Info("certificates renewed", "new_ca", newCA, "by", loginOf(c).Username)
	return s.listCertificates(c)
}

// caCertificate is public: whoever is to connect needs it first.
func (s *Server) caCertificate(c echo.Context) error {
	if s.opts.Certificates == nil {
		return wire.ErrTLSOff
	}
	pem, err := s.opts.Certificates.CACert("")
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderContentDisposition, `attachment; filename="wfm-ca.pem"`)
	return c.Blob(http.StatusOK, "application/x-pem-file", []byte(pem))
}

func (s *Server) acmeChallenge(c echo.Context) error {
	if s.opts.Certificates == nil || !s.opts.Certificates.HTTPChallenge(c.Response(), c.Request()) {
		return wire.ErrUnknownPath
	}
	return nil
}

// cover has the certificate cover the host that the agent will be told, which an administrator has
// just named by asking for the bind command there.
func (s *Server) cover(c echo.Context, host string) error {
	return s.coverBroker(c, s.mqttHost(host))
}

// coverBroker has the certificate cover the name or address of the broker. A host that is new takes writes
// of its own, with a certificate to be made before anybody is told of the host.
func (s *Server) coverBroker(c echo.Context, host string) error {
	if !s.ownTLS() {
		return nil
	}
	if _, err := s.opts.Certificates.CACert(host); !errors.Is(err, tlsproblem.ErrHost) {
		return err
	}
	if err := s.begin(c); err != nil {
		return err
	}
	return s.opts.Certificates.Cover(host)
}

// pin has the agent trust our own CA at the address. That it is served there is known if
// this request has come that way.
func (s *Server) pin(r *http.Request, address *url.URL) string {
	if s.opts.Certificates == nil || r.TLS == nil || address.Scheme != "https" || plainHost("https", address.Host) != plainHost("https", r.Host) {
		return ""
	}
	if f := s.opts.Certificates.Fingerprint(address.Hostname()); f != "" {
		return " --cert-sha256 " + f
	}
	return ""
}

// secured sends people to HTTPS, where it is served. What programs send is refused instead: their
// token has been in the clear once already, and must not be again.
func (s *Server) secured(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if secure(r) || !s.redirects() {
			s.pinHTTPS(c)
			return next(c)
		}
		if !wire.ReadOnly(r) {
			return insecure(r)
		}
		origin := s.origins.public
		if !strings.HasPrefix(origin, "https://") {
			origin = "https://" + plainHost("https", net.JoinHostPort(wire.RequestHost(r.Host), strconv.Itoa(s.opts.HTTPSPort)))
		}
		return c.Redirect(http.StatusPermanentRedirect, origin+r.URL.RequestURI())
	}
}

// pinHTTPS has browsers use nothing but HTTPS with this host for a while, so that nobody on the way
// gets to answer a first request without it. Only where they trust the certificate by themselves:
// otherwise they could not be told to go on if it changes. And only on the standard port: it would
// lead http://host:8000 to https on that same port, where nothing answers it.
func (s *Server) pinHTTPS(c echo.Context) {
	r := c.Request()
	host := wire.RequestHost(r.Host)
	if r.TLS == nil || s.opts.Certificates == nil || host != r.Host || s.opts.Certificates.Fingerprint(host) != "" {
		return
	}
	c.Response().Header().Set("Strict-Transport-Security", "max-age="+strconv.Itoa(int(httpsPinned.Seconds())))
}
