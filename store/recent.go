package store

import "slices"

// recentKept bounds the records of a kind that are kept decoded: the texts of a full mesh of 250 nodes
// depend on 31,125 links.
const recentKept = 1 << 15

// recent keeps the records that the writer has read in decoded form, so that a node's next message
// decodes none of them. It belongs to the writer's goroutine and always agrees with the writer's
// transaction: a write drops the record it replaces, and a rollback drops all. Its records are
// shared and must not be changed.
type recent struct {
	configs     kept[Config]     // by id
	nodes       kept[Node]       // by id
	evidence    kept[Evidence]   // by node id
	wanted      kept[Wanted]     // by node id
	links       kept[Link]       // by id
	transitions kept[Transition] // the last one, by node id

	decoded int // number of records, for a test
}

// kept holds decoded records of one kind by key, and keys known to have no record.
type kept[T any] map[string]*keptRecord[T]

type keptRecord[T any] struct {
	value T
	ok    bool // the record exists
}

func newRecent() *recent {
	return &recent{
		configs: make(kept[Config]), nodes: make(kept[Node]), evidence: make(kept[Evidence]),
		wanted: make(kept[Wanted]), links: make(kept[Link]), transitions: make(kept[Transition]),
	}
}

// drop forgets the record that a write to the bucket replaces or removes.
func (r *recent) drop(bucket, key []byte) {
	switch string(bucket) {
	case string(bucketEvidence):
		delete(r.evidence, string(key))
	case string(bucketTransitions):
		delete(r.transitions, string(key[:len(key)-9])) // see seqKey
	case string(bucketNodes):
		delete(r.nodes, string(key))
	case string(bucketWanted):
		delete(r.wanted, string(key))
	case string(bucketConfigs):
		delete(r.configs, string(key))
	case string(bucketLinks):
		delete(r.links, string(key))
	}
}

// add keeps the record. If there are too many, another one makes room.
func (k kept[T]) add(key string, v T, ok bool) {
	if len(k) >= recentKept {
		for other := range k {
			delete(k, other)
			break
		}
	}
	k[key] = &keptRecord[T]{v, ok}
}

// recall returns the record under the key. In an Update it takes it from the writer's decoded
// records or adds it to them; in a View it reads it. The value is shared and must not be changed.
func recall[T any](tx *Tx, of func(*recent) kept[T], bucket []byte, key string) (v T, ok bool, err error) {
	if tx.recent == nil {
		return get[T](tx, bucket, key)
	}
	if k, known := of(tx.recent)[key]; known {
		return k.value, k.ok, nil
	}
	v, ok, err = get[T](tx, bucket, key)
	if err != nil {
		return v, ok, err
	}
	tx.recent.decoded++
	of(tx.recent).add(key, v, ok)
	return v, ok, nil
}

func recentConfigs(r *recent) kept[Config]    { return r.configs }
func recentNodes(r *recent) kept[Node]        { return r.nodes }
func recentEvidence(r *recent) kept[Evidence] { return r.evidence }
func recentWanted(r *recent) kept[Wanted]     { return r.wanted }

func recentLinks(r *recent) kept[Link] { return r.links }

// clone returns a link that shares nothing with l.
func (l Link) clone() Link {
	l.Forward.AllowedIPs, l.Reverse.AllowedIPs = slices.Clone(l.Forward.AllowedIPs), slices.Clone(l.Reverse.AllowedIPs)
	return l
}

// clone returns a node that shares nothing with n.
func (n Node) clone() Node {
	n.Tags, n.NodeSettings = slices.Clone(n.Tags), n.NodeSettings.clone()
	if n.Client != nil {
		c := *n.Client
		c.Capabilities = slices.Clone(c.Capabilities)
		n.Client = &c
	}
	return n
}

// clone returns evidence that shares nothing with e.
func (e Evidence) clone() Evidence {
	if e.TunnelRunning != nil {
		e.TunnelRunning = new(*e.TunnelRunning)
	}
	if e.IdentityConflict != nil {
		c := *e.IdentityConflict
		c.Addresses = slices.Clone(c.Addresses)
		e.IdentityConflict = &c
	}
	return e
}
