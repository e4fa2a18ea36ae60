package store

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

var (
	bucketAudit     = []byte("audit")      // big-endian seq → the entry's line
	bucketAuditOpen = []byte("audit_open") // request id → AuditEntry whose result is still unknown
)

// Bounds of the audit log. The oldest entries beyond AuditMost are removed, and those beyond
// auditKept if they are older than AuditTime. Package web limits how fast entries are added, so
// that at most AuditMost are added within AuditTime and no real entry is pushed out.
const (
	auditKept = 20_000
	AuditMost = 100_000
	AuditTime = 30 * 24 * time.Hour
)

// AuditInterrupted is the code of an entry whose request was running when the process ended. Its
// effects may or may not have happened.
const AuditInterrupted = "INTERRUPTED"

// AuditEntry records one thing that somebody did or tried: the actor, the action, the address and
// the result. It never holds a body or a secret.
//
// Entries form a chain. An entry's line is its JSON object with the hash as last member. The hash
// is the SHA-256 of that line without the member, and so covers Previous, the hash of the entry
// before. The oldest entry kept still names the one before it, which was removed.
type AuditEntry struct {
	Seq   uint64    `json:"seq"` // from 1, in the order in which the requests ended
	At    time.Time `json:"at"`  // when it began
	Actor string    `json:"actor"`
	// ActorID is the id of the session or API token, if there was one: names can be reused.
	ActorID string `json:"actor_id,omitempty"`
	Action  string `json:"action"` // method and route
	// IDs are the ids in the path, and those of the objects that were created.
	IDs        map[string]string `json:"ids,omitempty"`
	RemoteAddr string            `json:"remote_addr"`
	RequestID  string            `json:"request_id"`
	Status     int               `json:"status"`         // HTTP status; 0 if interrupted
	Code       string            `json:"code,omitempty"` // error code
	// Repeats counts the requests like this one since the last such entry that got no entry of
	// their own. Two are alike if they have the same actor and the same code, or, without a code,
	// the same action.
	Repeats int `json:"repeats,omitempty"`
	// Sum is set in an entry that stands for several requests of a login.
	Sum      *AuditSum `json:"sum,omitempty"`
	Previous string    `json:"previous"` // empty for the first
	Hash     string    `json:"hash,omitempty"`
}

// OpenAudit records that e begins, before anything else is done. An entry that is not closed by
// [Tx.CloseAudit] or [Tx.SumAudit] shows which request the end of the process interrupted.
func (tx *Tx) OpenAudit(e AuditEntry) error { return put(tx, bucketAuditOpen, e.RequestID, e) }

// CloseAudit appends e, which has ended, to the log.
func (tx *Tx) CloseAudit(e AuditEntry) error {
	if err := tx.deleteRaw(bucketAuditOpen, []byte(e.RequestID)); err != nil {
		return err
	}
	c := tx.cursor(bucketAudit)
	lastKey, lastLine := c.Last()
	e.Seq, e.Previous, e.Hash = 1, "", ""
	if lastKey != nil {
		last, err := readAudit(lastLine)
		if err != nil {
			return err
		}
		e.Seq, e.Previous = last.Seq+1, last.Hash
	}
	line, err := sealed(e)
	if err != nil {
		return err
	}
	if err := tx.putRaw(bucketAudit, auditKey(e.Seq), line); err != nil {
		return err
	}
	return tx.pruneAudit(e.Seq)
}

// pruneAudit makes room after the entry last was added. Removing two at a time is enough to shrink
// the log again after a flood, once its entries have become old.
func (tx *Tx) pruneAudit(last uint64) error {
	for range 2 {
		first, line := tx.cursor(bucketAudit).First()
		kept := last - binary.BigEndian.Uint64(first) + 1
		if kept <= auditKept {
			return nil
		}
		e, err := readAudit(line)
		if err != nil {
			return err
		}
		if kept <= AuditMost && tx.now.Sub(e.At) < AuditTime {
			return nil
		}
		if err := tx.deleteRaw(bucketAudit, bytes.Clone(first)); err != nil {
			return err
		}
	}
	return nil
}

// SettleAudit closes the entries that the last run left open: sums as they are, other entries as
// interrupted.
func (tx *Tx) SettleAudit() error {
	for _, k := range tx.keysUnder(bucketAuditOpen, nil, 0) {
		e, _, err := get[AuditEntry](tx, bucketAuditOpen, string(k))
		if err != nil {
			return err
		}
		if e.Sum == nil {
			e.Status, e.Code = 0, AuditInterrupted
		} else if err := tx.deleteRaw(bucketAuditOpen, k); err != nil { // sums have other keys
			return err
		}
		if err := tx.CloseAudit(e); err != nil {
			return err
		}
	}
	return nil
}

// Audit returns up to limit entries that match, newest first, with a seq below before (0: from the
// newest).
func (tx *Tx) Audit(before uint64, limit int, match func(AuditEntry) bool) ([]AuditEntry, error) {
	var out []AuditEntry
	c := tx.cursor(bucketAudit)
	k, line := c.Last()
	if before != 0 {
		if at, _ := c.Seek(auditKey(before)); at == nil {
			k, line = c.Last()
		} else {
			k, line = c.Prev()
		}
	}
	for ; k != nil && len(out) < limit; k, line = c.Prev() {
		e, err := readAudit(line)
		if err != nil {
			return nil, err
		}
		if match(e) {
			out = append(out, e)
		}
	}
	return out, nil
}

