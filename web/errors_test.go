package web

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
		a := translate(fmt.Errorf("wrapped: %w", known.err))
		if a.code != known.code || a.status != known.status || a.status < 400 || !code.MatchString(a.code) || !strings.HasSuffix(a.message, ".") {
			t.Errorf("%v: %+v", known.err, a)
		}
	}
}

func TestAnUnknownErrorKeepsItsText(t *testing.T) {
	if a := translate(errors.New("open /secret/path: broken")); a.code != codeInternal || strings.Contains(a.message, "secret") {
		t.Errorf("%+v", a)
	}
	if a := translate(fmt.Errorf("open /secret/path: %w (no space)", store.ErrFull)); a.code != "STORE_FULL" || strings.Contains(a.message, "secret") {
		t.Errorf("%+v", a)
	}
}

func TestABindRefusalIsNotWordedForTheAdmin(t *testing.T) {
	for err, want := range map[error]string{
		store.ErrNodeDisabled: "403 CLIENT_BIND_NOT_ALLOWED",
		store.ErrNodeStatic:   "400 CLIENT_BIND_STATIC_NODE",
		store.ErrNodeNotFound: "401 CLIENT_BIND_TOKEN_INVALID",
		store.ErrTokenExpired: "401 CLIENT_BIND_TOKEN_EXPIRED",
		store.ErrTokenUsed:    "409 CLIENT_BIND_TOKEN_USED",
		store.ErrFull:         "507 STORE_FULL",
	} {
		a := translate(bindRefusal(err))
		if got := fmt.Sprintf("%d %s", a.status, a.code); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
