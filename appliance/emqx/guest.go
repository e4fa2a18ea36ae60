package emqx

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"wfm/internal/emqxcall"
)

// admit creates the account of a check, in the appliance, which recognizes it by the shared key,
// and in EMQX's database if EMQX uses it. The account exists until leave is called.
func admit(ctx context.Context, api *API, kinds kinds, key emqxcall.Key) (nodeID, password string, leave func() error, err error) {
	nodeID, password = key.Check(time.Now())
	if !kinds.database {
		return nodeID, password, func() error { return nil }, nil
	}
	salt := rand.Text()
	sum := sha256.Sum256([]byte(salt + password))
	row := userRow{UserID: nodeID, Salt: salt, PasswordHash: hex.EncodeToString(sum[:])}
	if err := api.importUsers(ctx, []userRow{row}); err != nil {
		return "", "", nil, err
	}
	return nodeID, password, func() error {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestLimit)
		defer cancel()
		return api.deleteUser(clean, nodeID)
	}, nil
}

// Admit creates an account of a temporary node for a check of EMQX. It exists until leave is
// called. No record knows that node, so nothing it does leaves a trace. The error is for an
// operator.
func (b *Broker) Admit(ctx context.Context) (nodeID, password string, leave func(), err error) {
	all, err := b.o.API.authenticators(ctx)
	if err != nil {
		return "", "", nil, err
	}
	kinds, err := kindsOf(all)
	if err != nil {
		return "", "", nil, err
	}
	nodeID, password, end, err := admit(ctx, b.o.API, kinds, b.o.Key)
	if err != nil {
		return "", "", nil, err
	}
	return nodeID, password, func() {
		if err := end(); err != nil { // a reconciliation deletes it
			b.log.Warn("the account of a test could not be deleted from EMQX yet", "err", err)
		}
	}, nil
}
