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
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"wfm/internal/tlsproblem"
)

// filesCheck is the interval at which the files are read: cheap, and soon enough after a change.
const filesCheck = 2 * time.Second

// files serves the certificate in two files that are renewed from outside.
type files struct {
	keeper            *Keeper
	certFile, keyFile string
	served            atomic.Pointer[filePair]

	mu     sync.Mutex
	seen   [2][]byte // contents of the last reading, good or bad
	warned bool      // about a key that others can read
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
			_ = f.keeper.changed() // the error is kept for the status
		}
	}
}

func (f *files) stop() {}

// read serves the content of the files if it has changed or must is set. The two files do not
// change at the same moment: a pair that does not match is an error now, and may match at a later
// reading.
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
	now := f.keeper.o.now()
	pair, err := decodePair(text[0], text[1], now)
	if err != nil {
		return false, fmt.Errorf("%s and %s: %w", f.certFile, f.keyFile, err)
	}
	// At the start, a certificate outside its validity period is better than none: agents report
	// the problem.
	if old := f.served.Load(); old != nil && wrongTime(old.chain[0], now) == nil {
		if err := wrongTime(pair.chain[0], now); err != nil {
			return false, fmt.Errorf("%s: %w", f.certFile, err)
		}
	}
	if pair.ordered {
		f.keeper.log.Info("the certificates of the file are served in the order of their issuers", "file", f.certFile)
	}
	if len(pair.unused) > 0 {
		f.keeper.log.Warn("certificates of the file are not served: they did not sign what stands before them", "file", f.certFile, "names", namesOfAll(pair.unused))
	}
	if info, err := os.Stat(f.keyFile); err == nil && info.Mode().Perm()&0o077 != 0 && !f.warned {
		f.warned = true
		f.keeper.log.Warn("others on this machine can read the key; do: chmod 600", "file", f.keyFile)
	}
	f.served.Store(pair)
	return true, nil
}

// maxFile is the size limit of a certificate file, in bytes.
const maxFile = 1 << 20

// readFile reads a file named in the settings. It refuses anything but a regular file: reading a
// pipe, for example, might never end.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", name)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	return os.ReadFile(name)
}

func (f *files) getCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if p := f.served.Load(); p != nil {
		return &p.certificate, nil
	}
	return nil, tlsproblem.ErrNotReady
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
		return nil, tlsproblem.ErrNotReady
	}
	now := f.keeper.o.now()
	roots := rootsOf(p.chain, f.keeper.kept.all(), now)
	if roots == nil {
		return nil, &tlsproblem.Error{Err: tlsproblem.ErrNotReady, Problem: p.unverified(now)}
	}
	return roots, nil
}

// problem explains why no client at the host could connect, even though the roots are known.
// Without a host, only roots are asked for, and they are right.
func (f *files) problem(host string) error {
	p := f.served.Load()
	if p == nil {
		return tlsproblem.ErrNotReady
	}
	if host == "" {
		return nil
	}
	if text := p.noNames(); text != "" {
		return &tlsproblem.Error{Err: tlsproblem.ErrHost, Problem: text}
	}
	if err := wrongTime(p.chain[0], f.keeper.o.now()); err != nil {
		return &tlsproblem.Error{Err: tlsproblem.ErrNotReady, Problem: err.Error()}
	}
	if leaf := p.chain[0]; leaf.VerifyHostname(host) != nil {
		return &tlsproblem.Error{Err: tlsproblem.ErrHost, Problem: fmt.Sprintf(
			"the certificate is for %s, and not for %s, which agents are told: get one that is, or set WFM_MQTT_PUBLIC_HOST to a name it is for",
			strings.Join(namesOf(leaf), ", "), host)}
	}
	return nil
}

func (f *files) renew(context.Context, bool) error {
	_, err := f.read(true)
	return err
}
