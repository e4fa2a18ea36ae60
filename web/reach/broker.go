package reach

import (
	"net/url"

	"wfm/store"
	"wfm/web/access"
	"wfm/web/wire"
)

// MQTTTarget is the broker's address for agents.
type MQTTTarget struct {
	Host   string
	Port   int
	TLS    bool
	CACert string // PEM; the agent trusts no others
}

// The sources of a value in force.
const (
	sourceStored  = "stored"  // set over the API
	sourceStart   = "start"   // a flag, an environment variable or a default
	sourceRequest = "request" // the host of the request
)

// MQTTSources says where each part of [MQTTSettings] comes from.
type MQTTSources struct {
	Host string `json:"host"`
	Port string `json:"port"`
	TLS  string `json:"tls"`
}

// MQTTSettings has the values that bind hands to agents, and the source of each.
type MQTTSettings struct {
	Host   string      `json:"host"`
	Port   int         `json:"port"`
	TLS    bool        `json:"tls"`
	Source MQTTSources `json:"source"`
	// TLSAvailable says whether the broker is served with TLS.
	TLSAvailable bool `json:"tls_available"`
}

// Directory determines the addresses under which agents find the appliance and its broker. Its
// fields are set before the first request and not changed after that.
type Directory struct {
	DB    *store.DB
	Audit *access.Auditor
	// Host, Port and TLS say where agents find the broker unless the settings in the store do.
	Host string
	Port int
	TLS  bool
	// External is set with an external broker. CACert has, in PEM, the roots that agents need to
	// trust to reach it with TLS.
	External bool
	CACert   string
	Certs    Certificates // nil while nothing is served with TLS
	Public   string       // the public origin; empty: none
}

// Certificates is the interface of the TLS certificates for a directory.
type Certificates interface {
	// CACert returns, as PEM, the certificates that a client at host needs to trust. Errors:
	// tlsproblem.ErrNotReady, tlsproblem.ErrHost.
	CACert(host string) (string, error)
	// Cover makes the certificate cover host. Errors: those of CACert, and
	// tlsproblem.ErrTooManyHosts.
	Cover(host string) error
	// Fingerprint returns the SHA-256, in hex, of the root that verifies the certificate for host;
	// empty if machines trust that root by themselves.
	Fingerprint(host string) string
}

// InForce returns the broker address to hand to an agent. host is the Host of the request, used if
// nothing else is configured.
func (d *Directory) InForce(stored store.MQTTSettings, host string) MQTTSettings {
	if len(host) > 255 { // longer than any name
		host = ""
	}
	v := MQTTSettings{
		Host: host, Port: d.Port, TLS: d.TLS,
		Source:       MQTTSources{sourceRequest, sourceStart, sourceStart},
		TLSAvailable: d.brokerTLS(),
	}
	switch {
	case stored.Host != nil:
		v.Host, v.Source.Host = *stored.Host, sourceStored
	case d.Host != "":
		v.Host, v.Source.Host = d.Host, sourceStart
	case host == "":
		if u, err := url.Parse(d.Public); err == nil && d.Public != "" {
			v.Host, v.Source.Host = u.Hostname(), sourceStart
		}
	}
	if stored.Port != nil {
		v.Port, v.Source.Port = *stored.Port, sourceStored
	}
	if stored.TLS != nil {
		v.TLS, v.Source.TLS = *stored.TLS, sourceStored
	}
	return v
}

// brokerTLS reports whether the broker is served with TLS.
func (d *Directory) brokerTLS() bool {
	return d.TLS && (d.External || d.Certs != nil)
}

// ownTLS reports whether the embedded broker serves TLS with the appliance's own certificates.
func (d *Directory) ownTLS() bool { return d.brokerTLS() && !d.External }

// Target adds the roots that an agent needs to trust. Errors: wire.ErrNoCA if the broker is not
// served with TLS; those of [Certificates].
func (d *Directory) Target(v MQTTSettings) (MQTTTarget, error) {
	t := MQTTTarget{Host: v.Host, Port: v.Port, TLS: v.TLS}
	if !t.TLS {
		return t, nil
	}
	if !d.brokerTLS() {
		return t, wire.ErrNoCA
	}
	if d.External {
		t.CACert = d.CACert
		return t, nil
	}
	var err error
	t.CACert, err = d.Certs.CACert(t.Host)
	return t, err
}

// TargetFor returns the target for an agent whose request was sent to host.
func (d *Directory) TargetFor(host string) (MQTTTarget, error) {
	stored, err := d.Stored()
	if err != nil {
		return MQTTTarget{}, err
	}
	in := d.InForce(stored, host)
	if in.Host == "" {
		return MQTTTarget{}, wire.ErrNoHost
	}
	return d.Target(in)
}

// HostFor returns the broker's name or address for an agent that found the appliance under host, as
// far as it is known.
func (d *Directory) HostFor(host string) string {
	stored, err := d.Stored()
	if err != nil {
		stored = store.MQTTSettings{}
	}
	return d.InForce(stored, host).Host
}

// Stored reads the overrides.
func (d *Directory) Stored() (store.MQTTSettings, error) {
	return store.Read(d.DB, (*store.Tx).MQTTSettings)
}
