package appliance

import (
	"cmp"
	"net"
	"net/url"
	"strconv"

	"wfm/certs"
	"wfm/web/view"
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
	o.ACME.HTTPPort, o.ACME.TLSPort = portOf(o.HTTPAddr), cmp.Or(portOf(o.HTTPSAddr), portOf(o.MQTTTLSAddr))
	a.certs, err = certs.New(certs.Options{
		Store: a.db, Logger: o.Logger, Issuer: certs.Issuer(o.TLSIssuer), PublicHost: o.MQTTPublicHost, Hosts: hosts,
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

// certsView adapts the certificates to the API.
type certsView struct{ *certs.Keeper }

// Status converts the keeper's status.
func (v certsView) Status() view.CertificateStatus {
	s := v.Keeper.Status()
	out := view.CertificateStatus{
		Issuer: string(s.Issuer), NotAfter: s.NotAfter, NextRenewal: s.NextRenewal,
		LastError: s.LastError, LastErrorAt: s.LastErrorAt, Warning: s.Warning,
	}
	for _, c := range s.Certificates {
		out.Certificates = append(out.Certificates, view.Certificate(c))
	}
	return out
}
