package bind

import (
	"fmt"
	"testing"

	"wfm/store"
	"wfm/web/wire"
)

func TestABindRefusalIsNotWordedForTheAdmin(t *testing.T) {
	for err, want := range map[error]string{
		store.ErrNodeDisabled: "403 CLIENT_BIND_NOT_ALLOWED",
		store.ErrNodeStatic:   "400 CLIENT_BIND_STATIC_NODE",
		store.ErrNodeNotFound: "401 CLIENT_BIND_TOKEN_INVALID",
		store.ErrTokenExpired: "401 CLIENT_BIND_TOKEN_EXPIRED",
		store.ErrTokenUsed:    "409 CLIENT_BIND_TOKEN_USED",
		store.ErrFull:         "507 STORE_FULL",
	} {
		a := wire.Translate(bindRefusal(err))
		if got := fmt.Sprintf("%d %s", a.Status, a.Code); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
