package web_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wfm/store"
)

func TestABackupIsDownloadedAndOpens(t *testing.T) {
	a := newAPI(t)
	cfg := a.addConfig("office")
	r := a.get("/api/v1/system/backup")
	if r.status != 200 || r.header.Get("Content-Length") != fmt.Sprint(len(r.body)) || !strings.Contains(r.header.Get("Content-Disposition"), ".db") {
		t.Fatalf("%d %v", r.status, r.header)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, store.FileName), []byte(r.body), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *store.Tx) error { _, err := tx.Config(cfg); return err }); err != nil {
		t.Error(err)
	}
	if got := a.audit(""); got[0].Action != "GET /api/v1/system/backup" || got[0].Status != 200 {
		t.Errorf("%+v", got[0])
	}
}

// Everything else goes on while a client downloads a backup and does not read it.
func TestASlowBackupHoldsUpNoWriter(t *testing.T) {
	a := newAPI(t)
	a.update(func(tx *store.Tx) error { // more than fits into the buffers of the connection
		return tx.PutFile("filler", make([]byte, 12<<20))
	})
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(a.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /api/v1/system/backup HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", a.token)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", resp, err)
	}
	defer resp.Body.Close()
	for i := range 8 { // the file grows far beyond the mapped memory
		a.update(func(tx *store.Tx) error { return tx.PutFile(fmt.Sprint(i), make([]byte, 2<<20)) })
	}
	a.get("/api/v1/system/backup").fails(429, "RATE_LIMITED")
}
