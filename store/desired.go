package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"wfm/protocol"
)

var (
	bucketConfStates   = []byte("conf_states")   // node id → ConfState
	bucketConfVersions = []byte("conf_versions") // seqKey(node id, version) → ConfVersion
	bucketConfTexts    = []byte("conf_texts")    // node id, zero byte, hex sha256 → the text, once per hash
)

// confVersionsKept bounds a node's history of configs. Older versions are removed, except those
// that are desired, staged, confirmed or being pushed.
const confVersionsKept = 100

// ConfRef names a version of a node's tunnel config, and its text by the hash. The zero value means
// none.
type ConfRef struct {
	Version int    `json:"version"`
	SHA256  string `json:"sha256"` // hex
}

// ConfState says how far a node's tunnel config has come: the version that the operator wants, the
// one frozen for delivery, and those that the node reported.
type ConfState struct {
	Desired ConfRef `json:"desired"`
	Staged  ConfRef `json:"staged"`
	// StagedFor is the tool family (see [protocol.ToolFamily]) that the staged text was checked
	// for.
	StagedFor string `json:"staged_for,omitempty"`
	// Confirmed is the config that the node reported applied, and ConfirmedSeq the Seq of the push
	// that it answered. A push up to that Seq confirms nothing any more.
	Confirmed    ConfRef   `json:"confirmed"`
	ConfirmedFor string    `json:"confirmed_for,omitempty"` // the tool family it was pushed for
	ConfirmedAt  time.Time `json:"confirmed_at,omitzero"`
	ConfirmedSeq uint64    `json:"confirmed_seq,omitempty"`
	// Reported is the config that the node last said is on its disk. If ReportedAt is zero, it
	// never said; if the hash is empty, there is none on its disk.
	Reported   ConfRef   `json:"reported"`
	ReportedAt time.Time `json:"reported_at,omitzero"`
	// HandedOut is the config in the answer to the agent's bind. Deployed agents store it; agents
	// of ours store it unless they have a config.
	// A static node has the one that a person has taken last, at HandedOutAt.
	HandedOut   ConfRef   `json:"handed_out,omitzero"`
	HandedOutAt time.Time `json:"handed_out_at,omitzero"`
}

// MayHold reports whether the node may have stored a config, for an agent that does not report it:
// it confirmed one, or got one when it was bound.
func (s ConfState) MayHold() bool {
	return s.Confirmed.Version != 0 || s.HandedOut.Version != 0 || s.Reported.SHA256 != ""
}

// SyncStatus is a [ConfState] in one word; see tunnel.Sync for the rule.
type SyncStatus string

// The sync states.
const (
	SyncLatest  SyncStatus = "latest"  // the node has the desired config, or none is desired
	SyncPending SyncStatus = "pending" // it has not confirmed the desired config yet
	SyncDrifted SyncStatus = "drifted" // it reported another text than the one it confirmed
)

// ConfVersion is one version in the history of a node's config, without its text.
type ConfVersion struct {
	ConfRef
	Author string    `json:"author"`
	At     time.Time `json:"at"`
	Source string    `json:"source"` // its origin: see [ConfEdited], [ConfMade] and [ConfRestored]
	Size   int       `json:"size"`   // of the text, in bytes
	Note   string    `json:"note,omitempty"`
	// Forced is set if an operator wants the version although it may cut the node off.
	Forced bool `json:"forced,omitempty"`
}

// ConfEdited is the Source of a version that a person wrote.
const ConfEdited = "edited"

// ConfMade is the Source of a version that the appliance made from the mesh.
const ConfMade = "made from the mesh"

// ConfRestored is the Source of a version with the text of an older one.
func ConfRestored(version int) string { return fmt.Sprintf("restored from %d", version) }

// ConfState returns the state of the node's config; the zero value if there is none.
func (tx *Tx) ConfState(nodeID string) (ConfState, error) {
	s, _, err := get[ConfState](tx, bucketConfStates, nodeID)
	return s, err
}

func (tx *Tx) putConfState(n Node, s ConfState) error {
	change := Change{Kind: ChangeApply, ConfigID: n.ConfigID, NodeID: n.ID}
	if !slices.Contains(tx.changes, change) { // saving and staging at once is one change
		tx.Emit(change)
	}
	return put(tx, bucketConfStates, n.ID, s)
}

