package view

import (
	"slices"
	"time"

	"wfm/web/wire"
)

// Certificates is the interface of the TLS certificates for a reader.
type Certificates interface {
	// Status returns the state of the certificates. It does not block.
	Status() CertificateStatus
}

// CertificateStatus is the state of the certificates.
type CertificateStatus struct {
	Issuer       string // local, acme or files
	Certificates []Certificate
	NotAfter     time.Time // of the one that expires first; zero if there is none
	NextRenewal  time.Time // or of the next attempt; zero if none is planned
	LastError    string
	LastErrorAt  time.Time
	Warning      string // about a certificate that expires soon or keeps agents from connecting
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

// TLSService is how the TLS certificates are.
type TLSService struct {
	Status      string     `json:"status"` // off, pending, ok, warning or error
	Issuer      string     `json:"issuer"`
	Names       []string   `json:"names"`
	NotAfter    *time.Time `json:"not_after"`
	NextRenewal *time.Time `json:"next_renewal"`
	LastError   string     `json:"last_error"`
	LastErrorAt *time.Time `json:"last_error_at"`
	Warning     string     `json:"warning"`
}

// TLSService says how the TLS certificates are.
func (r *Reader) TLSService() TLSService {
	if r.Certs == nil {
		return TLSService{Status: "off", Names: []string{}}
	}
	v := viewTLS(r.Certs.Status(), time.Now())
	if v.NotAfter == nil && r.HTTPSPort != 0 && v.Warning == "" {
		v.Warning = "there is no certificate for HTTPS yet; until there is, everything is served over HTTP without TLS"
	}
	return v
}

func viewTLS(st CertificateStatus, now time.Time) TLSService {
	v := TLSService{
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
	case now.After(st.NotAfter): // there is no certificate, or it has expired
		v.Status = "error"
	case st.LastError != "" || st.Warning != "":
		v.Status = "warning"
	}
	return v
}

// Certificates describes the certificates in use.
func (r *Reader) Certificates() []Certificate {
	if r.Certs == nil {
		return nil
	}
	return r.Certs.Status().Certificates
}
