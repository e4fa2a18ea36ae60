package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The layout of a bbolt file, version 2, in the machine's byte order. The file is read here with
// bounds checks and plain reads. bbolt's own check follows page numbers of a damaged page through
// the mapped file, on a goroutine of its own, where a fault ends the process.
const (
	pageHeader   = 16 // id 8, flags 2, count 2, overflow 4
	pageElement  = 16 // branch: pos 4, ksize 4, page 8; leaf: flags 4, pos 4, ksize 4, vsize 4
	bucketHeader = 16 // root page 8, sequence 8
	metaLength   = 64 // magic, version, page size and flags 4 each; root 16; freelist, pages, txid and checksum 8 each

	flagBranch, flagLeaf, flagFreelist = 0x01, 0x02, 0x10

	metaMagic, metaVersion = 0xED0CDAED, 2

	leafBucket = 1 // flag of a leaf element that holds a bucket
)

// errPages wraps faults of pages.
var errPages = errors.New("damaged page")

func pageError(page uint64, format string, args ...any) error {
	return fmt.Errorf("%w %d: %s", errPages, page, fmt.Sprintf(format, args...))
}

// pageMeta is a meta page: where a transaction's pages begin.
type pageMeta struct {
	raw      [metaLength]byte
	off      int64 // its place in the file
	pageSize int64
	root     uint64
	freelist uint64
	pages    uint64 // high-water mark: every page in use is below it
	txid     uint64
}

// readMeta reads the meta page at off; ok is false if there is none or its checksum is wrong.
func readMeta(r io.ReaderAt, off int64) (m pageMeta, ok bool, err error) {
	m.off = off
	if _, err := r.ReadAt(m.raw[:], off+pageHeader); err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return m, false, err
	}
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(m.raw[at:]) }
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(m.raw[at:]) }
	sum := fnv.New64a()
	_, _ = sum.Write(m.raw[:metaLength-8])
	m.pageSize, m.root, m.freelist, m.pages, m.txid = int64(u32(8)), u64(16), u64(32), u64(40), u64(48)
	sound := u32(0) == metaMagic && u32(4) == metaVersion && sum.Sum64() == u64(56) &&
		m.pageSize >= 512 && m.pageSize <= 16<<20 && m.pageSize&(m.pageSize-1) == 0
	return m, sound, nil
}

// readMetas returns the sound meta pages, newest first; an intact file has two.
func readMetas(r io.ReaderAt) (metas []pageMeta, err error) {
	first, ok, err := readMeta(r, 0)
	if err != nil {
		return nil, err
	}
	sizes := []int64{first.pageSize}
	if ok {
		metas = append(metas, first)
	} else {
		for size := int64(1 << 10); size <= 16<<20; size *= 2 { // the first does not say where the second is
			sizes = append(sizes, size)
		}
		sizes = sizes[1:]
	}
	for _, size := range sizes {
		second, ok, err := readMeta(r, size)
		if err != nil {
			return nil, err
		}
		if ok && second.pageSize == size {
			metas = append(metas, second)
			break
		}
	}
	if len(metas) == 2 && metas[1].txid > metas[0].txid {
		metas[0], metas[1] = metas[1], metas[0]
	}
	return metas, nil
}

// pageWalk checks the pages of one transaction. The pages must not change meanwhile.
type pageWalk struct {
	r    io.ReaderAt
	meta pageMeta
	// record is called for each key of each bucket. Its error is reported as a fault of the file.
	record func(bucket string, key, value []byte) error
	// fault is called for each fault; it returns false to end the walk.
	fault func(error) bool

	used, free []uint64 // bit sets of pages
}

// errWalkEnded ends a walk early.
var errWalkEnded = errors.New("walk ended")

func (w *pageWalk) tell(err error) error {
	if !w.fault(err) {
		return errWalkEnded
	}
	return nil
}