// SetDesired makes text the node's desired config, as a new version with v's Author, Source and
// Note; SetDesired sets the rest of v. A text equal to the desired one makes no new version, but
// can make it a forced one. A version that is made from the mesh ([ConfMade]) replaces one that was
// made so before it, unless that one was staged or given to the node. Error: [ErrNodeNotFound].
func (tx *Tx) SetDesired(nodeID, text string, v ConfVersion) (ConfState, error) {
	n, err := tx.Node(nodeID)
	if err != nil {
		return ConfState{}, err
	}
	s, err := tx.ConfState(nodeID)
	if err != nil {
		return s, err
	}
	sum := sha256.Sum256([]byte(text))
	ref := ConfRef{s.Desired.Version + 1, hex.EncodeToString(sum[:])}
	if s.Desired.SHA256 == ref.SHA256 {
		if v.Forced {
			err = tx.ForceConf(nodeID, s.Desired.Version)
		}
		return s, err
	}
	if v.Source == ConfMade {
		if err := tx.dropUndelivered(nodeID, s); err != nil {
			return s, err
		}
	}
	v.ConfRef, v.At, v.Size, s.Desired = ref, tx.now.UTC(), len(text), ref
	if err := tx.putRaw(bucketConfTexts, confTextKey(nodeID, ref.SHA256), []byte(text)); err != nil {
		return s, err
	}
	if err := tx.putConfVersion(nodeID, v); err != nil {
		return s, err
	}
	if err := tx.putConfState(n, s); err != nil {
		return s, err
	}
	if n.ConfigSource == SourceText { // the mesh goes by it
		tx.reworded = append(tx.reworded, n.ConfigID)
	}
	return s, tx.pruneConfVersions(nodeID, s)
}

// dropUndelivered removes the desired version if it was made from the mesh and never left the
// appliance: each change of a large mesh makes many, which would fill the file and the histories.
func (tx *Tx) dropUndelivered(nodeID string, s ConfState) error {
	if s.Desired.Version == 0 {
		return nil
	}
	v, err := tx.ConfVersion(nodeID, s.Desired.Version)
	if err != nil || v.Source != ConfMade {
		return err
	}
	for _, ref := range []ConfRef{s.Staged, s.Confirmed, s.Reported, s.HandedOut} {
		if ref.Version == v.Version || ref.SHA256 == v.SHA256 {
			return nil
		}
	}
	underWay, err := tx.versionsUnderWay(nodeID)
	if err != nil || underWay[v.Version] {
		return err
	}
	if err := tx.deleteRaw(bucketConfVersions, confVersionKey(nodeID, v.Version)); err != nil {
		return err
	}
	for other, err := range tx.eachConfVersion(nodeID, 0) {
		if err != nil || other.SHA256 == v.SHA256 {
			return err
		}
	}
	return tx.deleteRaw(bucketConfTexts, confTextKey(nodeID, v.SHA256))
}

func (tx *Tx) putConfVersion(nodeID string, v ConfVersion) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode config version %d of %q: %w", v.Version, nodeID, err)
	}
	return tx.putRaw(bucketConfVersions, confVersionKey(nodeID, v.Version), raw)
}

// ForceConf marks the version as wanted although it may cut the node off. Error:
// [ErrConfVersionNotFound].
func (tx *Tx) ForceConf(nodeID string, version int) error {
	v, err := tx.ConfVersion(nodeID, version)
	if err != nil || v.Forced {
		return err
	}
	v.Forced = true
	return tx.putConfVersion(nodeID, v)
}

// Stage freezes a version of the node's config for delivery. family is the tool family that its
// text was checked for. Stage never goes back behind a version that is already staged. Errors:
// [ErrNodeNotFound], [ErrConfVersionNotFound].
func (tx *Tx) Stage(nodeID string, ref ConfRef, family string) (ConfState, error) {
	n, err := tx.Node(nodeID)
	if err != nil {
		return ConfState{}, err
	}
	if _, err := tx.ConfVersion(nodeID, ref.Version); err != nil {
		return ConfState{}, err
	}
	s, err := tx.ConfState(nodeID)
	if err != nil || ref.Version < s.Staged.Version || (ref == s.Staged && family == s.StagedFor) {
		return s, err
	}
	s.Staged, s.StagedFor = ref, family
	return s, tx.putConfState(n, s)
}

