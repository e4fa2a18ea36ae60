package appliance

import (
	"cmp"
	"net"
	"net/url"
	"strconv"

	"wfm/certs"
	"wfm/store"
	"wfm/web"
)

// newCerts creates the keeper of the certificates, if anything is served with TLS.
func (a *Appliance) newCerts(o Options) (err error) {
	if !o.tls() {
		return nil
	}
	if o.external() {
		o.MQTTPublicHost = "" // it is served with its own certificates
	}
	var hosts []string
	for _, origin := range append([]string{o.PublicOrigin}, o.ExtraAllowedOrigins...) {
		if u, err := url.Parse(origin); err == nil && u.Hostname() != "" {
			hosts = append(hosts, u.Hostname())
		}
	}
	issuer := certs.Issuer(cmp.Or(o.TLSIssuer, string(certs.IssuerLocal)))
	if issuer == certs.IssuerACME && len(o.ACME.Domains) == 0 {
		for _, host := range append([]string{o.MQTTPublicHost}, hosts...) {
			if host != "" && net.ParseIP(host) == nil {
				o.ACME.Domains = []string{host}
				break
			}
		}
	}
	o.ACME.HTTPPort, o.ACME.TLSPort = portOf(o.HTTPAddr), cmp.Or(portOf(o.HTTPSAddr), portOf(o.MQTTTLSAddr))
	a.certs, err = certs.New(certs.Options{
		Store: a.db, Logger: o.Logger, Issuer: issuer, PublicHost: o.MQTTPublicHost, Hosts: hosts,
		ACME: o.ACME, CertFile: o.TLSCertFile, KeyFile: o.TLSKeyFile,
	})
	if err != nil {
		return err
	}
	a.onStop("certificates", a.certs.Stop)
	return nil
}

// tls reports whether anything is served with TLS.
func (o Options) tls() bool { return o.mqttTLS() || o.HTTPSAddr != "" }

// mqttTLS reports whether the embedded broker is served with TLS.
func (o Options) mqttTLS() bool { return o.MQTTEnabled && o.MQTTTLSEnabled && o.EMQX == nil }

// portOf returns the port of host:port, 0 if there is none.
func portOf(addr string) int {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port)
	return n
}

// StoredCertificates returns the certificates in the data directory of an appliance that does not
// run, and the CA certificates, PEM, that its clients trust (empty: none yet). Errors:
// store.ErrInUse if it runs, and those of store.Open.
func StoredCertificates(dataDir string) (certificates []certs.Certificate, caCert string, err error) {
	db, err := store.Open(dataDir, store.Options{})
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = db.Close() }()
	return certs.Stored(db)
}

// certsView adapts the certificates to the API.
type certsView struct{ *certs.Keeper }

// Status converts the keeper's status.
func (v certsView) Status() web.CertificateStatus {
	s := v.Keeper.Status()
	out := web.CertificateStatus{
		Issuer: string(s.Issuer), NotAfter: s.NotAfter, NextRenewal: s.NextRenewal,
		LastError: s.LastError, LastErrorAt: s.LastErrorAt, Warning: s.Warning,
	}
	for _, c := range s.Certificates {
		out.Certificates = append(out.Certificates, web.Certificate(c))
	}
	return out
}