// run walks all pages: the free list, then every bucket.
func (w *pageWalk) run() {
	if w.begin() != nil {
		return
	}
	if w.tree(w.meta.root, "", nil, nil, 0) != nil {
		return
	}
	for p := uint64(2); p < w.meta.pages; p++ {
		if !has(w.used, p) && !has(w.free, p) {
			if w.tell(pageError(p, "neither in use nor free")) != nil {
				return
			}
		}
	}
}

// begin reads the free list, which bbolt does when it opens the file.
func (w *pageWalk) begin() error {
	w.used, w.free = make([]uint64, w.meta.pages/64+1), make([]uint64, w.meta.pages/64+1)
	if w.meta.root < 2 || w.meta.root >= w.meta.pages {
		return errors.Join(w.tell(pageError(w.meta.root, "the root lies outside the file")), errWalkEnded)
	}
	raw, count, err := w.page(w.meta.freelist, flagFreelist)
	if err != nil {
		return w.tell(err)
	}
	ids := raw[pageHeader:]
	if count == 0xFFFF { // the header has no room for the number
		count = int(min(binary.NativeEndian.Uint64(ids), w.meta.pages)) //nolint:gosec // bounded by the file's size
		ids = ids[8:]
	}
	if count*8 > len(ids) {
		return w.tell(pageError(w.meta.freelist, "the free list is cut off"))
	}
	for i := range count {
		id := binary.NativeEndian.Uint64(ids[i*8:])
		if id < 2 || id >= w.meta.pages || has(w.free, id) || has(w.used, id) {
			return w.tell(pageError(w.meta.freelist, "the free list names page %d, which cannot be free", id))
		}
		set(w.free, id)
	}
	return nil
}

// page reads a page that must have one of the flags, and marks it used.
func (w *pageWalk) page(id uint64, flags ...uint16) (raw []byte, count int, err error) {
	if id < 2 || id >= w.meta.pages {
		return nil, 0, pageError(id, "a reference leads out of the file")
	}
	var header [pageHeader]byte
	if err := w.read(header[:], id); err != nil {
		return nil, 0, err
	}
	flag := binary.NativeEndian.Uint16(header[8:])
	count = int(binary.NativeEndian.Uint16(header[10:]))
	overflow := uint64(binary.NativeEndian.Uint32(header[12:]))
	switch self := binary.NativeEndian.Uint64(header[:]); {
	case self != id:
		return nil, 0, pageError(id, "it says that it is page %d", self)
	case flag != flags[0] && flag != flags[len(flags)-1]:
		return nil, 0, pageError(id, "it is of another kind (%#x)", flag)
	case overflow >= w.meta.pages-id:
		return nil, 0, pageError(id, "it reaches beyond the end of the file")
	}
	for i := id; i <= id+overflow; i++ {
		if has(w.used, i) || has(w.free, i) {
			return nil, 0, pageError(i, "it is in use twice, or free")
		}
		set(w.used, i)
	}
	raw = make([]byte, (int64(overflow)+1)*w.meta.pageSize) //nolint:gosec // bounded by the file's size
	return raw, count, w.read(raw, id)
}

func (w *pageWalk) read(b []byte, page uint64) error {
	if _, err := w.r.ReadAt(b, int64(page)*w.meta.pageSize); err != nil { //nolint:gosec // bounded by the file's size
		return pageError(page, "it cannot be read: %v", err)
	}
	return nil
}

// maxDepth is more than the tree of any file that fits a disk.
const maxDepth = 64

