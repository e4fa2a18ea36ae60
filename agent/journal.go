package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"wfm/internal/atomicfile"
	"wfm/protocol"
)

// journalSize is the capacity of each half of the journal, in entries. The server keeps a handful
// of open commands per node, so the journal remembers far longer than the server repeats any
// command.
const journalSize = 256

// entry is a command that this node has begun.
type entry struct {
	Kind      protocol.Kind `json:"kind"`
	RequestID string        `json:"request_id"`
	Interface string        `json:"interface_name,omitempty"`
	// Ack is nil from the start of the execution to its end. If it is nil when read back from disk,
	// the agent ended in between.
	Ack *protocol.Ack `json:"ack"`
	// Unsent is set until the broker has acknowledged the ACK. Entries of an older agent lack it;
	// the server has asked for those answers or given them up.
	Unsent bool `json:"unsent,omitempty"`
	// Restored is the report, still to be delivered, of how the change was taken back long after it
	// was answered as failed.
	Restored string `json:"restored,omitempty"`
}

type entryKey struct {
	kind protocol.Kind
	id   string
}

// journal remembers which request_ids were executed and how they were answered. A command that
// changes the node is written to disk before it starts, again when it ends, and once its answer is
// delivered: the server stops asking after it has given up on a command, and would otherwise never
// learn the outcome of one whose agent was restarted too late. Probes change nothing. Their answers
// are kept in memory only, so that watching a node does not wear its flash, and in a ring of their
// own, so that they do not displace answers that matter.
type journal struct {
	path string

	mu      sync.Mutex
	durable []entry // oldest first
	probes  []entry // oldest first
}

func journalPath(dir, profileID string) string {
	return filepath.Join(stateDir(dir), profileID+".json")
}

// openJournal reads the journal at path. An error is no reason to stop: the journal is then empty
// and usable, and earlier executions are forgotten.
func openJournal(path string) (*journal, error) {
	j := &journal{path: path}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return j, fmt.Errorf("read journal: %w", err)
	}
	var file journalFile
	if err := json.Unmarshal(data, &file); err != nil {
		return j, fmt.Errorf("read journal %s: %w", path, err)
	}
	j.durable = file.Commands[max(0, len(file.Commands)-journalSize):]
	return j, nil
}

type journalFile struct {
	Commands []entry `json:"commands"`
}

// Interrupted returns the commands that were cut short by the end of a former agent.
func (j *journal) Interrupted() []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []entry
	for _, e := range j.durable {
		if e.Ack == nil {
			out = append(out, e)
		}
	}
	return out
}

// Lookup returns the ACK that answered the request and reports whether there is one.
func (j *journal) Lookup(kind protocol.Kind, requestID string) (protocol.Ack, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, ring := range [][]entry{j.durable, j.probes} {
		if i := find(ring, entryKey{kind, requestID}); i >= 0 && ring[i].Ack != nil {
			return *ring[i].Ack, true
		}
	}
	return protocol.Ack{}, false
}

// Begin records on disk that a command that changes the node has started.
func (j *journal) Begin(kind protocol.Kind, requestID, iface string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.durable = appendBounded(j.durable, entry{Kind: kind, RequestID: requestID, Interface: iface})
	return j.saveLocked()
}

// Finish records the answer to a command recorded by Begin. The answer is kept in memory even if
// the disk refuses it.
func (j *journal) Finish(kind protocol.Kind, requestID string, ack protocol.Ack) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if i := find(j.durable, entryKey{kind, requestID}); i >= 0 {
		j.durable[i].Ack, j.durable[i].Unsent = &ack, true
	} else {
		j.durable = appendBounded(j.durable, entry{Kind: kind, RequestID: requestID, Ack: &ack, Unsent: true})
	}
	return j.saveLocked()
}

// Sent records that the broker has accepted the answer to a command that changed the node.
func (j *journal) Sent(kind protocol.Kind, requestID string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := find(j.durable, entryKey{kind, requestID})
	if i < 0 || !j.durable[i].Unsent {
		return nil
	}
	j.durable[i].Unsent = false
	return j.saveLocked()
}

// Unsent returns the answers that no broker has accepted yet, oldest first.
func (j *journal) Unsent() []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(j.durable), func(e entry) bool { return e.Ack == nil || !e.Unsent })
}

// Restored records the report of how a change was taken back. An empty text records that it was
// delivered.
func (j *journal) Restored(kind protocol.Kind, requestID, text string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := find(j.durable, entryKey{kind, requestID})
	if i < 0 || j.durable[i].Restored == text {
		return nil
	}
	j.durable[i].Restored = text
	return j.saveLocked()
}

// Untold returns the changes that were taken back without the server having received a report,
// oldest first.
func (j *journal) Untold() []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(j.durable), func(e entry) bool { return e.Restored == "" })
}

// Remember records the answer to a probe in memory.
func (j *journal) Remember(kind protocol.Kind, requestID string, ack protocol.Ack) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.probes = appendBounded(j.probes, entry{Kind: kind, RequestID: requestID, Ack: &ack})
}

func (j *journal) saveLocked() error {
	data, err := json.Marshal(journalFile{Commands: j.durable})
	if err != nil {
		return fmt.Errorf("encode journal: %w", err)
	}
	return atomicfile.Write(j.path, append(data, '\n'), 0o600)
}

func find(ring []entry, key entryKey) int {
	for i, e := range slices.Backward(ring) {
		if e.Kind == key.kind && e.RequestID == key.id {
			return i
		}
	}
	return -1
}

func appendBounded(ring []entry, e entry) []entry {
	if len(ring) >= journalSize {
		ring = append(ring[:0:0], ring[len(ring)-journalSize+1:]...)
	}
	return append(ring, e)
}
