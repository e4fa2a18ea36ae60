package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"wfm/internal/tlsproblem"
)

// issued is a test certificate and its key.
type issued struct {
	*x509.Certificate
	key crypto.Signer
}

// issue makes a certificate signed by by, or self-signed if by is nil. CAs live ten years, other
// certificates an hour.
func issue(t *testing.T, name string, ca bool, by *issued) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issueFor(t, name, ca, by, key)
}

// issueFor is like issue for an existing key, with the changes applied to the certificate.
func issueFor(t *testing.T, name string, ca bool, by *issued, key crypto.Signer, change ...func(*x509.Certificate)) *issued {
	t.Helper()
	serial, err := newSerial()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
		BasicConstraintsValid: true, IsCA: ca,
	}
	if ca {
		c.NotAfter, c.KeyUsage = now.AddDate(10, 0, 0), x509.KeyUsageCertSign
	} else {
		c.DNSNames, c.ExtKeyUsage = []string{name}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, f := range change {
		f(c)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.Certificate, by.key
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{parsed, key}
}

func texts(all ...*issued) (text string) {
	for _, c := range all {
		text += string(encodeCertificates(c.Certificate))
	}
	return text
}

func keyText(t *testing.T, key crypto.Signer) string {
	t.Helper()
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

func block(kind string, raw []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}))
}

// logBuffer collects a log that goroutines write.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// withFiles starts a keeper on files with the given contents.
func withFiles(t *testing.T, certificates, key, publicHost string) (k *Keeper, log *logBuffer, err error) {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	put(t, certFile, []byte(certificates))
	put(t, keyFile, []byte(key))
	log = &logBuffer{}
	k, err = New(Options{
		Store: openStore(t), Issuer: IssuerFiles, CertFile: certFile, KeyFile: keyFile, PublicHost: publicHost, check: time.Hour,
		Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Stop(t.Context()) })
	return k, log, k.Start()
}

const fieldHost = "wfm.example.test"

// TestChainsThatAreRightOrCanBeMendedServeAnAgent connects an agent that trusts only the roots from
// bind.
func TestChainsThatAreRightOrCanBeMendedServeAnAgent(t *testing.T) {
	root := issue(t, "Field Root", true, nil)
	between := issue(t, "Field CA", true, root)
	leaf := issue(t, fieldHost, false, between)
	full := texts(leaf, between, root)
	older := issueFor(t, fieldHost, false, between, leaf.key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })
	stranger := issue(t, "other.example.test", false, issue(t, "Other CA", true, nil))
	crossed := issueFor(t, "Field CA", true, issue(t, "Older Root", true, nil), between.key)
	key, self := keyText(t, leaf.key), issue(t, fieldHost, false, nil)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ofRSA := issueFor(t, fieldHost, false, between, rsaKey)
	ecRaw, err := x509.MarshalECPrivateKey(leaf.key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ certificates, key string }{
		"whole":                     {full, key},
		"the other way round":       {texts(root, between, leaf), key},
		"root before its CA":        {texts(leaf, root, between), key},
		"twice":                     {full + full, key},
		"another's among it":        {texts(stranger, leaf, between, root), key},
		"the old one before":        {texts(older, leaf, between, root), key},
		"a cross-signed CA, too":    {texts(leaf, crossed, between, root), key},
		"glued":                     {strings.ReplaceAll(full, "-----\n-----", "----------"), key},
		"CRLF":                      {strings.ReplaceAll(full, "\n", "\r\n"), strings.ReplaceAll(key, "\n", "\r\n")},
		"byte order mark":           {"\ufeff" + full, "\ufeff" + key},
		"indented":                  {strings.ReplaceAll(full, "\n", "\n    "), "  " + strings.ReplaceAll(key, "\n", "\n  ")},
		"line feeds in letters":     {strings.ReplaceAll(full, "\n", `\n`), strings.ReplaceAll(key, "\n", `\n`)},
		"words of openssl between":  {"subject=CN = x\n" + texts(leaf) + "\nissuer=CN = y\n" + texts(between, root), key},
		"with its key":              {key + full, full + key},
		"self-signed":               {texts(self), keyText(t, self.key)},
		"root alone":                {texts(issueFor(t, fieldHost, false, root, leaf.key), root), key},
		"RSA in PKCS #1":            {texts(ofRSA, between, root), block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))},
		"EC with its parameters":    {full, block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}) + block("EC PRIVATE KEY", ecRaw)},
		"key in DER":                {full, string(ecRaw)},
		"self-signed in DER":        {string(self.Raw), keyText(t, self.key)},
		"trusted, with usages":      {block("TRUSTED CERTIFICATE", append(bytes.Clone(leaf.Raw), 0x30, 0)) + texts(between, root), key},
		"under the old name of PEM": {strings.ReplaceAll(full, " CERTIFICATE-", " X509 CERTIFICATE-"), key},
	} {
		t.Run(name, func(t *testing.T) {
			k, log, err := withFiles(t, tc.certificates, tc.key, fieldHost)
			if err != nil {
				t.Fatal(err)
			}
			mustConnect(t, k, caCert(t, k, fieldHost), fieldHost)
			if s := k.Status(); s.Warning != "" || s.LastError != "" {
				t.Errorf("status: %+v", s)
			}
			if strings.Contains(log.String(), "no agent can be bound") || strings.Contains(log.String(), "PRIVATE") {
				t.Errorf("the log:\n%s", log)
			}
		})
	}
}

