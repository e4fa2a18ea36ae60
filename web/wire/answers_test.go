package wire

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"wfm/store"
)

func TestEveryKnownErrorHasACodeAndASentence(t *testing.T) {
	code := regexp.MustCompile(`^[A-Z][A-Z_]+$`)
	for _, known := range answers {
		a := Translate(fmt.Errorf("wrapped: %w", known.err))
		if a.Code != known.code || a.Status != known.status || a.Status < 400 || !code.MatchString(a.Code) || !strings.HasSuffix(a.Message, ".") {
			t.Errorf("%v: %+v", known.err, a)
		}
	}
}

func TestAnUnknownErrorKeepsItsText(t *testing.T) {
	if a := Translate(errors.New("open /secret/path: broken")); a.Code != CodeInternal || strings.Contains(a.Message, "secret") {
		t.Errorf("%+v", a)
	}
	if a := Translate(fmt.Errorf("open /secret/path: %w (no space)", store.ErrFull)); a.Code != "STORE_FULL" || strings.Contains(a.Message, "secret") {
		t.Errorf("%+v", a)
	}
}