// ConfirmApplied records that the node reported the config of the push with the command counter
// seq, for the tool family, as applied. If a later push is already confirmed, it changes nothing
// and returns false. Error: [ErrNodeNotFound].
func (tx *Tx) ConfirmApplied(nodeID string, ref ConfRef, family string, seq uint64) (bool, error) {
	n, err := tx.Node(nodeID)
	if err != nil {
		return false, err
	}
	s, err := tx.ConfState(nodeID)
	if err != nil || seq <= s.ConfirmedSeq {
		return false, err
	}
	s.Confirmed, s.ConfirmedFor, s.ConfirmedAt, s.ConfirmedSeq = ref, family, tx.now.UTC(), seq
	// The node's earlier report is out of date. An agent that reports its config does so with the
	// answer.
	s.Reported, s.ReportedAt = ConfRef{}, time.Time{}
	return true, tx.putConfState(n, s)
}

// ReportStored records the config that the node says is on its disk; an empty hash means none. If
// the node names no version, the version of ours with that text is used. Error: [ErrNodeNotFound].
func (tx *Tx) ReportStored(nodeID string, ref ConfRef) error {
	n, err := tx.Node(nodeID)
	if err != nil {
		return err
	}
	s, err := tx.ConfState(nodeID)
	if err != nil {
		return err
	}
	for _, ours := range []ConfRef{s.Confirmed, s.Staged, s.Desired} {
		if ref.Version == 0 && ref.SHA256 == ours.SHA256 {
			ref.Version = ours.Version
		}
	}
	known := s.Reported == ref && !s.ReportedAt.IsZero()
	s.Reported, s.ReportedAt = ref, tx.now.UTC()
	if known { // not a visible change
		return put(tx, bucketConfStates, nodeID, s)
	}
	return tx.putConfState(n, s)
}

// NoteHandedOut records the config in the answer to the agent's bind, or the one that a person takes
// to a static node; the zero ref means none.
// Error: [ErrNodeNotFound].
func (tx *Tx) NoteHandedOut(nodeID string, ref ConfRef) error {
	n, err := tx.Node(nodeID)
	if err != nil {
		return err
	}
	s, err := tx.ConfState(nodeID)
	if err != nil || s.HandedOut == ref {
		return err
	}
	s.HandedOut, s.HandedOutAt = ref, tx.now.UTC()
	if ref.Version == 0 {
		s.HandedOutAt = time.Time{}
	}
	return tx.putConfState(n, s)
}

// forgetConfirmed is called when a node loses its agent: the next agent has confirmed and reported
// nothing, and late answers of the former one no longer count.
func (tx *Tx) forgetConfirmed(n Node) error {
	s, ok, err := get[ConfState](tx, bucketConfStates, n.ID)
	if err != nil || !ok {
		return err
	}
	s.Confirmed, s.ConfirmedFor, s.ConfirmedAt, s.ConfirmedSeq = ConfRef{}, "", time.Time{}, tx.lastSeq(bucketCommandsByNode, n.ID)
	s.Reported, s.ReportedAt, s.HandedOut, s.HandedOutAt = ConfRef{}, time.Time{}, ConfRef{}, time.Time{}
	return tx.putConfState(n, s)
}

// ConfVersion returns the version of the node's config, or [ErrConfVersionNotFound].
func (tx *Tx) ConfVersion(nodeID string, version int) (ConfVersion, error) {
	var v ConfVersion
	if version <= 0 {
		return v, ErrConfVersionNotFound
	}
	raw := tx.getRaw(bucketConfVersions, confVersionKey(nodeID, version))
	if raw == nil {
		return v, tx.confMissing(nodeID, func(ref ConfRef) bool { return ref.Version == version })
	}
	if err := decode(raw, &v); err != nil {
		return v, fmt.Errorf("read config version %d of %q: %w", version, nodeID, err)
	}
	return v, nil
}

// ConfVersions returns up to limit versions of the node's config, newest first, below before (0:
// from the newest).
func (tx *Tx) ConfVersions(nodeID string, before uint64, limit int) ([]ConfVersion, error) {
	return page(tx.eachConfVersion(nodeID, before), limit)
}

