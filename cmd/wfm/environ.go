package main

import (
	"slices"
	"strings"

	"wfm/cmd/internal/environ"
)

// foreign are variables of a WG Free Mesh deployment without meaning here: for its database, its
// containers, and features that need no setting in this program.
var foreign = []string{
	"WFM_APP_PORT", "WFM_AUTH_DOWNLOAD_TOKEN_EXPIRE_MINUTES", "WFM_CORS_ORIGINS", "WFM_DATABASE", "WFM_DATABASE_URL", "WFM_DEBUG",
	"WFM_EMQX_AUTHZ_URL", "WFM_ENABLE_DEV_TEST_API", "WFM_GATEWAY_CLIENT_MAX_BODY_SIZE", "WFM_POSTGRES_DB", "WFM_POSTGRES_PASSWORD",
	"WFM_POSTGRES_PORT", "WFM_POSTGRES_USER", "WFM_TIMEZONE",
}

// knownVariables returns the variables of wfm serve, and those of other commands that an
// environment file may contain beside them.
func knownVariables() []string {
	known := []string{"WFM_TOKEN"}
	for _, row := range settingsTable() {
		if row.env != "" {
			known = append(known, row.env)
		}
	}
	return known
}

// warn logs each setting that has no effect once. environment is in the form of os.Environ. The
// agent reports unknown variables of its own.
func (s settings) warn(environment []string) {
	for _, text := range s.warnings {
		s.Logger.Warn("a setting has no effect", "reason", text)
	}
	var here, ignored []string
	for _, name := range environ.Set(environment, "WFM_") {
		switch {
		case slices.Contains(foreign, name):
			ignored = append(ignored, name)
		case !strings.HasPrefix(name, "WFM_AGENT"):
			here = append(here, name)
		}
	}
	if len(ignored) > 0 {
		s.Logger.Warn("variables of WG Free Mesh that mean nothing here are ignored", "variables", strings.Join(ignored, ", "))
	}
	for _, v := range environ.Unknown(here, knownVariables()) {
		advice := "see wfm serve --help"
		if v.Nearest != "" {
			advice = "did you mean " + v.Nearest + "?"
		}
		s.Logger.Warn("an unknown variable is ignored", "variable", v.Name, "advice", advice)
	}
}
