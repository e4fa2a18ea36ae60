package mesh

import (
	"wfm/store"
)

// The versions of AmneziaWG for which configs are made.
const (
	awg15 = "1.5"
	awg20 = "2.0"
	awg31 = "3.1"
)

// awgVersionOf returns the version of the mesh; 2.0 if it names none.
func awgVersionOf(cfg store.Config) string {
	if cfg.AWGVersion == "" {
		return awg20
	}
	return cfg.AWGVersion
}

// awgLine is one line of an [Interface] section.
type awgLine struct{ key, value string }

// awgLines returns the values of AmneziaWG as they stand in a config. Values that the version of the
// mesh does not know are left out.
func awgLines(cfg store.Config, n store.AWGNode) []awgLine {
	a, version := cfg.AWG, awgVersionOf(cfg)
	lines := []awgLine{{"Jc", n.Jc}, {"Jmin", n.Jmin}, {"Jmax", n.Jmax}, {"S1", a.S1}, {"S2", a.S2}}
	if version != awg15 {
		lines = append(lines, awgLine{"S3", a.S3}, awgLine{"S4", a.S4})
	}
	lines = append(lines, awgLine{"H1", a.H1}, awgLine{"H2", a.H2}, awgLine{"H3", a.H3}, awgLine{"H4", a.H4},
		awgLine{"I1", n.I1}, awgLine{"I2", n.I2}, awgLine{"I3", n.I3}, awgLine{"I4", n.I4}, awgLine{"I5", n.I5})
	if version != awg31 {
		return lines
	}
	return append(lines,
		awgLine{"HeaderProtectionKey", a.HeaderProtectionKey}, awgLine{"ContentPaddingAddition", a.ContentPaddingAddition},
		awgLine{"RekeyAfterTime", a.RekeyAfterTime}, awgLine{"RekeyTimeout", a.RekeyTimeout}, awgLine{"RejectAfterTime", a.RejectAfterTime},
		awgLine{"KeepaliveTimeout", a.KeepaliveTimeout}, awgLine{"MaxHandshakeAttempts", a.MaxHandshakeAttempts},
		awgLine{"RandomTrailers", switchValue(a.RandomTrailers)}, awgLine{"DisableCookies", switchValue(a.DisableCookies)})
}

func switchValue(on bool) string {
	if on {
		return "on"
	}
	return ""
}
