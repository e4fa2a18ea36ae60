package environ_test

import (
	"slices"
	"testing"

	"wfm/cmd/internal/environ"
)

func TestAMisspeltVariableIsFoundWithTheNameThatWasMeant(t *testing.T) {
	t.Parallel()
	known := []string{"WFM_HTTP_ADDR", "WFM_HTTPS_ADDR", "WFM_DATA_DIR", "WFM_MQTT_TLS_ENABLED", "WFM_LOG_LEVEL"}
	for name, want := range map[string]string{
		"WFM_HTP_ADDR": "WFM_HTTP_ADDR", "WFM_HTTPADDR": "WFM_HTTP_ADDR", "WFM_HTTTPS_ADDR": "WFM_HTTPS_ADDR",
		"WFM_DATADIR": "WFM_DATA_DIR", "WFM_MQTT_TSL_ENABLE": "WFM_MQTT_TLS_ENABLED", "WFM_LOGLEVEL": "WFM_LOG_LEVEL",
		"WFM_Data_Dir": "WFM_DATA_DIR", "WFM_SOMETHING_ELSE": "", "WFM_": "",
	} {
		got := environ.Unknown([]string{name}, known)
		if len(got) != 1 || got[0].Name != name || got[0].Nearest != want {
			t.Errorf("%s: %+v, want %q", name, got, want)
		}
	}
	if got := environ.Unknown(known, known); got != nil {
		t.Errorf("known names are unknown: %v", got)
	}
}

func TestVariablesWithoutAValueAndOfOthersAreLeftOut(t *testing.T) {
	t.Parallel()
	got := environ.Set([]string{"WFM_B=1", "PATH=/bin", "WFM_A=x=y", "WFM_EMPTY=", "WFM_B=2", "=C:=c"}, "WFM_")
	if !slices.Equal(got, []string{"WFM_A", "WFM_B"}) {
		t.Errorf("%q", got)
	}
}
