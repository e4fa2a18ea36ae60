package store

import (
	"slices"
	"strings"
	"time"
)

var bucketFiles = []byte("files") // key, components separated by slashes → File

// File is a small value under a path, such as a certificate or its key. Values are stored in the
// clear: the data file must be readable by its owner only.
type File struct {
	Value      []byte    `json:"value"`
	ModifiedAt time.Time `json:"modified_at"`
}

// File returns the file under the key; ok is false if there is none.
func (tx *Tx) File(key string) (f File, ok bool, err error) {
	return get[File](tx, bucketFiles, key)
}

// PutFile creates or replaces the file under the key.
func (tx *Tx) PutFile(key string, value []byte) error {
	return put(tx, bucketFiles, key, File{value, tx.now.UTC()})
}

// DeleteFiles removes the file under the key and every file below it.
func (tx *Tx) DeleteFiles(key string) error {
	if err := tx.deleteRaw(bucketFiles, []byte(key)); err != nil {
		return err
	}
	return tx.deleteUnder(bucketFiles, []byte(key+"/"))
}

// Files returns the keys below the path (empty: all). With recursive it returns every file,
// otherwise the files and directories directly below.
func (tx *Tx) Files(path string, recursive bool) []string {
	prefix := ""
	if path != "" {
		prefix = path + "/"
	}
	var keys []string
	for _, k := range tx.keysUnder(bucketFiles, []byte(prefix), 0) {
		key := string(k)
		if rest, _, below := strings.Cut(key[len(prefix):], "/"); below && !recursive {
			key = prefix + rest
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
