package wgconf

import (
	"strings"
	"testing"
)

func TestComparableTextsShowWhetherASecretIsAnotherOneAndNoSecret(t *testing.T) {
	const a, b, c = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=", "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
		"kdLaBJp1tqL1wHZOs6HsnQ3jw9mQc0QdgRcRcJ7ErWA="
	before, after := Comparable(
		"[Interface]\nprivatekey="+a+" # mine\r\nPostUp = wg set %i peer "+b+" preshared-key /k\n[Peer]\nPublicKey = "+b+"\nPresharedKey = "+c+"\n",
		"[Interface]\nPrivateKey = "+b+"\nPostUp = wg set %i private-key <(echo "+a+")\n# "+c+"\n[Peer]\nPublicKey = "+b+"\nPresharedKey = garbled\n"+
			"HeaderProtectionKey = "+strings.Repeat("x", 9),
	)
	if want := "[Interface]\nprivatekey= (hidden)\r\nPostUp = wg set %i peer (hidden) preshared-key /k\n[Peer]\nPublicKey = " + b +
		"\nPresharedKey = (hidden)\n"; before != want {
		t.Errorf("%s\nwant\n%s", before, want)
	}
	if want := "[Interface]\nPrivateKey = (hidden)\nPostUp = wg set %i private-key <(echo (hidden))\n# (hidden)\n[Peer]\nPublicKey = " + b +
		"\nPresharedKey = (hidden, new)\nHeaderProtectionKey = (hidden, new)"; after != want {
		t.Errorf("%s\nwant\n%s", after, want)
	}
	const kept = "[Interface]\nPrivateKey = (kept on the node)\nAddress = 10.0.0.1/24\n"
	if _, after := Comparable("", kept); after != kept {
		t.Errorf("%s", after)
	}
	if before, _ := Comparable("PrivateKey = "+a+"\n", kept); before != "PrivateKey = (hidden, former)\n" {
		t.Errorf("%s", before)
	}
}
