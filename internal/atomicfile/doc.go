// Package atomicfile replaces a file's content so that a reader sees either the old content or the
// new one, never a part, even after a loss of power.
//
// It owns one write of one small file. It does not own locking between writers: the last rename
// wins.
//
// Enter at [Write].
//
// Invariants:
//   - The temporary file is in the target's folder, so that the rename never crosses a file system,
//     and it is gone when Write returns, with or without an error.
//   - When Write returns nil, content and name are on stable storage.
package atomicfile
