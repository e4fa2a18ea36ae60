package store

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Bounds of an [AuditSum], so that it stays a small record however many requests it stands for.
const (
	auditSumIDs   = 200
	auditSumKinds = 100
)

// auditSumOther counts the kinds that an [AuditSum] has no room for.
const auditSumOther = "other"

// auditSumPrefix precedes the login's id in the keys of sums among the open entries. The other
// keys, request ids, begin differently.
const auditSumPrefix = "sum/"

// AuditSum makes an entry stand for several requests of one login. The entry's own members are
// those of the first request, except Status and Code, which are those of the last one. Repeats is
// Requests less one.
type AuditSum struct {
	Requests int       `json:"requests"`
	Until    time.Time `json:"until"` // when the last one began
	// Kinds counts each kind of request: method, route, HTTP status and code, as in "DELETE
	// /api/v1/nodes/{node_id} 404 NODE_NOT_FOUND". Beyond 100 kinds, the rest are counted as
	// "other".
	Kinds map[string]int `json:"kinds"`
	IDs   []string       `json:"ids"` // the objects concerned, each once, in order; at most 200
	// IDsLeftOut counts, with repetition, the ids beyond those 200.
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
		for id := range strings.FieldsSeq(e.IDs[name]) { // node_ids holds many
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

// Concerns reports whether the entry, or a request that it sums up, names the id in the member name
// of IDs. The member node_ids holds many ids, separated by spaces. A sum does not keep the names
// apart: no two kinds of object share an id.
func (e *AuditEntry) Concerns(name, id string) bool {
	return e.IDs[name] == id || slices.Contains(strings.Fields(e.IDs[name+"s"]), id) || (e.Sum != nil && slices.Contains(e.Sum.IDs, id))
}

// SumAudit ends e like [Tx.CloseAudit], but adds it to the sum of its login's requests instead of
// appending it. The sum is as durable as an entry: [Tx.CloseAuditSums] appends it, or, after a
// crash, [Tx.SettleAudit].
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

// HasAuditSums reports whether there are open sums.
func (tx *Tx) HasAuditSums() bool {
	return len(tx.keysUnder(bucketAuditOpen, []byte(auditSumPrefix), 1)) > 0
}

// CloseAuditSums appends every sum for which due returns true to the log. The login's next request
// that is summed up begins another sum.
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
