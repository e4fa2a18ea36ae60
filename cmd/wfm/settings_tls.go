package main

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
)

// tlsSettings returns the settings that say where certificates come from.
func tlsSettings() []setting {
	keep := func(to func(*settings) *string) func(*settings, string) error {
		return func(s *settings, v string) error {
			*to(s) = v
			return nil
		}
	}
	return []setting{
		{"tls-issuer", "WFM_TLS_ISSUER", "local", "where certificates come from: local (an own CA), acme or files", func(s *settings, v string) error {
			s.TLSIssuer = v
			if v != "local" && v != "acme" && v != "files" {
				return errors.New("want local, acme or files")
			}
			return nil
		}},
		{"acme-domains", "WFM_ACME_DOMAINS", "", "domains, separated by commas; default: the public host", func(s *settings, v string) error {
			for d := range strings.SplitSeq(v, ",") {
				if d = strings.TrimSpace(d); d != "" {
					s.ACME.Domains = append(s.ACME.Domains, d)
				}
			}
			return nil
		}},
		{"acme-email", "WFM_ACME_EMAIL", "", "mail address for the issuer", keep(func(s *settings) *string { return &s.ACME.Email })},
		{"acme-directory", "WFM_ACME_DIRECTORY", "", "URL of the issuer; default: Let's Encrypt", func(s *settings, v string) error {
			s.ACME.Directory = v
			if u, err := url.Parse(v); v != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
				return errors.New("want an https:// URL")
			}
			return nil
		}},
		{
			"acme-ca-file", "WFM_ACME_CA_FILE", "", "PEM file with the roots of an issuer that this system does not trust",
			keep(func(s *settings) *string { return &s.ACME.CAFile }),
		},
		{"acme-eab-key-id", "WFM_ACME_EAB_KEY_ID", "", "account at the issuer to bind to", keep(func(s *settings) *string { return &s.ACME.EABKeyID })},
		{"acme-eab-hmac", "WFM_ACME_EAB_HMAC", "", "its key, base64url (better by variable: all users of the machine see flags)", func(s *settings, v string) error {
			s.ACME.EABHMAC = v
			if _, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(v, "=")); err != nil {
				return errors.New("want base64url, as the issuer gave it")
			}
			return nil
		}},
		{
			"tls-cert-file", "WFM_TLS_CERT_FILE", "", "PEM file with the certificate, leaf first, and its CAs up to the root",
			keep(func(s *settings) *string { return &s.TLSCertFile }),
		},
		{"tls-key-file", "WFM_TLS_KEY_FILE", "", "PEM file with its key", keep(func(s *settings) *string { return &s.TLSKeyFile })},
	}
}
