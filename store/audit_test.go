package store

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"wfm/protocol"
)

func appendAudit(t *testing.T, db *DB, entries ...AuditEntry) {
	t.Helper()
	update(t, db, func(tx *Tx) error {
		for _, e := range entries {
			if e.At.IsZero() {
				e.At = tx.Now().UTC()
			}
			if err := tx.CloseAudit(e); err != nil {
				return err
			}
		}
		return nil
	})
}

func exported(t *testing.T, db *DB) string {
	t.Helper()
	var b bytes.Buffer
	var end AuditEnd
	_ = db.View(func(tx *Tx) error {
		lines, _ := tx.AuditLines(0, 2*AuditMost)
		for _, line := range lines {
			if err := end.Add(line); err != nil {
				t.Error(err)
			}
			b.Write(append(line, '\n'))
		}
		return nil
	})
	b.Write(append(end.Line(), '\n'))
	return b.String()
}

func someAudit(t *testing.T) (db *DB, text string) {
	t.Helper()
	db = open(t)
	for i := range 5 {
		appendAudit(t, db, AuditEntry{
			Actor: "admin", Action: "POST /x", IDs: map[string]string{"node_id": fmt.Sprint("node_", i%2), "a": `"<&>` + "\u2028"},
			RequestID: fmt.Sprint("req_", i), Status: 200,
		})
	}
	return db, exported(t, db)
}

