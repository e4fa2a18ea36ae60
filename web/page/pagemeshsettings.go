package page

import (
	"cmp"
	"crypto/rand"
	"strings"

	"github.com/labstack/echo/v4"

	"wfm/mesh"
	"wfm/protocol"
	"wfm/store"
)

// meshSettingsBody has the settings of a mesh that are not shown as the record has them.
type meshSettingsBody struct {
	meshHead
	Network, Network6 string
	Offer6            string // a network that is free for sure
	// AWG, with the values below, is set for a mesh of AmneziaWG.
	AWG                        bool
	AWGVersion                 string
	Paddings, Headers, Options []awgField
}

// awgField is a value of AmneziaWG in a form.
type awgField struct{ Name, Title, Value string }

func (p *Pages) meshSettingsPage(c echo.Context) (show, error) {
	h, err := store.Read(p.DB, func(tx *store.Tx) (meshHead, error) { return readMeshHead(tx, c.Param("config_id"), tabSettings) })
	if err != nil {
		return show{}, err
	}
	random, err := mesh.NewULA(rand.Reader)
	if err != nil {
		return show{}, err
	}
	v := meshSettingsBody{meshHead: h, Offer6: random.String(), AWG: protocol.ToolFamily(h.Config.TunnelProtocol) == "awg"}
	if s := h.Config.VirtualSubnet; s.IsValid() {
		v.Network = s.String()
	}
	if s := h.Config.VirtualSubnet6; s.IsValid() {
		v.Network6 = s.String()
	}
	if v.AWG {
		v.AWGVersion = cmp.Or(h.Config.AWGVersion, mesh.DefaultAWGVersion)
		v.setAWG(h.Config.AWG)
	}
	return h.show("meshsettings", "Settings", v), nil
}

func (v *meshSettingsBody) setAWG(a store.AWGMesh) {
	field := func(name, value string) awgField { return awgField{"awg_" + name, strings.ToUpper(name), value} }
	v.Paddings = []awgField{field("s1", a.S1), field("s2", a.S2)}
	if v.AWGVersion != "1.5" {
		v.Paddings = append(v.Paddings, field("s3", a.S3), field("s4", a.S4))
	}
	v.Headers = []awgField{field("h1", a.H1), field("h2", a.H2), field("h3", a.H3), field("h4", a.H4)}
	v.Options = optionFields(a.ContentPaddingAddition, a.RekeyAfterTime, a.RekeyTimeout, a.RejectAfterTime, a.KeepaliveTimeout, a.MaxHandshakeAttempts)
}

// optionFields returns the fields for the options of AmneziaWG 3.1 that are numbers, with their values.
func optionFields(padding, rekeyAfter, rekeyTimeout, rejectAfter, keepalive, attempts string) []awgField {
	return []awgField{
		{"awg_options.content_padding_addition", "Content padding", padding},
		{"awg_options.rekey_after_time", "New key after", rekeyAfter},
		{"awg_options.rekey_timeout", "Next try after", rekeyTimeout},
		{"awg_options.reject_after_time", "Key ends after", rejectAfter},
		{"awg_options.keepalive_timeout", "Keepalive after", keepalive},
		{"awg_options.max_handshake_attempts", "Most tries", attempts},
	}
}
