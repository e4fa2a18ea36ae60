package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"wfm/store"
)

// encodeCertificates returns the certificates as PEM.
func encodeCertificates(certificates ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certificates {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.Bytes()
}

// decodeCertificates returns the certificates in the PEM text and ignores anything else in it.
func decodeCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return out, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
}

// rootsOf returns the roots that verify the chain at the time now: from given, from the end of the
// chain if that is self-signed, or from the system.
func rootsOf(chain, given []*x509.Certificate, now time.Time) []*x509.Certificate {
	between, own := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	for _, c := range given {
		own.AddCert(c)
	}
	if end := chain[len(chain)-1]; bytes.Equal(end.RawIssuer, end.RawSubject) {
		own.AddCert(end)
	}
	at := now
	if end := chain[0].NotAfter; at.After(end) {
		at = end // its expiry is reported elsewhere
	} else if begin := chain[0].NotBefore; at.Before(begin) {
		at = begin // likewise
	}
	system, _ := x509.SystemCertPool()
	for _, pool := range []*x509.CertPool{own, system} {
		if pool == nil {
			continue
		}
		paths, err := chain[0].Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, CurrentTime: at})
		if err != nil {
			continue
		}
		var roots []*x509.Certificate
		for _, path := range paths {
			roots = merge(roots, path[len(path)-1:])
		}
		return roots
	}
	return nil
}

// merge returns a followed by the elements of b that are not in a.
func merge(a, b []*x509.Certificate) []*x509.Certificate {
	a = slices.Clone(a)
	for _, c := range b {
		if !slices.ContainsFunc(a, c.Equal) {
			a = append(a, c)
		}
	}
	return a
}

// keptPrefix is the prefix of the keys for the roots that were handed out, by issuer. keyPresent
// names the current issuer.
const (
	keptPrefix = "ca/"
	keyPresent = "ca/present"
)

// kept holds, in the store, the roots that an issuer's clients trust. Clients get all of them, so
// returning to a certificate under an earlier root cuts no client off.
//
// An expired root is kept but not handed out: the clock may be wrong, and come back.
type kept struct {
	db     *store.DB
	issuer Issuer
	now    func() time.Time

	mu    sync.Mutex
	read  bool
	roots []*x509.Certificate
}

func (k *kept) key() string { return keptPrefix + string(k.issuer) + ".pem" }

// begin records that the issuer is the current one.
func (k *kept) begin() error {
	present, err := store.Read(k.db, func(tx *store.Tx) (store.File, error) {
		f, _, err := tx.File(keyPresent)
		return f, err
	})
	if err != nil || string(present.Value) == string(k.issuer) {
		return err
	}
	return k.db.Update(func(tx *store.Tx) error { return tx.PutFile(keyPresent, []byte(k.issuer)) })
}

// all returns the roots that have not expired.
func (k *kept) all() []*x509.Certificate {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.liveLocked()
}

func (k *kept) liveLocked() []*x509.Certificate {
	if !k.read {
		_ = k.db.View(func(tx *store.Tx) error {
			f, _, err := tx.File(k.key())
			if err != nil {
				return err
			}
			if roots, err := decodeCertificates(f.Value); err == nil {
				k.roots, k.read = roots, true
			}
			return nil
		})
	}
	now := k.now()
	return slices.DeleteFunc(slices.Clone(k.roots), func(c *x509.Certificate) bool { return now.After(c.NotAfter) })
}

// add stores the roots as well, newest first. They are on disk when it returns.
func (k *kept) add(present []*x509.Certificate) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _ = k.liveLocked(); !k.read {
		return errors.New("keep the CA certificates: those of before cannot be read")
	}
	all := merge(k.roots, present)
	if len(all) == len(k.roots) {
		return nil
	}
	slices.SortStableFunc(all, func(a, b *x509.Certificate) int { return b.NotBefore.Compare(a.NotBefore) })
	text := encodeCertificates(all...)
	if err := k.db.Update(func(tx *store.Tx) error { return tx.PutFile(k.key(), text) }); err != nil {
		return fmt.Errorf("keep the CA certificates: %w", err)
	}
	k.roots = all
	return nil
}

// StoredIn is [Stored] of the store in the data directory. Errors: store.ErrInUse while an appliance
// runs, and those of store.Open.
func StoredIn(dataDir string) (certificates []Certificate, caCert string, err error) {
	db, err := store.Open(dataDir, store.Options{})
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = db.Close() }()
	return Stored(db)
}

// Stored reads from the store every certificate, and the PEM of the roots that were last handed out
// to clients (empty if there were none). Use it only while no Keeper uses the store.
func Stored(db *store.DB) (certificates []Certificate, caCert string, err error) {
	err = db.View(func(tx *store.Tx) error {
		present, _, err := tx.File(keyPresent)
		if err != nil {
			return err
		}
		k := kept{issuer: Issuer(present.Value)}
		for _, key := range tx.Files("", true) {
			leaf := strings.HasPrefix(key, "certificates/") && strings.HasSuffix(key, ".crt")
			if !leaf && key != k.key() {
				continue
			}
			f, _, err := tx.File(key)
			if err != nil {
				return err
			}
			found, err := decodeCertificates(f.Value)
			if err != nil {
				return fmt.Errorf("read %s: %w", key, err)
			}
			kind := "server"
			if !leaf {
				kind, caCert = "root", string(f.Value)
			} else if len(found) > 0 {
				found = found[:1] // the rest is the path to the root
			}
			for _, c := range found {
				certificates = append(certificates, describe(kind, c))
			}
		}
		return nil
	})
	return certificates, caCert, err
}
