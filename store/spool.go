package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"

	"github.com/spare-network/spare/protocol"
)

// errSpoolDone is returned by the writer's methods of a Spool that is finished
// or discarded.
var errSpoolDone = errors.New("spool is finished")

// Spool takes bytes once, in order, while others read what is there already:
// one goroutine writes and finishes it, any number reads. Up to 64 KiB stay in
// memory; more go to a temporary file, whose room among the blobs is reserved
// as it grows. Whoever makes a Spool discards it.
type Spool struct {
	blobs *Blobs
	limit int64

	// Only the writer uses these.
	temp string // name of file, until it is a blob
	room claim  // for file, until it is a blob
	done bool

	mu   sync.Mutex
	buf  []byte    // everything, while file is nil
	file *os.File  // everything, else nil
	sum  hash.Hash // of everything, when there is a file
	size int64
}

// NewSpool returns an empty Spool for at most limit bytes.
func (b *Blobs) NewSpool(limit int64) *Spool {
	return &Spool{blobs: b, limit: limit, room: claim{blobs: b}}
}

// Write appends p. When there would be more bytes than the limit it appends
// nothing and returns [ErrTooLarge]; when there is no room among the blobs,
// nothing and a [*protocol.Error] with [protocol.CodeFile].
func (s *Spool) Write(p []byte) (int, error) {
	if s.done {
		return 0, errSpoolDone
	}
	size := s.size + int64(len(p)) // only the writer changes it
	if size > s.limit {
		return 0, ErrTooLarge
	}
	if s.file == nil && size <= protocol.MaxInline {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.buf = append(s.buf, p...)
		s.size = size
		return len(p), nil
	}
	if err := s.spill(); err != nil {
		return 0, err
	}
	if _, err := s.room.Write(p); err != nil {
		return 0, s.blobs.fullError()
	}
	if _, err := s.file.WriteAt(p, s.size); err != nil {
		return 0, fmt.Errorf("spool: %w", diskError(err, s.file.Name()))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum.Write(p)
	s.size = size
	return len(p), nil
}

// spill moves what is in memory to a file.
func (s *Spool) spill() error {
	if s.file != nil {
		return nil
	}
	if s.room.reserve(minCost) != nil {
		return s.blobs.fullError()
	}
	s.room.written = s.size
	file, temp, err := newTemp(s.blobs.root)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if _, err := file.Write(s.buf); err != nil {
		_ = file.Close() // the write's error counts
		_ = s.blobs.root.Remove(temp)
		return fmt.Errorf("spool: %w", diskError(err, file.Name()))
	}
	sum := sha256.New()
	sum.Write(s.buf)
	s.temp = temp
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file, s.sum, s.buf = file, sum, nil
	return nil
}

// ReadAt reads bytes that have been written, as an [io.ReaderAt]: at their end
// it returns [io.EOF], and more may come later.
func (s *Spool) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("spool: negative offset")
	}
	s.mu.Lock()
	buf, file, size := s.buf, s.file, s.size
	s.mu.Unlock()
	if off >= size {
		return 0, io.EOF
	}
	short := size-off < int64(len(p))
	if short {
		p = p[:size-off]
	}
	n := len(p)
	if file == nil {
		copy(p, buf[off:])
	} else {
		var err error
		if n, err = file.ReadAt(p, off); err != nil {
			return n, fmt.Errorf("spool: %w", err)
		}
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

// Len returns how many bytes have been written.
func (s *Spool) Len() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// digest returns the sha2-256 of the bytes written so far.
func (s *Spool) digest() protocol.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sum == nil {
		return protocol.DigestOf(s.buf)
	}
	return protocol.Digest(s.sum.Sum(nil))
}

// Finish ends the writing and returns the content: inline when it is at most
// [protocol.MaxInline] bytes, else as the name of a stored blob. It can be read
// through the Spool until Discard.
func (s *Spool) Finish() (*protocol.Blob, error) {
	if s.done {
		return nil, errSpoolDone
	}
	s.done = true
	if s.file == nil {
		return protocol.NewBlob(s.buf), nil
	}
	if err := s.file.Sync(); err != nil {
		return nil, fmt.Errorf("finish spool: %w", err)
	}
	d := s.digest()
	if err := s.blobs.adopt(s.temp, d, s.size, &s.room); err != nil {
		return nil, fmt.Errorf("finish spool: %w", err)
	}
	s.temp = ""
	return &protocol.Blob{Digest: d[:], Size: uint64(s.size)}, nil
}

// Discard frees what the Spool holds; a blob that Finish returned stays. It is
// the writer's last call, and readers get an error or nothing from then on.
func (s *Spool) Discard() {
	s.done = true
	s.room.release()
	s.mu.Lock()
	file := s.file
	s.buf, s.size = nil, 0
	s.mu.Unlock()
	if file == nil {
		return
	}
	_ = file.Close() // what counts was synced by Finish
	if s.temp != "" {
		_ = s.blobs.root.Remove(s.temp) // or the next start does
		s.temp = ""
	}
}
