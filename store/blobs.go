package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spare-network/spare/protocol"
)

// ErrTooLarge is returned for content beyond the size that was allowed.
var ErrTooLarge = errors.New("content is too large")

// ErrHere is returned for a blob that is here already, of which nothing was read.
var ErrHere = errors.New("the blob is here already")

const (
	blobDir = "blobs"
	// minCost is what a blob counts at least against the limit of bytes, so
	// that the limit also bounds the number of files: 163,840 in 10 GiB.
	minCost = 64 << 10
	// touchAfter is how old the time of last use on disk may become. A restart
	// knows the order of use that well.
	touchAfter = time.Minute
)

// Blobs are files named by the sha2-256 of their content. They are a cache:
// beyond the limit of bytes the blob used longest ago is evicted, though never
// a pinned one, and one that the result of a kept task needs only when nothing
// else is left. What is pinned and what is being put never exceed the limit
// together: who puts more is refused. Its methods may be called from many
// goroutines.
type Blobs struct {
	root  *os.Root
	limit atomic.Int64
	log   *slog.Logger
	full  chan struct{} // there is something to evict

	// files orders the appearance and the removal of names, so that an
	// eviction never removes a file that has just been put again. It is held
	// across those system calls and guards no memory.
	files sync.Mutex

	mu       sync.Mutex
	entries  map[protocol.Digest]*blob
	bytes    int64                   // as they count against limit
	pinned   int64                   // those of bytes that cannot be evicted
	reserved int64                   // beside bytes, for what is being put
	pins     map[protocol.Digest]int // also of blobs that are not there yet
	kept     map[protocol.Digest]int // tasks whose output it is
	parked   map[string]*blob        // partial blobs that nobody works on, by their names; counted in bytes
	growing  map[string]struct{}     // those that somebody does, whose room is reserved
}

type blob struct {
	size    int64
	used    time.Time
	touched time.Time // used, as the file says
}

func (e *blob) cost() int64 { return max(e.size, minCost) }

// Put stores what r yields up to its end and returns its digest and size. It
// returns [ErrTooLarge] when that is more than limit bytes, and a
// [*protocol.Error] with [protocol.CodeFile] when there is no room for it.
func (b *Blobs) Put(r io.Reader, limit int64) (protocol.Digest, int64, error) {
	d, n, err := b.put(r, limit, 0, func(protocol.Digest, int64) error { return nil })
	if errors.Is(err, errNoRoom) {
		return protocol.Digest{}, 0, b.fullError()
	}
	if err != nil {
		return protocol.Digest{}, 0, fmt.Errorf("store blob: %w", err)
	}
	return d, n, nil
}

// PutExpected stores what r, which comes from a peer, yields up to its end,
// when that is exactly size bytes with the digest want. Otherwise it stores
// nothing and returns a [*protocol.Error] with [protocol.CodeBlob]. It reads
// at most one byte more than size; a stream that stays open must be wrapped
// in an [io.LimitReader]. It reads nothing when the blob is here already, which
// is [ErrHere]: who sends it has not shown to have it. Nor does it when there is
// no room for it, which is [protocol.CodeRefused].
func (b *Blobs) PutExpected(want protocol.Digest, size int64, r io.Reader) error {
	if b.Has(want) {
		return ErrHere
	}
	_, _, err := b.put(r, size, size, func(d protocol.Digest, n int64) error {
		switch {
		case n != size:
			return protocol.Errorf(protocol.CodeBlob, "the blob %s ends after %d of %d bytes", want, n, size)
		case d != want:
			return protocol.Errorf(protocol.CodeBlob, "the blob %s came as other bytes, of digest %s", want, d)
		}
		return nil
	})
	if errors.Is(err, ErrTooLarge) {
		return protocol.Errorf(protocol.CodeBlob, "the blob %s came with more than %d bytes", want, size)
	}
	if errors.Is(err, errNoRoom) {
		return protocol.Errorf(protocol.CodeRefused, "no room for the blob %s of %d bytes", want, size)
	}
	if err != nil {
		return fmt.Errorf("store blob: %w", err)
	}
	return nil
}

// put stores what r yields, up to limit bytes, of which room for the expected
// ones is reserved before anything is read.
func (b *Blobs) put(r io.Reader, limit, expected int64, check func(protocol.Digest, int64) error) (d protocol.Digest, n int64, err error) {
	room := &claim{blobs: b}
	defer room.release()
	if err := room.grow(max(expected, minCost)); err != nil {
		return d, 0, err
	}
	file, temp, err := newTemp(b.root)
	if err != nil {
		return d, 0, err
	}
	defer func() {
		if err != nil {
			_ = b.root.Remove(temp) // the error that counts is returned
		}
	}()
	sum := sha256.New()
	n, err = io.Copy(io.MultiWriter(room, file, sum), io.LimitReader(r, limit))
	if err == nil && n == limit {
		err = expectEnd(r)
	}
	d = protocol.Digest(sum.Sum(nil))
	if err == nil {
		err = check(d, n)
	}
	if err == nil {
		err = file.Sync()
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = b.adopt(temp, d, n, room)
	}
	return d, n, diskError(err, file.Name())
}

