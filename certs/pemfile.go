package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	pemBegin = regexp.MustCompile(`-----BEGIN ([A-Z0-9 ]+)-----`)
	pemEnd   = regexp.MustCompile(`-----END [A-Z0-9 ]+-----`)
)

// The types of PEM blocks that are distinguished.
const (
	pemCertificate = "CERTIFICATE"
	pemTrusted     = "TRUSTED CERTIFICATE" // of openssl x509 -trustout, with more after the certificate
	pemOld         = "X509 CERTIFICATE"    // of old tools
	pemKeySuffix   = "PRIVATE KEY"
)

// readPEM returns the blocks of a PEM text, or for DER a single block of type der. It tolerates the
// damage that editors and cat do to PEM files: no line feed between blocks, indented lines, a byte
// order mark, a literal "\n".
func readPEM(text []byte, der string) ([]*pem.Block, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	begins := pemBegin.FindAllSubmatchIndex(text, -1)
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return nil, errors.New("is empty")
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		return nil, errors.New("is text in UTF-16; save it as UTF-8 or ASCII")
	case len(begins) == 0 && text[0] == 0x30: // a DER sequence
		return []*pem.Block{{Type: der, Bytes: text}}, nil
	case len(begins) == 0:
		return nil, errors.New("is not PEM: it has no -----BEGIN line")
	}
	var blocks []*pem.Block
	for i, begin := range begins {
		end := len(text)
		if i+1 < len(begins) {
			end = begins[i+1][0]
		}
		block, _ := pem.Decode(tidyPEM(text[begin[0]:end]))
		if block == nil {
			return nil, fmt.Errorf("is damaged or cut off in its PEM block number %d (%s)", i+1, text[begin[2]:begin[3]])
		}
		blocks = append(blocks, block)
	}
	return blocks, nil
}

// tidyPEM puts the markers of a block on lines of their own, and removes the indentation of the
// others.
func tidyPEM(text []byte) []byte {
	text = bytes.ReplaceAll(text, []byte(`\n`), []byte("\n"))
	text = pemBegin.ReplaceAll(text, []byte("$0\n"))
	text = pemEnd.ReplaceAll(text, []byte("\n$0\n"))
	var out bytes.Buffer
	begun := false // headers follow the marker at once
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); begun && len(line) == 0 {
			continue
		}
		begun = pemBegin.Match(line)
		out.Write(line)
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// readChain reads the certificates of a file in their order.
func readChain(text []byte) ([]*x509.Certificate, error) {
	blocks, err := readPEM(text, pemCertificate)
	if err != nil {
		return nil, err
	}
	var chain []*x509.Certificate
	var types []string
	for i, b := range blocks {
		types = append(types, b.Type)
		raw := b.Bytes
		switch b.Type {
		case pemTrusted:
			var certificate asn1.RawValue
			if _, err := asn1.Unmarshal(raw, &certificate); err == nil {
				raw = certificate.FullBytes
			}
		case pemCertificate, pemOld:
		default:
			continue
		}
		c, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, fmt.Errorf("holds something as number %d that is no certificate (%w)%s", i+1, err, pkcsHint(len(blocks) == 1))
		}
		chain = append(chain, c)
	}
	if len(chain) > 0 {
		return chain, nil
	}
	switch has := func(suffix string) bool {
		return slices.ContainsFunc(types, func(t string) bool { return strings.HasSuffix(t, suffix) })
	}; {
	case has(pemKeySuffix):
		return nil, errors.New("holds a private key and no certificate; are the two files swapped?")
	case has("CERTIFICATE REQUEST"):
		return nil, errors.New("holds a certificate request; use the certificate that the CA made of it")
	case has("PKCS7"), has("CMS"):
		return nil, errors.New("is PKCS #7; convert it: openssl pkcs7 -print_certs -in FILE -out cert.pem")
	}
	return nil, fmt.Errorf("holds no certificate, but %s", strings.Join(types, ", "))
}

// pkcsHint names the other formats that a DER file may have.
func pkcsHint(alone bool) string {
	if !alone {
		return ""
	}
	return "; if it is PKCS #12 (.pfx, .p12), convert it: openssl pkcs12 -in FILE -out cert.pem -nokeys, and -out key.pem -nocerts -nodes"
}

// readKey reads the first private key of a file.
func readKey(text []byte) (crypto.Signer, error) {
	blocks, err := readPEM(text, pemKeySuffix)
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		switch {
		case b.Type == "ENCRYPTED "+pemKeySuffix, strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, errors.New("is encrypted with a passphrase, which cannot be entered here; decrypt it: openssl pkey -in FILE -out key.pem")
		case b.Type == "OPENSSH "+pemKeySuffix:
			return nil, errors.New("is a key of SSH; use the key that the certificate was made for")
		case strings.HasSuffix(b.Type, pemKeySuffix):
			return parseKey(b.Bytes)
		}
	}
	if blocks[0].Type == pemCertificate {
		return nil, errors.New("holds a certificate and no private key; are the two files swapped?")
	}
	return nil, fmt.Errorf("holds no private key, but %s", blocks[0].Type)
}

func parseKey(raw []byte) (crypto.Signer, error) {
	if k, err := x509.ParsePKCS8PrivateKey(raw); err == nil {
		switch k := k.(type) {
		case *rsa.PrivateKey:
			return k, nil
		case *ecdsa.PrivateKey:
			return k, nil
		case ed25519.PrivateKey:
			return k, nil
		}
		return nil, fmt.Errorf("holds a key of a kind that TLS has no use for (%T)", k)
	}
	if k, err := x509.ParsePKCS1PrivateKey(raw); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(raw); err == nil {
		return k, nil
	}
	return nil, errors.New("holds no private key that can be read" + pkcsHint(true))
}
