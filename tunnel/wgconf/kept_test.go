package wgconf

import (
	"strings"
	"testing"
)

const (
	keptPrivate = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	keptPublic  = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
)

func TestAKeptKeyIsFoundAndPutIn(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		line   string
		kept   bool
		public string
	}{
		"plain":                  {"PrivateKey = (kept on the node)", true, ""},
		"named":                  {"PrivateKey = " + KeptAs(keptPublic), true, keptPublic},
		"in other spelling":      {"\tprivatekey=( kept on the node ) #public key: " + keptPublic + " \r", true, keptPublic},
		"named by another":       {"PrivateKey = (kept on the node) # public key: none", true, ""},
		"with another comment":   {"PrivateKey = (kept on the node) # " + keptPublic, true, ""},
		"a key":                  {"PrivateKey = " + keptPrivate, false, ""},
		"the words in a comment": {"# PrivateKey = (kept on the node)", false, ""},
		"the words for a hook":   {"PostUp = (kept on the node)", false, ""},
	} {
		text := "[Interface]\n" + tc.line + "\nAddress = 10.66.0.1/24\n"
		if kept, public := Kept(text); kept != tc.kept || public != tc.public {
			t.Errorf("%s: %v, %q", name, kept, public)
		}
		full := PutKey(text, keptPrivate)
		if !tc.kept {
			if full != text {
				t.Errorf("%s: became\n%s", name, full)
			}
			continue
		}
		conf, err := Parse(full, "wg")
		if err != nil || !conf.Interface.HasPrivateKey || strings.Contains(full, "kept") || strings.Count(full, "\n") != strings.Count(text, "\n") {
			t.Errorf("%s: %v in\n%s", name, err, full)
		}
		if conf, err = Parse(text, "wg"); err != nil || conf.Interface.KeptLine != 2 || conf.Interface.PublicKey != tc.public {
			t.Errorf("%s: %v, %+v", name, err, conf.Interface)
		}
	}
}