// diskError makes a failure of the file at path, such as a full disk, one that
// people can read, and leaves a failure of what is copied into it alone.
func diskError(err error, path string) error {
	var e *os.PathError
	if errors.As(err, &e) && e.Path == path {
		return fileError("write", path, err)
	}
	return err
}

// expectEnd returns [ErrTooLarge] when r yields more.
func expectEnd(r io.Reader) error {
	var one [1]byte
	switch _, err := io.ReadFull(r, one[:]); {
	case err == nil:
		return ErrTooLarge
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

// adopt makes a synced temporary file, for which room was reserved, the blob d.
func (b *Blobs) adopt(temp string, d protocol.Digest, size int64, room *claim) error {
	if err := b.rename(temp, d, size, room); err != nil {
		return err
	}
	return syncDir(b.root, path.Dir(blobName(d)))
}

// rename replaces the file that is there already, which may have been damaged
// since it was put.
func (b *Blobs) rename(temp string, d protocol.Digest, size int64, room *claim) error {
	b.files.Lock()
	defer b.files.Unlock()
	if err := renameTemp(b.root, temp, blobName(d)); err != nil {
		return err
	}
	now := time.Now()
	b.add(d, &blob{size: size, used: now, touched: now}, room)
	return nil
}

// add makes e the blob d. The room that was reserved for it is its own now.
func (b *Blobs) add(d protocol.Digest, e *blob, room *claim) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(d)
	b.entries[d] = e
	b.bytes += e.cost()
	if b.pins[d] > 0 {
		b.pinned += e.cost()
	}
	b.reserved -= room.bytes
	room.bytes = 0
	b.signalFull()
}

// Open opens the blob d for reading and returns its size in bytes. It returns
// a [*protocol.Error] with [protocol.CodeBlob] when the blob is not there.
func (b *Blobs) Open(d protocol.Digest) (*os.File, int64, error) {
	now := time.Now()
	b.mu.Lock()
	e := b.entries[d]
	var touch bool
	var size int64
	if e != nil {
		size = e.size
		e.used = now
		if touch = now.Sub(e.touched) > touchAfter; touch {
			e.touched = now
		}
	}
	b.mu.Unlock()
	if e == nil {
		return nil, 0, missing(d)
	}
	name := blobName(d)
	if touch {
		_ = b.root.Chtimes(name, time.Time{}, now) // opening it tells what is wrong
	}
	file, err := b.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, b.forgetHarmed(d, size)
	}
	if err != nil {
		return nil, 0, protocol.Errorf(protocol.CodeBlob, "the blob %s cannot be opened: %v", d, err)
	}
	info, err := file.Stat()
	if err == nil && info.Size() == size {
		return file, size, nil
	}
	_ = file.Close() // nothing was read
	return nil, 0, b.forgetHarmed(d, size)
}

func missing(d protocol.Digest) error {
	return protocol.Errorf(protocol.CodeBlob, "the blob %s is not here", d)
}

// forgetHarmed drops a blob whose file somebody else removed or changed, so
// that it can be put again.
func (b *Blobs) forgetHarmed(d protocol.Digest, size int64) error {
	b.files.Lock()
	defer b.files.Unlock()
	name := blobName(d)
	if info, err := b.root.Stat(name); err == nil && info.Size() == size {
		return missing(d) // it has been put again already
	}
	b.mu.Lock()
	b.drop(d)
	b.mu.Unlock()
	if err := b.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileError("remove", filepath.Join(b.root.Name(), filepath.FromSlash(name)), err)
	}
	return missing(d)
}

// Has reports whether the blob d is there.
func (b *Blobs) Has(d protocol.Digest) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.entries[d] != nil
}

// Size returns how many bytes the blob d has, and false when it is not there.
func (b *Blobs) Size(d protocol.Digest) (size int64, there bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[d]
	if e == nil {
		return 0, false
	}
	return e.size, true
}

func blobName(d protocol.Digest) string {
	hex := d.String()
	return path.Join(blobDir, hex[:2], hex)
}

// Usage returns how many blobs there are and how many bytes they hold.
func (b *Blobs) Usage() (count int, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, blob := range b.entries {
		bytes += blob.size
	}
	return len(b.entries), bytes
}
