package system

import (
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/web/wire"
)

func (a *API) backupRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/system/backup", Access: wire.Write, Handle: a.backup, Discloses: true,
			Summary: "A copy of the current data file, with all its secrets. To restore it, stop the appliance and replace wfm.db by it.",
			Bare:    "application/octet-stream", Codes: "RATE_LIMITED",
		},
	}
}

// backup answers a copy of the data file as a download. It holds every private key.
func (a *API) backup(c echo.Context) error {
	if !a.backups.TryLock() {
		return wire.ErrBackupRunning
	}
	defer a.backups.Unlock()
	b, err := a.DB.Backup()
	if err != nil {
		return err
	}
	defer b.Close()
	w := wire.StartDownload(a.Stopping, c, "application/octet-stream", "wfm-"+time.Now().UTC().Format("20060102-150405")+".db", b.Size)
	_, err = io.Copy(w, b)
	return err
}
