package web

import (
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"wfm/web/wire"
)

func (s *Server) backupRoutes() []wire.Route {
	return []wire.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/system/backup", Access: wire.Write, Handle: s.backup, Discloses: true,
			Summary: "A copy of the data file as it is now, with every secret in it. To restore it, stop the appliance and put it in the place of wfm.db.",
			Bare:    "application/octet-stream", Codes: "RATE_LIMITED",
		},
	}
}

// backup is a copy of the data file as a download. It holds every private key.
func (s *Server) backup(c echo.Context) error {
	select {
	case s.backups <- struct{}{}:
		defer func() { <-s.backups }()
	default:
		return wire.ErrBackupRunning
	}
	b, err := s.opts.Store.Backup()
	if err != nil {
		return err
	}
	defer b.Close()
	w := s.startDownload(c, "application/octet-stream", "wfm-"+time.Now().UTC().Format("20060102-150405")+".db", b.Size)
	_, err = io.Copy(w, b)
	return err
}
