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
	bucketAuditOpen = []byte("audit_open") // request id → AuditEntry whose result is not known yet
)

// Bounds of the audit log: the oldest entries beyond AuditMost make room, and those beyond auditKept
// when they are older than AuditTime. Package web bounds how fast entries are added, so that at most
// AuditMost come in AuditTime and no real entry is pushed out.
const (
	auditKept = 20_000
	AuditMost = 100_000
	AuditTime = 30 * 24 * time.Hour
)

// AuditInterrupted is the code of an entry whose request was under way when the process ended: what
// it did may or may not have been done.
const AuditInterrupted = "INTERRUPTED"

// AuditEntry is one thing somebody did or tried: who, what, from where and how it ended. It never
// holds a body or a secret.
//
// Entries form a chain. An entry's line is its JSON object with the hash as last member; the hash
// is the SHA-256 of that line without the member, and so covers Previous, the hash of the entry
// before. The oldest entry that is kept still names the one before it, which was pruned.
type AuditEntry struct {
	Seq   uint64    `json:"seq"` // from 1, in the order in which things ended
	At    time.Time `json:"at"`  // when it began
	Actor string    `json:"actor"`
	// ActorID is that of the session or API token, if there was one: a name may be given again.
	ActorID string `json:"actor_id,omitempty"`
	Action  string `json:"action"` // method and route
	// IDs are those of the path, and of what was made.
	IDs        map[string]string `json:"ids,omitempty"`
	RemoteAddr string            `json:"remote_addr"`
	RequestID  string            `json:"request_id"`
	Status     int               `json:"status"`         // HTTP status; 0 when interrupted
	Code       string            `json:"code,omitempty"` // of an error
	// Repeats counts what else like it (of the same actor, with the same code, or the same action when
	// there is none) came since the last such entry and was not written down.
	Repeats int `json:"repeats,omitempty"`
	// Sum is set in an entry that stands for several requests of the login.
	Sum      *AuditSum `json:"sum,omitempty"`
	Previous string    `json:"previous"` // empty for the first
	Hash     string    `json:"hash,omitempty"`
}

// OpenAudit writes down that e begins, before anything is done. An entry that is not closed by
// [Tx.CloseAudit] or [Tx.SumAudit] shows what the end of the process interrupted.
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

// pruneAudit makes room after the entry last was added. Two at a time are enough to shrink the log
// again, once what a flood left has become old.
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

// SettleAudit closes what the last run left open: sums as they are, other entries as interrupted.
func (tx *Tx) SettleAudit() error {
	for _, k := range tx.keysUnder(bucketAuditOpen, nil, 0) {
		e, _, err := get[AuditEntry](tx, bucketAuditOpen, string(k))
		if err != nil {
			return err
		}
		if e.Sum == nil {
			e.Status, e.Code = 0, AuditInterrupted
		} else if err := tx.deleteRaw(bucketAuditOpen, k); err != nil { // a sum is not there by its request id
			return err
		}
		if err := tx.CloseAudit(e); err != nil {
			return err
		}
	}
	return nil
}

// Audit returns up to limit entries that match, newest first, older than the seq before (0: from
// the newest).
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

// auditResult is how the entry's request ended, for the kinds of a sum.
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

// sealed is the line of e, with its hash.
func sealed(e AuditEntry) ([]byte, error) {
	content, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode audit entry: %w", err)
	}
	return append(content[:len(content)-1], hashMember(content)...), nil
}

// hashMember is the end of the line whose content without it is given.
func hashMember(content []byte) string {
	sum := sha256.Sum256(content)
	return `,"hash":"` + hex.EncodeToString(sum[:]) + `"}`
}

// AuditEnd is the last line of an export. Without it nobody could tell an export that broke off
// between two lines, or that never began, from a whole one.
type AuditEnd struct {
	Entries int    `json:"entries"`
	Head    string `json:"head"` // hash of the last; empty when there is none
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

// Line is what ends the export, without a line feed.
func (e AuditEnd) Line() []byte {
	line, _ := json.Marshal(map[string]AuditEnd{"end": e}) // of a number and a string
	return line
}

// What VerifyAudit finds.
var (
	// ErrAuditBroken is for a log in which a line was changed, left out or put in.
	ErrAuditBroken = errors.New("the audit log was changed")
	// ErrNoAudit is for something else than an exported log: its first line is no entry.
	ErrNoAudit = errors.New("this does not begin as an exported audit log does")
	// ErrAuditCutOff is for an export without its closing line.
	ErrAuditCutOff = errors.New("the export is not whole: its closing line is missing")
)

// AuditProof is what an intact log says of itself. Whoever kept the Head of a former export finds
// it as the hash of the same entry in a later one; only so can the loss of the newest entries, or a
// chain that was made anew, be noticed.
type AuditProof struct {
	Entries     int
	Sums        int    // of these, those that stand for several requests
	Summed      int    // requests that the sums stand for
	First, Last uint64 // seq
	Previous    string // hash of the entry before the first; empty when that is the very first
	Head        string // hash of the last
}

// VerifyAudit reads an exported log, a line an entry and a closing one, and checks every hash and
// that nothing is missing. Errors: [ErrAuditBroken], with the line, also [ErrNoAudit], and
// [ErrAuditCutOff].
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
			return p, fmt.Errorf("line %d stands after the closing line: %w", n, ErrAuditBroken)
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
