package certs

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"wfm/store"
)

// filesCheck is how often the files are read: cheap, and soon enough for who has changed them.
const filesCheck = 2 * time.Second

// files serves the certificate in two files that somebody else renews.
type files struct {
	keeper            *Keeper
	certFile, keyFile string
	served            atomic.Pointer[filePair]

	mu     sync.Mutex
	seen   [2][]byte // of the last reading, good or bad
	warned bool      // that others can read the key
}

type filePair struct {
	certificate tls.Certificate
	chain       []*x509.Certificate
}

func newFiles(k *Keeper) (*files, error) {
	if k.o.CertFile == "" || k.o.KeyFile == "" {
		return nil, errors.New("certificates from files need both WFM_TLS_CERT_FILE and WFM_TLS_KEY_FILE")
	}
	return &files{keeper: k, certFile: k.o.CertFile, keyFile: k.o.KeyFile}, nil
}

func (f *files) start(context.Context) error {
	_, err := f.read(true)
	return err
}

func (f *files) run(ctx context.Context) {
	for pause(ctx, cmp.Or(f.keeper.o.check, filesCheck)) == nil {
		switch fresh, err := f.read(false); {
		case err != nil:
			f.keeper.log.Warn("cannot use the changed certificate files, the certificate in use stays", "err", err)
			f.keeper.failed(err)
		case fresh:
			f.keeper.log.Info("certificate files were read again", "not_after", f.served.Load().chain[0].NotAfter.UTC())
			_ = f.keeper.changed() // kept for the status
		}
	}
}

func (f *files) stop() {}

// read serves what is in the files, if it is not what was there before or must is set. The two are
// not changed at one moment: a pair that does not fit is an error now, and fits at a later look.
func (f *files) read(must bool) (fresh bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var text [2][]byte
	for i, name := range []string{f.certFile, f.keyFile} {
		if text[i], err = readFile(name); err != nil {
			text[i] = nil
			err = fmt.Errorf("read the certificate files: %w", err)
			break
		}
	}
	if !must && bytes.Equal(text[0], f.seen[0]) && bytes.Equal(text[1], f.seen[1]) {
		return false, nil
	}
	f.seen = text
	if err != nil {
		return false, err
	}
	pair, err := decodePair(text[0], text[1])
	if err != nil {
		return false, fmt.Errorf("%s and %s: %w", f.certFile, f.keyFile, err)
	}
	if old := f.served.Load(); old != nil && old.wrongTime(f.keeper.o.now()) == nil {
		if err := pair.wrongTime(f.keeper.o.now()); err != nil {
			return false, fmt.Errorf("%s: %w", f.certFile, err)
		}
	}
	if info, err := os.Stat(f.keyFile); err == nil && info.Mode().Perm()&0o077 != 0 && !f.warned {
		f.warned = true
		f.keeper.log.Warn("others on this machine can read the key; do: chmod 600", "file", f.keyFile)
	}
	f.served.Store(pair)
	return true, nil
}

func decodePair(certificate, key []byte) (*filePair, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	chain, err := decodeCertificates(certificate)
	if err != nil {
		return nil, err
	}
	if uses := chain[0].ExtKeyUsage; len(uses) > 0 && !slices.Contains(uses, x509.ExtKeyUsageServerAuth) && !slices.Contains(uses, x509.ExtKeyUsageAny) {
		return nil, errors.New("the certificate is not for a server: its extended key usage lacks serverAuth")
	}
	return &filePair{pair, chain}, nil
}

// wrongTime is an error outside of the certificate's life. At the start such a one is better than
// none: agents say what is wrong with it.
func (p *filePair) wrongTime(now time.Time) error {
	leaf := p.chain[0]
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate has expired on %s", leaf.NotAfter.UTC().Format(time.DateTime))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate is not valid before %s", leaf.NotBefore.UTC().Format(time.DateTime))
	}
	return nil
}

// maxFile bounds what is read of a file of certificates, bytes.
const maxFile = 1 << 20

// readFile reads a file that the settings name. One that is no file, a pipe say, might never end.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", name)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	return os.ReadFile(name)
}

func (f *files) getCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if p := f.served.Load(); p != nil {
		return &p.certificate, nil
	}
	return nil, store.ErrTLSNotReady
}

func (f *files) inUse() [][]*x509.Certificate {
	if p := f.served.Load(); p != nil {
		return [][]*x509.Certificate{p.chain}
	}
	return nil
}

func (f *files) roots() ([]*x509.Certificate, error) {
	p := f.served.Load()
	if p == nil {
		return nil, store.ErrTLSNotReady
	}
	roots := rootsOf(p.chain, f.keeper.kept.all(), f.keeper.o.now())
	if roots == nil {
		return nil, fmt.Errorf("%w: the root of the certificate, issued by %q, is not known; append it to WFM_TLS_CERT_FILE",
			store.ErrTLSNotReady, p.chain[len(p.chain)-1].Issuer.CommonName)
	}
	return roots, nil
}

func (f *files) renew(context.Context, bool) error {
	_, err := f.read(true)
	return err
}
