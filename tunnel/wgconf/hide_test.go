package wgconf

import (
	"strings"
	"testing"
)

func TestHiddenKeysAreInNoLineOfATextOrADifference(t *testing.T) {
	secret := strings.Repeat("k", 42) + "E="
	text := "[Interface]\r\nprivatekey=" + secret + " # mine\r\n# PrivateKey = " + secret + "\nHeaderProtectionKey = " + secret +
		"\n[Peer]\nPublicKey = public\n\tPresharedKey = " + secret + "\n-PrivateKey = " + secret + "\n+PresharedKey = " + secret + "\n"
	hidden := HideKeys(text)
	if strings.Contains(hidden, secret) || strings.Count(hidden, Hidden) != 6 || !strings.Contains(hidden, "privatekey=(hidden) # mine\r\n") ||
		!strings.Contains(hidden, "PublicKey = public\n") {
		t.Errorf("%s", hidden)
	}
	for _, kept := range []string{"PrivateKey = " + KeptOnNode + "\n", "PrivateKey =\n", "PostUp = wg set %i private-key /k\n"} {
		if got := HideKeys(kept); got != kept {
			t.Errorf("%q became %q", kept, got)
		}
	}
}

func TestAHiddenPrivateKeyIsPutBack(t *testing.T) {
	for _, text := range []string{
		"[Interface]\nPrivateKey = AbC/+=\nAddress = 10.0.0.1/24\n[Peer]\nPresharedKey = xyz\n",
		"[Interface]\r\n  privateKEY=AbC/+=   # mine\r\n",
		"[Interface]\nPrivateKey = AbC/+=",
	} {
		hidden := HidePrivateKey(text)
		if !HidesPrivateKey(hidden) || HidesPrivateKey(text) || strings.Contains(hidden, "AbC") {
			t.Errorf("%q is hidden as %q", text, hidden)
		}
		if got := PutBackPrivateKey(hidden, text); got != text {
			t.Errorf("%q came back as %q", text, got)
		}
	}
	const edited = "[Interface]\nPrivateKey = (hidden)\nMTU = 1400\n"
	for former, want := range map[string]string{
		"PrivateKey = $1\n": "[Interface]\nPrivateKey = $1\nMTU = 1400\n", "": edited, "PrivateKey = (hidden)": edited,
		"PrivateKey = " + KeptOnNode: strings.Replace(edited, Hidden, KeptOnNode, 1),
	} {
		if got := PutBackPrivateKey(edited, former); got != want {
			t.Errorf("from %q: %q", former, got)
		}
	}
	const typed = "PrivateKey = new\n"
	if got := PutBackPrivateKey(typed, "PrivateKey = old\n"); got != typed {
		t.Errorf("a typed key became %q", got)
	}
}

func TestKeysThatAMessageQuotesAreHidden(t *testing.T) {
	const key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	for in, want := range map[string]string{
		"Line unrecognized: `PrivateKey=" + key + "'":            "Line unrecognized: `PrivateKey=(hidden)'",
		"[Interface] privatekey = " + key + " MTU = 1":           "[Interface] privatekey = (hidden) MTU = 1",
		"a\nPresharedKey\t= " + key + "\nb":                      "a\nPresharedKey\t= (hidden)\nb",
		"HeaderProtectionKey=" + key[:30]:                        "HeaderProtectionKey=(hidden)",
		"peer: " + key + ", PublicKey = " + key:                  "peer: " + key + ", PublicKey = " + key,
		"PrivateKey = (kept on the node), private key: (hidden)": "PrivateKey = (kept on the node), private key: (hidden)",
	} {
		if got := HideKeysWithin(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
