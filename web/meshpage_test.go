package web_test

import (
	"net/netip"
	"testing"

	"wfm/web"
)

// about expects a refusal of the field, in a sentence of its own.
func (r *reply) about(status int, code, field string) {
	r.t.Helper()
	r.fails(status, code)
	if got := r.Error.Detail.Field; got != field {
		r.t.Errorf("%s: the refusal is about %q, want %q: %s", r.what, got, field, r.body)
	}
}

func TestTheDialogForANewMeshOffersAFreeNetwork(t *testing.T) {
	a := newAPI(t, func(o *web.Options) {
		o.Networks = func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.66.0.9/24")} }
	})
	a.browse("/").shows(`name="virtual_subnet" required data-none value="10.66.1.0/24"`, `name="virtual_subnet6" required value="fd`)
	a.post("/api/v1/configs", object{"name": "home"}).ok(nil)
	a.browse("/").shows(`value="10.66.2.0/24"`, "<code>10.66.1.0/24</code>")
	a = newAPI(t, func(o *web.Options) {
		o.Networks = func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }
	})
	a.browse("/").shows(`name="virtual_subnet" required data-none value=""`)
}

func TestARefusedMeshSaysWhichFieldIsWrong(t *testing.T) {
	a := newAPI(t, func(o *web.Options) { o.Networks = func() []netip.Prefix { return nil } })
	a.post("/api/v1/configs", object{"name": "home"}).ok(nil)
	for _, tc := range []struct {
		body        object
		status      int
		code, field string
	}{
		{object{"name": "home"}, 409, "CONFIG_NAME_EXISTS", "name"},
		{object{"name": "b", "virtual_subnet": "10.66.0.0/16"}, 422, "INVALID_SUBNET", "virtual_subnet"},
		{object{"name": "b", "virtual_subnet": "10.9.0.1"}, 422, "INVALID_SUBNET", "virtual_subnet"},
		{object{"name": "b", "virtual_subnet6": "10.9.0.0/24"}, 422, "INVALID_SUBNET", "virtual_subnet6"},
	} {
		a.post("/api/v1/configs", tc.body).about(tc.status, tc.code, tc.field)
	}
}