func TestAnAuditLogProvesItself(t *testing.T) {
	_, text := someAudit(t)
	p, err := VerifyAudit(strings.NewReader(text))
	if err != nil || p.Entries != 5 || p.First != 1 || p.Last != 5 || p.Previous != "" || len(p.Head) != 64 {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := VerifyAudit(strings.NewReader(exported(t, open(t)))); err != nil || p.Entries != 0 {
		t.Errorf("an empty log: %+v, %v", p, err)
	}
}

func TestNoLineOfTheAuditLogCanBeChangedLeftOutOrPutInUnnoticed(t *testing.T) {
	_, text := someAudit(t)
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	join := func(l ...string) string { return strings.Join(l, "") }
	for name, short := range map[string]string{
		"nothing": "", "without the closing line": join(lines[:5]...), "cut off between lines": join(lines[:3]...),
		"cut off within a line": join(lines[:3]...) + lines[3][:40], "cut off within the closing line": text[:len(text)-20],
	} {
		if _, err := VerifyAudit(strings.NewReader(short)); !errors.Is(err, ErrAuditCutOff) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, forged := range map[string]string{
		"the newest left out":  join(lines[0], lines[1], lines[2], lines[3], lines[5]),
		"an end in the middle": text + lines[0],
		"two ends":             text + lines[5],
		"an error of the API":  `{"success":false,"error":{"code":"INVALID_TOKEN"}}`,
		"a status":             strings.Replace(text, `"status":200`, `"status":403`, 1),
		"an actor":             strings.Replace(text, `"actor":"admin"`, `"actor":"ad"`, 1),
		"a hash":               strings.Replace(text, `"hash":"`, `"hash":"0`, 1),
		"a line left out":      join(lines[0], lines[1], lines[3], lines[4]),
		"lines swapped":        join(lines[0], lines[2], lines[1], lines[3]),
		"a line repeated":      join(lines[0], lines[0]),
		"no JSON":              lines[0] + "x\n",
		"an empty line":        lines[0] + "\n" + lines[1],
		"a shortened line":     lines[0] + "{}\n",
		"an endless line":      lines[0] + strings.Repeat("x", 1<<20),
	} {
		if _, err := VerifyAudit(strings.NewReader(forged)); err == nil || (name != "an endless line" && !errors.Is(err, ErrAuditBroken)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAPrunedAuditLogStillProvesItself(t *testing.T) {
	db := open(t)
	old := make([]AuditEntry, auditKept+5)
	for i := range old {
		old[i].At = db.Now().Add(-2 * AuditTime)
	}
	appendAudit(t, db, old...)
	p, err := VerifyAudit(strings.NewReader(exported(t, db)))
	if err != nil || p.Entries != auditKept || p.First != 6 || len(p.Previous) != 64 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestYoungEntriesMakeRoomOnlyWhenThereAreVeryMany(t *testing.T) {
	db, _ := someAudit(t)
	for _, tc := range []struct {
		last  uint64 // as if so many were there
		first string
	}{
		{auditKept + 1, `{"seq":1,`}, {AuditMost, `{"seq":1,`}, {AuditMost + 1, `{"seq":2,`}, {AuditMost + 9, `{"seq":4,`},
	} {
		update(t, db, func(tx *Tx) error { return tx.pruneAudit(tc.last) })
		if text := exported(t, db); !strings.HasPrefix(text, tc.first) {
			t.Errorf("after %d: %s", tc.last, text)
		}
	}
}

func TestTheAuditLogIsReadNewestFirstPageByPageAndFiltered(t *testing.T) {
	db, _ := someAudit(t)
	read := func(before uint64, limit int, node string) (seqs []uint64) {
		_ = db.View(func(tx *Tx) error {
			entries, err := tx.Audit(before, limit, func(e AuditEntry) bool { return node == "" || e.IDs["node_id"] == node })
			for _, e := range entries {
				seqs = append(seqs, e.Seq)
			}
			return err
		})
		return seqs
	}
	for _, tc := range []struct {
		before uint64
		limit  int
		node   string
		want   string
	}{{0, 2, "", "[5 4]"}, {4, 9, "", "[3 2 1]"}, {1, 9, "", "[]"}, {99, 1, "", "[5]"}, {0, 9, "node_1", "[4 2]"}, {0, 9, "node_9", "[]"}} {
		if got := fmt.Sprint(read(tc.before, tc.limit, tc.node)); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}

func TestWhatTheEndOfTheProcessInterruptedIsInTheLogAfterTheNextStart(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	update(t, db, func(tx *Tx) error {
		return errors.Join(
			tx.OpenAudit(AuditEntry{Actor: "admin", Action: "DELETE /x", RequestID: "req_killed", At: tx.Now().UTC()}),
			tx.OpenAudit(AuditEntry{Actor: "admin", Action: "POST /x", RequestID: "req_done", At: tx.Now().UTC()}),
		)
	})
	appendAudit(t, db, AuditEntry{RequestID: "req_done", Status: 200})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for range 2 { // once is enough
		update(t, db, (*Tx).SettleAudit)
	}
	_ = db.View(func(tx *Tx) error {
		got, err := tx.Audit(0, 9, func(AuditEntry) bool { return true })
		if err != nil || len(got) != 2 || got[0].RequestID != "req_killed" || got[0].Code != AuditInterrupted || got[0].Status != 0 || got[1].Status != 200 {
			t.Errorf("%+v, %v", got, err)
		}
		return nil
	})
	if _, err := VerifyAudit(strings.NewReader(exported(t, db))); err != nil {
		t.Error(err)
	}
}

func TestASumOutlivesTheEndOfTheProcessAndStaysSmall(t *testing.T) {
	db := open(t)
	const n = 3000
	update(t, db, func(tx *Tx) error {
		for i := range n {
			e := AuditEntry{
				Actor: "admin", ActorID: "s1", Action: fmt.Sprint("POST /", i%150), IDs: map[string]string{"node_id": protocol.NewID("node")},
				RequestID: fmt.Sprint("req_", i), Status: 200, At: tx.Now().UTC(),
			}
			if err := errors.Join(tx.OpenAudit(e), tx.SumAudit(e)); err != nil {
				return err
			}
		}
		return tx.SumAudit(AuditEntry{Actor: "token x", ActorID: "t1", Action: "DELETE /y", RequestID: "req_t", Status: 403, Code: "FORBIDDEN"})
	})
	for range 2 {
		update(t, db, (*Tx).SettleAudit) // as the next start does
	}
	text := exported(t, db)
	p, err := VerifyAudit(strings.NewReader(text))
	if err != nil || p.Entries != 2 || p.Sums != 2 || p.Summed != n+1 || len(text) > 32<<10 {
		t.Fatalf("%+v, %v, %d bytes", p, err, len(text))
	}
	_ = db.View(func(tx *Tx) error {
		got, err := tx.Audit(0, 9, func(e AuditEntry) bool { return e.ActorID == "s1" })
		if err != nil || len(got) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		e := got[0]
		if e.Status != 200 || e.Code != "" || e.RequestID != "req_0" || e.Repeats != n-1 || e.Sum.Requests != n ||
			len(e.Sum.IDs) != auditSumIDs || e.Sum.IDsLeftOut != n-auditSumIDs || len(e.Sum.Kinds) != auditSumKinds+1 || e.Sum.Kinds[auditSumOther] != n/3 {
			t.Errorf("%+v", e)
		}
		return nil
	})
}

// FuzzVerifyAudit holds that no file makes the verification panic, and that nothing but a chain
// passes.
func FuzzVerifyAudit(f *testing.F) {
	line, _ := sealed(AuditEntry{Seq: 1, RequestID: protocol.NewID("req")})
	f.Add(line)
	f.Add(append(append(line, '\n'), AuditEnd{1, string(line[len(line)-66 : len(line)-2])}.Line()...))
	f.Add([]byte("{}"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := VerifyAudit(bytes.NewReader(text))
		if err == nil && p.Entries > 0 && len(p.Head) != 64 {
			t.Errorf("%q: %+v", text, p)
		}
	})
}
