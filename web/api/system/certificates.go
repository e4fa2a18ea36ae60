package system

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/web/access"
	"wfm/web/view"
	"wfm/web/wire"
)

func (a *API) certificatesRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/.well-known/acme-challenge/:token", Access: wire.Open, Handle: a.acmeChallenge,
		},
		{
			Method: http.MethodGet, Path: "/api/v1/system/certificates", Access: wire.Session, Handle: a.listCertificates,
			Summary: "The TLS certificates, and the state of their renewal.",
			Data:    certificatesView{},
		},
		{
			Method: http.MethodPost, Path: "/api/v1/system/certificates/renew", Access: wire.Session, Handle: a.renewCertificates,
			Summary: "Renews the certificates now; with new_ca, under a new root of the appliance's own CA.",
			Body:    "? new_ca bool", Data: certificatesView{}, Codes: "TLS_DISABLED MQTT_TLS_CA_NOT_READY CERTIFICATE_RENEWAL_FAILED/502",
		},
		{
			Method: http.MethodGet, Path: "/api/v1/system/ca.pem", Access: wire.Open, Handle: a.caCertificate,
			Summary: "The certificates that a client must trust to reach the appliance with TLS.",
			Bare:    "application/x-pem-file", Codes: "TLS_DISABLED MQTT_TLS_CA_NOT_READY",
		},
	}
}

// renewalTimeout bounds a renewal that a request waits for. It is shorter than web.writeTimeout.
const renewalTimeout = 80 * time.Second

type certificatesView struct {
	view.TLSService
	Certificates []view.Certificate `json:"certificates"`
}

func (a *API) listCertificates(c echo.Context) error {
	v := certificatesView{TLSService: a.Reader.TLSService(), Certificates: []view.Certificate{}}
	v.Certificates = append(v.Certificates, a.Reader.Certificates()...)
	return wire.Respond(c, v)
}

func (a *API) renewCertificates(c echo.Context) error {
	f, err := wire.ReadOptionalBody(c, wire.BodyLimit)
	if err != nil {
		return err
	}
	newCA := wire.Or(f.Flag("new_ca"), false)
	if err := f.Err(); err != nil {
		return err
	}
	if a.Certificates == nil {
		return wire.ErrTLSOff
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), renewalTimeout)
	defer cancel()
	if err := a.Certificates.Renew(ctx, newCA); err != nil {
		return &wire.RenewalError{Err: err, None: a.Certificates.Status().NotAfter.IsZero()}
	}
	a.Log.Info("certificates renewed", "new_ca", newCA, "by", access.LoginOf(c).Username)
	return a.listCertificates(c)
}

// caCertificate answers the CA certificate. It is public, since clients need it before they can
// connect.
func (a *API) caCertificate(c echo.Context) error {
	if a.Certificates == nil {
		return wire.ErrTLSOff
	}
	pem, err := a.Certificates.CACert("")
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderContentDisposition, `attachment; filename="wfm-ca.pem"`)
	return c.Blob(http.StatusOK, "application/x-pem-file", []byte(pem))
}

func (a *API) acmeChallenge(c echo.Context) error {
	if a.Certificates == nil || !a.Certificates.HTTPChallenge(c.Response(), c.Request()) {
		return wire.ErrUnknownPath
	}
	return nil
}
