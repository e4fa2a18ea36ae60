package web

import (
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/web/wire"
)

func (a *systemAPI) backupRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/system/backup", Access: wire.Write, Handle: a.backup, Discloses: true,
			Summary: "A copy of the data file as it is now, with every secret in it. To restore it, stop the appliance and put it in the place of wfm.db.",
			Bare:    "application/octet-stream", Codes: "RATE_LIMITED",
		},
	}
}

// backup is a copy of the data file as a download. It holds every private key.
func (a *systemAPI) backup(c echo.Context) error {
	select {
	case a.backups <- struct{}{}:
		defer func() { <-a.backups }()
	default:
		return wire.ErrBackupRunning
	}
	b, err := a.db.Backup()
	if err != nil {
		return err
	}
	defer b.Close()
	w := wire.StartDownload(a.stopping, c, "application/octet-stream", "wfm-"+time.Now().UTC().Format("20060102-150405")+".db", b.Size)
	_, err = io.Copy(w, b)
	return err
}
