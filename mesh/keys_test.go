package mesh_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os/exec"
	"strings"
	"testing"

	"wfm/mesh"
)

func fromHex(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

func TestPublicKeyHoldsTheVectorsOfRFC7748(t *testing.T) { // section 6.1
	for private, public := range map[string]string{
		"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a": "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
		"5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb": "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
	} {
		if got, err := mesh.PublicKey(fromHex(t, private)); err != nil || got != fromHex(t, public) {
			t.Errorf("the public key of %s is %s, %v", private, got, err)
		}
	}
}

func TestPublicKeyIsTheOneOfTheTools(t *testing.T) {
	// From wg genkey and wg pubkey.
	for private, public := range map[string]string{
		"2EST6W9WOcmeMyZklTII+xm4S99muecEe1w2Ea0U51E=": "x6yEPSEf4TvgWXIzwogxh3GnOYtDiNS+Gw9abuNmzHw=",
		"sNJpN2IO1dj0FvPYPtNNvXEWexdMtabKPr7swmLXz2c=": "0AzMmgGl2vcvyuZJ2z60hCbto1zj5PzRUgQkguw59mo=",
		"WDGEWsDMUz84HpkY5r0n9kS2Z4bZpjQsBLOZ9rwg60A=": "w5ZGItlBsYKabKX2LJk9sMwR7jgtjYJEilJfrsfpOX4=",
	} {
		if got, err := mesh.PublicKey(private); err != nil || got != public {
			t.Errorf("the public key is %s, %v; want %s", got, err, public)
		}
	}
}

func TestTheToolsDeriveTheSamePublicKey(t *testing.T) {
	if _, err := exec.LookPath("wg"); err != nil {
		t.Skip("there is no wg")
	}
	keys, err := mesh.NewKeys(bytes.NewReader(bytes.Repeat([]byte{0xa7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "wg", "pubkey")
	cmd.Stdin = strings.NewReader(keys.Private)
	out, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(out)) != keys.Public {
		t.Errorf("wg pubkey says %s, %v; want %s", out, err, keys.Public)
	}
}

func TestNewKeysAreClamped(t *testing.T) {
	for _, fill := range []byte{0, 0xff} {
		keys, err := mesh.NewKeys(bytes.NewReader(bytes.Repeat([]byte{fill}, 32)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := base64.StdEncoding.DecodeString(keys.Private)
		if err != nil || b[0]&7 != 0 || b[31]&0x80 != 0 || b[31]&0x40 == 0 {
			t.Errorf("the private key of bytes %x is %x, %v: not clamped", fill, b, err)
		}
	}
}

func TestPresharedKeyIsTheRandomBytes(t *testing.T) {
	got, err := mesh.NewPresharedKey(bytes.NewReader(bytes.Repeat([]byte{0xff}, 32)))
	if err != nil || got != base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 32)) || !mesh.ValidKey(got) {
		t.Errorf("the key is %s, %v", got, err)
	}
}

func TestKeysNeedEnoughRandomness(t *testing.T) {
	if _, err := mesh.NewKeys(bytes.NewReader(make([]byte, 31))); err == nil {
		t.Error("a key pair from 31 bytes")
	}
	if _, err := mesh.NewPresharedKey(bytes.NewReader(nil)); err == nil {
		t.Error("a preshared key from nothing")
	}
}

func TestNoRefusalShowsAPrivateKey(t *testing.T) {
	const secret = "2EST6W9WOcmeMyZklTII+xm4S99muecEe1w2Ea0U51E"
	for _, s := range []string{"", secret, secret + "==", secret + "=\n", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="} {
		_, err := mesh.PublicKey(s)
		refusedAs(t, err, mesh.CodeInvalidKey, "private_key is not a key; give 32 bytes in base64, 44 characters, as wg genkey prints them.")
		if mesh.ValidKey(s) {
			t.Errorf("%q is taken for a key", s)
		}
	}
}