func TestWhatIsMissingOfAChainIsNamedAtTheStartAndToWhoeverBinds(t *testing.T) {
	past := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	}
	ahead := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(24*time.Hour), time.Now().Add(48*time.Hour)
	}
	root := issue(t, "Field Root", true, nil)
	between := issue(t, "Field CA", true, root)
	leaf := issue(t, fieldHost, false, between)
	server := issueFor(t, "Field CA", false, root, between.key) // signed like a CA, but not one
	never := func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }
	for name, tc := range map[string]struct {
		chain []*issued
		want  []string
	}{
		"leaf alone": {
			[]*issued{leaf},
			[]string{`the certificate of its issuer, "Field CA", is not in WFM_TLS_CERT_FILE: use the file with the whole chain (fullchain.pem)`},
		},
		"no CA between": {
			[]*issued{leaf, root},
			[]string{`the certificate of its issuer, "Field CA", is not in WFM_TLS_CERT_FILE`, `"Field Root", in that file, did not sign it`},
		},
		"no root":       {[]*issued{leaf, between}, []string{`the certificate of the issuer of "Field CA", "Field Root", is not in WFM_TLS_CERT_FILE`}},
		"expired":       {[]*issued{issueFor(t, fieldHost, false, between, leaf.key, past), between, root}, []string{"has expired on"}},
		"not valid yet": {[]*issued{issueFor(t, fieldHost, false, between, leaf.key, ahead), between, root}, []string{"is not valid before", "clock"}},
		"expired CA":    {[]*issued{leaf, issueFor(t, "Field CA", true, root, between.key, past), root}, []string{`the certificate "Field CA" has expired on`}},
		"expired root": {
			[]*issued{leaf, between, issueFor(t, "Field Root", true, nil, root.key, past)},
			[]string{`the certificate "Field Root" has expired on`},
		},
		"CA of another key": {[]*issued{leaf, issue(t, "Field CA", true, root), root}, []string{`"Field CA" in WFM_TLS_CERT_FILE is another one of that name`}},
		"not a CA":          {[]*issued{leaf, server, root}, []string{`"Field CA" in WFM_TLS_CERT_FILE is not that of a CA`, "CA:TRUE"}},
		"may not sign": {
			[]*issued{leaf, issueFor(t, "Field CA", true, root, between.key, never), root},
			[]string{`"Field CA" in WFM_TLS_CERT_FILE may not sign`},
		},
		"for another host": {[]*issued{issueFor(t, "www.example.test", false, between, leaf.key), between, root}, []string{fieldHost, "www.example.test"}},
		"only a common name": {
			[]*issued{issueFor(t, fieldHost, false, between, leaf.key, func(c *x509.Certificate) { c.DNSNames = nil }), between, root},
			[]string{"no subjectAltName", "DNS:" + fieldHost},
		},
		"root for others": {
			[]*issued{leaf, issueFor(t, "Field CA", true, root, between.key, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.org"} }), root},
			[]string{`the chain to the root "Field Root" does not verify the certificate`, "not permitted"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			k, log, err := withFiles(t, texts(tc.chain...), keyText(t, leaf.key), fieldHost)
			if err != nil {
				t.Fatal(err)
			}
			_, err = k.CACert(fieldHost)
			problem, ok := errors.AsType[*tlsproblem.Error](err)
			if !ok {
				t.Fatalf("bind is told: %v", err)
			}
			if err := k.Cover(fieldHost); err == nil {
				t.Error("a bind command is given")
			}
			if err := k.Stop(t.Context()); err != nil { // so that everything logged at the start is there
				t.Fatal(err)
			}
			logged := strings.ReplaceAll(log.String(), `\"`, `"`)
			for _, want := range tc.want {
				if !strings.Contains(problem.Problem, want) {
					t.Errorf("bind is told: %s\nwant %s", problem.Problem, want)
				}
			}
			if !strings.Contains(logged, "level=WARN") || !strings.Contains(logged, tc.want[0]) {
				t.Errorf("the log:\n%s", logged)
			}
		})
	}
}

func TestFilesThatHoldNoPairAreNamedInOneSentence(t *testing.T) {
	root := issue(t, "Field Root", true, nil)
	leaf := issue(t, fieldHost, false, root)
	full, key := texts(leaf, root), keyText(t, leaf.key)
	encrypted, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", []byte("x"), []byte("y"), x509.PEMCipherAES256) //nolint:staticcheck // such keys exist
	if err != nil {
		t.Fatal(err)
	}
	clients := issueFor(t, fieldHost, false, root, leaf.key, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	for name, tc := range map[string]struct{ certificates, key, want string }{
		"another's key":      {full, keyText(t, issue(t, "x", false, nil).key), "does not match"},
		"encrypted":          {full, block("ENCRYPTED PRIVATE KEY", []byte("x")), "WFM_TLS_KEY_FILE is encrypted with a passphrase"},
		"encrypted long ago": {full, string(pem.EncodeToMemory(encrypted)), "WFM_TLS_KEY_FILE is encrypted with a passphrase"},
		"swapped":            {key, full, "are the two files swapped?; WFM_TLS_KEY_FILE holds a certificate"},
		"both empty":         {"", " \n", "WFM_TLS_CERT_FILE is empty; WFM_TLS_KEY_FILE is empty"},
		"a request":          {block("CERTIFICATE REQUEST", []byte("x")), key, "holds a certificate request"},
		"PKCS #7":            {block("PKCS7", []byte("x")), key, "openssl pkcs7"},
		"PKCS #12":           {"\x30\x82\x01\x02\x03", key, "openssl pkcs12"},
		"words":              {"hello", key, "is not PEM"},
		"UTF-16":             {"\xff\xfe-\x00-\x00", key, "UTF-16"},
		"cut off":            {full[:len(full)-40], key, "WFM_TLS_CERT_FILE is damaged or cut off in its PEM block number 2 (CERTIFICATE)"},
		"a letter changed":   {strings.Replace(full, "MII", "M!I", 1), key, "PEM block number 1"},
		"junk in a block":    {block("CERTIFICATE", []byte("junk")) + full, key, "number 1 that is no certificate"},
		"a key of SSH":       {full, block("OPENSSH PRIVATE KEY", []byte("x")), "key of SSH"},
		"a public key":       {full, block("PUBLIC KEY", []byte("x")), "holds no private key, but PUBLIC KEY"},
		"for clients":        {texts(clients, root), key, "not for a server"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := withFiles(t, tc.certificates, tc.key, "")
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v\nwant %s", err, tc.want)
			}
		})
	}
	t.Run("directory", func(t *testing.T) {
		dir := t.TempDir()
		k, err := New(Options{Store: openStore(t), Issuer: IssuerFiles, CertFile: dir, KeyFile: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Start(); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%v", err)
		}
	})
}

// FuzzReadChain checks that no file makes the reader panic, and that everything it returns is a
// certificate.
func FuzzReadChain(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE----------END CERTIFICATE-----"))
	f.Add([]byte("\x30\x03\x02\x01\x00"))
	f.Add([]byte(`-----BEGIN TRUSTED CERTIFICATE-----\nMAA=\n-----END TRUSTED CERTIFICATE-----`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if chain, err := readChain(text); err == nil && len(chain) == 0 {
			t.Error("nothing is wrong, and nothing is there")
		}
		if key, err := readKey(text); err == nil && key == nil {
			t.Error("no error and no key")
		}
	})
}
