package web

import (
	"errors"
	"io"
	"time"

	"github.com/labstack/echo/v4"
)

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