func (tx *Tx) eachConfVersion(nodeID string, before uint64) iter.Seq2[ConfVersion, error] {
	return walk(tx, bucketConfVersions, nodeID, before, func(_, raw []byte) (v ConfVersion, err error) {
		if err := decode(raw, &v); err != nil {
			return v, fmt.Errorf("read config history of %q: %w", nodeID, err)
		}
		return v, nil
	})
}

// ConfText returns the text with the hash. It contains the node's private key, so it may go to the
// node and to holders of the write scope, and into no log, event or error. Error:
// [ErrConfVersionNotFound].
func (tx *Tx) ConfText(nodeID, sha string) (string, error) {
	raw := tx.getRaw(bucketConfTexts, confTextKey(nodeID, sha))
	if raw == nil {
		return "", tx.confMissing(nodeID, func(ref ConfRef) bool { return ref.SHA256 == sha })
	}
	return string(raw), nil
}

// confMissing returns the error for a version or text that does not exist. Desired and staged
// configs and those in the history are never removed on their own: if one is missing, the file is
// damaged.
func (tx *Tx) confMissing(nodeID string, is func(ConfRef) bool) error {
	s, err := tx.ConfState(nodeID)
	if err != nil {
		return err
	}
	refs := []ConfRef{s.Desired, s.Staged}
	for v, err := range tx.eachConfVersion(nodeID, 0) {
		if err != nil {
			return err
		}
		refs = append(refs, v.ConfRef)
	}
	for _, ref := range refs {
		if ref.Version != 0 && is(ref) {
			return damaged(fmt.Sprintf("version %d of node %s is missing", ref.Version, nodeID))
		}
	}
	return ErrConfVersionNotFound
}

// pruneConfVersions removes old versions from the history, and the texts that no version uses.
func (tx *Tx) pruneConfVersions(nodeID string, s ConfState) error {
	if len(tx.keysUnder(bucketConfVersions, seqPrefix(nodeID), confVersionsKept+1)) <= confVersionsKept {
		return nil
	}
	all, err := Collect(tx.eachConfVersion(nodeID, 0))
	excess := len(all) - confVersionsKept
	if err != nil || excess <= 0 {
		return err
	}
	keep, err := tx.versionsUnderWay(nodeID)
	if err != nil {
		return err
	}
	for _, ref := range []ConfRef{s.Desired, s.Staged, s.Confirmed} {
		keep[ref.Version] = true
	}
	used := make(map[string]int)
	for _, v := range all {
		used[v.SHA256]++
	}
	for i := len(all) - 1; i >= 0 && excess > 0; i-- {
		v := all[i]
		if keep[v.Version] {
			continue
		}
		excess--
		if err := tx.deleteRaw(bucketConfVersions, confVersionKey(nodeID, v.Version)); err != nil {
			return err
		}
		if used[v.SHA256]--; used[v.SHA256] > 0 {
			continue
		}
		if err := tx.deleteRaw(bucketConfTexts, confTextKey(nodeID, v.SHA256)); err != nil {
			return err
		}
	}
	return nil
}

// versionsUnderWay returns the versions of the node's open pushes.
func (tx *Tx) versionsUnderWay(nodeID string) (map[int]bool, error) {
	open, err := tx.OpenCommands(nodeID)
	out := make(map[int]bool)
	for _, c := range open {
		if c.Action != protocol.ActionPush {
			continue
		}
		var p protocol.Push
		if err := decode(c.Payload, &p); err != nil {
			return nil, fmt.Errorf("read payload of %s: %w", c.RequestID, err)
		}
		out[p.ConfigVersion] = true
	}
	return out, err
}

func (tx *Tx) deleteConf(nodeID string) error {
	if err := tx.deleteUnder(bucketConfVersions, seqPrefix(nodeID)); err != nil {
		return err
	}
	if err := tx.deleteUnder(bucketConfTexts, seqPrefix(nodeID)); err != nil {
		return err
	}
	return tx.deleteRaw(bucketConfStates, []byte(nodeID))
}

func confVersionKey(nodeID string, version int) []byte {
	return seqKey(nodeID, uint64(version)) //nolint:gosec // versions count up from 1
}

func confTextKey(nodeID, sha string) []byte {
	return append(seqPrefix(nodeID), strings.ToLower(sha)...)
}