// tree walks a bucket's pages, beginning at page id. Its keys must lie in [from, to); nil is
// unbounded.
func (w *pageWalk) tree(id uint64, bucket string, from, to []byte, depth int) error {
	raw, count, err := w.page(id, flagBranch, flagLeaf)
	if err == nil && depth > maxDepth {
		err = pageError(id, "the tree is too deep")
	}
	if err != nil {
		return w.tell(err)
	}
	if binary.NativeEndian.Uint16(raw[8:]) == flagLeaf {
		return w.leaf(id, raw, count, bucket, from, to)
	}
	if count == 0 {
		return w.tell(pageError(id, "it leads nowhere"))
	}
	keys, children := make([][]byte, count), make([]uint64, count)
	for i := range count {
		at := pageHeader + i*pageElement
		if at+pageElement > len(raw) {
			return w.tell(pageError(id, "entry %d lies outside", i))
		}
		pos, length := binary.NativeEndian.Uint32(raw[at:]), binary.NativeEndian.Uint32(raw[at+4:])
		if keys[i] = part(raw, at, pos, length); keys[i] == nil {
			return w.tell(pageError(id, "the key of entry %d lies outside", i))
		}
		if !ordered(keys, i, from, to) {
			return w.tell(pageError(id, "entry %d is out of order", i))
		}
		children[i] = binary.NativeEndian.Uint64(raw[at+8:])
	}
	for i, child := range children {
		end := to
		if i+1 < count {
			end = keys[i+1]
		}
		if err := w.tree(child, bucket, keys[i], end, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *pageWalk) leaf(id uint64, raw []byte, count int, bucket string, from, to []byte) error {
	keys := make([][]byte, count)
	for i := range count {
		at := pageHeader + i*pageElement
		if at+pageElement > len(raw) {
			return w.tell(pageError(id, "entry %d lies outside", i))
		}
		u32 := func(n int) uint32 { return binary.NativeEndian.Uint32(raw[at+n:]) }
		flags, pos, ksize, vsize := u32(0), u32(4), u32(8), u32(12)
		both := part(raw, at, pos, ksize+vsize)
		if both == nil || ksize > ksize+vsize {
			return w.tell(pageError(id, "entry %d lies outside", i))
		}
		key, value := both[:ksize], both[ksize:]
		if keys[i] = key; !ordered(keys, i, from, to) {
			return w.tell(pageError(id, "entry %d is out of order", i))
		}
		if err := w.entry(id, bucket, flags, key, value); err != nil {
			return err
		}
	}
	return nil
}

// entry checks one entry of a leaf: a bucket at the top level, a record in a bucket.
func (w *pageWalk) entry(id uint64, bucket string, flags uint32, key, value []byte) error {
	switch {
	case (flags == leafBucket) != (bucket == ""):
		return w.tell(pageError(id, "bucket and record are confused"))
	case bucket != "":
		if err := w.record(bucket, key, value); err != nil {
			return w.tell(fmt.Errorf("%w %d: %w", errPages, id, err))
		}
		return nil
	case len(value) < bucketHeader:
		return w.tell(pageError(id, "the head of bucket %q is cut off", key))
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return w.tree(root, string(key), nil, nil, 0)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader || binary.NativeEndian.Uint16(inline[8:]) != flagLeaf {
		return w.tell(pageError(id, "bucket %q is no bucket", key))
	}
	return w.leaf(id, inline, int(binary.NativeEndian.Uint16(inline[10:])), string(key), nil, nil)
}

// part returns the bytes that begin pos bytes after at; nil if they are not within raw.
func part(raw []byte, at int, pos, length uint32) []byte {
	from := int64(at) + int64(pos)
	if end := from + int64(length); end <= int64(len(raw)) {
		return raw[from:end:end]
	}
	return nil
}

// ordered reports whether key i follows the one before it and lies in [from, to).
func ordered(keys [][]byte, i int, from, to []byte) bool {
	if i > 0 && bytes.Compare(keys[i-1], keys[i]) >= 0 {
		return false
	}
	return bytes.Compare(keys[i], from) >= 0 && (to == nil || bytes.Compare(keys[i], to) < 0)
}

func has(bits []uint64, page uint64) bool { return bits[page/64]&(1<<(page%64)) != 0 }
func set(bits []uint64, page uint64)      { bits[page/64] |= 1 << (page % 64) }