// AuditLines returns up to limit lines after the seq, oldest first, and the seq of the last of them.
func (tx *Tx) AuditLines(after uint64, limit int) (lines [][]byte, last uint64) {
	c := tx.cursor(bucketAudit)
	for k, line := c.Seek(auditKey(after + 1)); k != nil && len(lines) < limit; k, line = c.Next() {
		lines, last = append(lines, bytes.Clone(line)), binary.BigEndian.Uint64(k)
	}
	return lines, last
}

// auditResult describes how the entry's request ended, for the kinds of a sum.
func auditResult(e AuditEntry) string {
	if e.Code != "" {
		return strconv.Itoa(e.Status) + " " + e.Code
	}
	return strconv.Itoa(e.Status)
}

func auditKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func readAudit(line []byte) (e AuditEntry, err error) {
	if err := decode(line, &e); err != nil {
		return e, fmt.Errorf("read audit log: %w", err)
	}
	return e, nil
}

// sealed returns the line of e, with its hash.
func sealed(e AuditEntry) ([]byte, error) {
	content, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode audit entry: %w", err)
	}
	return append(content[:len(content)-1], hashMember(content)...), nil
}

// hashMember returns the end of a line whose content up to the hash is given.
func hashMember(content []byte) string {
	sum := sha256.Sum256(content)
	return `,"hash":"` + hex.EncodeToString(sum[:]) + `"}`
}

// AuditEnd is the last line of an export. Without it, an export that broke off between two lines,
// or before the first, would look like a whole one.
type AuditEnd struct {
	Entries int    `json:"entries"`
	Head    string `json:"head"` // hash of the last entry; empty if there is none
}

// Add counts the line of the next entry.
func (e *AuditEnd) Add(line []byte) error {
	entry, err := readAudit(line)
	if err != nil {
		return err
	}
	e.Entries, e.Head = e.Entries+1, entry.Hash
	return nil
}

// Line returns the closing line of the export, without a line feed.
func (e AuditEnd) Line() []byte {
	line, _ := json.Marshal(map[string]AuditEnd{"end": e}) // cannot fail: a number and a string
	return line
}

// The errors of VerifyAudit.
var (
	// ErrAuditBroken is returned for a log in which a line was changed, removed or added.
	ErrAuditBroken = errors.New("the audit log was changed")
	// ErrNoAudit is returned for text that is not an exported log: its first line is not an entry.
	ErrNoAudit = errors.New("not an exported audit log: its first line is not an entry")
	// ErrAuditCutOff is returned for an export without its closing line.
	ErrAuditCutOff = errors.New("the export is incomplete: its closing line is missing")
)

// AuditProof sums up an intact log. To notice that the newest entries were lost or that the whole
// chain was replaced, keep the Head of an export: it must be the hash of the same entry in any
// later export.
type AuditProof struct {
	Entries     int
	Sums        int    // entries among them that stand for several requests
	Summed      int    // requests that the sums stand for
	First, Last uint64 // seq
	Previous    string // hash of the entry before the first; empty if the first is the very first
	Head        string // hash of the last
}

// VerifyAudit reads an exported log, one entry a line and a closing line, and checks every hash and
// that nothing is missing. Errors: [ErrAuditBroken], with the line; [ErrNoAudit]; [ErrAuditCutOff].
func VerifyAudit(r io.Reader) (AuditProof, error) {
	var p AuditProof
	ended, whole := false, true
	lines := bufio.NewScanner(r)
	lines.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		whole = bytes.IndexByte(data, '\n') >= 0
		return bufio.ScanLines(data, atEOF)
	})
	for n := 1; lines.Scan(); n++ {
		line := lines.Bytes()
		if ended {
			return p, fmt.Errorf("line %d follows the closing line: %w", n, ErrAuditBroken)
		}
		if ended = bytes.Equal(line, AuditEnd{p.Entries, p.Head}.Line()); ended {
			continue
		}
		e, err := readAudit(line)
		switch bad := err != nil || e.Seq == 0; {
		case bad && n == 1:
			return p, errors.Join(ErrNoAudit, ErrAuditBroken)
		case bad && !whole && !json.Valid(line): // the last line of a transfer that broke off
			return p, ErrAuditCutOff
		case bad:
			return p, fmt.Errorf("line %d is neither an entry nor the closing line: %w", n, ErrAuditBroken)
		}

		content := append(bytes.Clone(line[:max(0, len(line)-hashMemberLength)]), '}')
		switch {
		case !bytes.HasSuffix(line, []byte(hashMember(content))):
			return p, fmt.Errorf("line %d does not have the hash of its content: %w", n, ErrAuditBroken)
		case n == 1:
			p.First, p.Previous = e.Seq, e.Previous
		case e.Previous != p.Head || e.Seq != p.Last+1:
			return p, fmt.Errorf("line %d does not follow the one before: %w", n, ErrAuditBroken)
		}
		p.Entries, p.Last, p.Head = n, e.Seq, e.Hash
		if e.Sum != nil {
			p.Sums, p.Summed = p.Sums+1, p.Summed+e.Sum.Requests
		}
	}
	if err := lines.Err(); err != nil {
		return p, fmt.Errorf("read audit log: %w", err)
	}
	if !ended {
		return p, ErrAuditCutOff
	}
	return p, nil
}

const hashMemberLength = len(`,"hash":""}`) + 2*sha256.Size
