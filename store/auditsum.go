package store

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Bounds of an [AuditSum], so that a sum stays a small record however much it stands for.
const (
	auditSumIDs   = 200
	auditSumKinds = 100
)

// auditSumOther counts the kinds for which an [AuditSum] has no room.
const auditSumOther = "other"

// auditSumPrefix precedes the login's id in the keys of sums among the open entries. Request ids,
// which are the other keys, begin differently.
const auditSumPrefix = "sum/"

// AuditSum makes an entry stand for several requests of one login. The entry's own members are those
// of the first request, except Status and Code, which are the last one's; Repeats is Requests less one.
type AuditSum struct {
	Requests int       `json:"requests"`
	Until    time.Time `json:"until"` // when the last one began
	// Kinds has how often each came: method, route, HTTP status and code, as in "DELETE /api/v1/nodes/{node_id} 404 NODE_NOT_FOUND".
	// Beyond 100 kinds the rest are counted as "other".
	Kinds map[string]int `json:"kinds"`
	IDs   []string       `json:"ids"` // what they concerned, each once, in order; at most 200
	// IDsLeftOut counts, with repetition, the ids that came after these 200.
	IDsLeftOut int `json:"ids_left_out,omitempty"`
}

// Full reports whether the sum has no room for another id.
func (s *AuditSum) Full() bool { return len(s.IDs) >= auditSumIDs }

func (s *AuditSum) add(e AuditEntry) {
	s.Requests++
	s.Until = e.At
	kind := e.Action + " " + auditResult(e)
	if _, known := s.Kinds[kind]; !known && len(s.Kinds) >= auditSumKinds {
		kind = auditSumOther
	}
	s.Kinds[kind]++
	for _, name := range slices.Sorted(maps.Keys(e.IDs)) {
		for id := range strings.FieldsSeq(e.IDs[name]) { // node_ids has many
			switch {
			case slices.Contains(s.IDs, id):
			case s.Full():
				s.IDsLeftOut++
			default:
				s.IDs = append(s.IDs, id)
			}
		}
	}
}

// Concerns reports whether the entry, or one that it sums up, names the id as what the member name
// of IDs says; node_ids are many with spaces between. A sum does not tell the names apart: ids are of
// one kind each.
func (e *AuditEntry) Concerns(name, id string) bool {
	return e.IDs[name] == id || slices.Contains(strings.Fields(e.IDs[name+"s"]), id) || (e.Sum != nil && slices.Contains(e.Sum.IDs, id))
}

// SumAudit ends e like [Tx.CloseAudit], but adds it to the sum of its login's requests instead of
// appending it. The sum is as durable as an entry: [Tx.CloseAuditSums] appends it, and so does
// [Tx.SettleAudit] after a crash.
func (tx *Tx) SumAudit(e AuditEntry) error {
	if err := tx.deleteRaw(bucketAuditOpen, []byte(e.RequestID)); err != nil {
		return err
	}
	key := auditSumPrefix + e.ActorID
	sum, ok, err := get[AuditEntry](tx, bucketAuditOpen, key)
	if err != nil {
		return err
	}
	if !ok {
		sum = e
		sum.IDs, sum.Sum = nil, &AuditSum{Kinds: make(map[string]int)}
	}
	sum.Sum.add(e)
	sum.Status, sum.Code, sum.Repeats = e.Status, e.Code, sum.Sum.Requests-1
	return put(tx, bucketAuditOpen, key, sum)
}

// HasAuditSums reports whether there are sums to close.
func (tx *Tx) HasAuditSums() bool {
	return len(tx.keysUnder(bucketAuditOpen, []byte(auditSumPrefix), 1)) > 0
}

// CloseAuditSums appends every sum to the log that due reports true for. The next request of that
// login that is summed up begins another.
func (tx *Tx) CloseAuditSums(due func(AuditEntry) bool) error {
	for _, k := range tx.keysUnder(bucketAuditOpen, []byte(auditSumPrefix), 0) {
		e, _, err := get[AuditEntry](tx, bucketAuditOpen, string(k))
		if err != nil {
			return err
		}
		if !due(e) {
			continue
		}
		if err := tx.deleteRaw(bucketAuditOpen, k); err != nil {
			return err
		}
		if err := tx.CloseAudit(e); err != nil {
			return err
		}
	}
	return nil
}
