package web

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

func (s *Server) backupRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: "/api/v1/system/backup", access: accessWrite, handle: s.backup, discloses: true,
			summary: "A copy of the data file as it is now, with every secret in it. To restore it, stop the appliance and put it in the place of wfm.db.",
			bare:    "application/octet-stream", codes: "RATE_LIMITED",
		},
	}
}

// errBackupRunning is returned while another backup is downloaded: each takes room on the disk.
var errBackupRunning = errors.New("another backup is being downloaded")

// backup is a copy of the data file as a download. It holds every private key.
func (s *Server) backup(c echo.Context) error {
	select {
	case s.backups <- struct{}{}:
		defer func() { <-s.backups }()
	default:
		return errBackupRunning
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
