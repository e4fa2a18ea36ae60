package web_test

import (
	"fmt"
	"net/netip"
	"strings"
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

func TestTheSettingsOfAMeshShowEachValueButNoKey(t *testing.T) {
	a := newAPI(t)
	var made struct {
		ID      string
		S1      int    `json:"awg_s1"`
		H4      string `json:"awg_h4"`
		Options struct {
			Key string `json:"header_protection_key"`
		} `json:"awg_options"`
	}
	a.post("/api/v1/configs", object{
		"name": "home", "description": "all of us", "tunnel_protocol": "amneziawg", "awg_version": "3.1", "virtual_subnet": "10.9.0.0/24",
		"virtual_subnet6": "fd00:9::/64", "default_listen_port": 4500, "default_mtu": 1380, "default_dns": "10.9.0.1",
	}).ok(&made)
	r := a.browse("/configs/"+made.ID+"/settings").shows(
		`value="10.9.0.0/24"`, `value="fd00:9::/64"`, `value="4500"`, `value="1380"`, `value="10.9.0.1"`, "all of us", "AmneziaWG 3.1",
		fmt.Sprintf(`name="awg_s1" data-text min="0" value="%d"`, made.S1), `name="awg_h4" value="`+made.H4+`"`, `aria-current="page">Settings`)
	if made.Options.Key == "" || strings.Contains(r.body, made.Options.Key) {
		t.Errorf("the page shows the header protection key %q", made.Options.Key)
	}
	a.put("/api/v1/configs/"+made.ID, object{"awg_h1": "none"}).about(422, "INVALID_VALUE", "awg_h1")
	a.put("/api/v1/configs/"+made.ID, object{"default_mtu": 7}).about(422, "INVALID_VALUE", "default_mtu")
	if r := a.browse("/configs/" + a.addConfig("plain") + "/settings").shows("WireGuard"); strings.Contains(r.body, "awg_s1") {
		t.Error("a mesh of WireGuard shows values of AmneziaWG")
	}
}
