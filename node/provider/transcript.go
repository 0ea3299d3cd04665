package provider

import (
	"bytes"
	"io"
	"sync"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// transcript is all that a guest has written, and its files, as the frames of
// an output stream: one goroutine appends, others read along. It is dropped
// once by who holds it, and lives on under those who read.
type transcript struct {
	blobs Blobs

	mu      sync.Mutex
	spool   *store.Spool   // nil: blob has it
	blob    *protocol.Blob // what it was kept as, or nil
	dropped bool
	users   int // of spool: the holder until it is kept, and readers
	size    int64
	whole   bool
	grown   chan struct{} // closed when there is more, or an end; nil: nobody waits
}

func newTranscript(blobs Blobs, max int64) *transcript {
	return &transcript{blobs: blobs, spool: blobs.NewSpool(max), users: 1}
}

// keptTranscript is one of an earlier run.
func keptTranscript(blobs Blobs, b *protocol.Blob) *transcript {
	return &transcript{blobs: blobs, blob: b, size: int64(b.Size), whole: true}
}

// Write appends frames.
func (t *transcript) Write(p []byte) (int, error) {
	n, err := t.spool.Write(p) // the holder, who alone writes, is a user
	t.grow(int64(n), false)
	return n, err
}

// end says that nothing more is to come.
func (t *transcript) end() { t.grow(0, true) }

func (t *transcript) grow(n int64, whole bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.size += n
	t.whole = whole
	if t.grown != nil {
		close(t.grown)
		t.grown = nil
	}
}

// now returns how much there is, whether that is all, and else what is closed
// when there is more.
func (t *transcript) now() (size int64, whole bool, grown <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.whole && t.grown == nil {
		t.grown = make(chan struct{})
	}
	return t.size, t.whole, t.grown
}

// open returns what the bytes can be read from until done is called.
func (t *transcript) open() (r io.ReaderAt, done func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.spool != nil:
		t.users++
		return t.spool, t.release, nil
	case t.blob == nil:
		return nil, nil, protocol.Errorf(protocol.CodeNotFound, "the output is not kept any more")
	case t.blob.IsInline():
		return bytes.NewReader(t.blob.Inline), func() {}, nil
	}
	f, err := openBlob(t.blobs, t.blob)
	if err != nil {
		return nil, nil, err
	}
	return f, func() { _ = f.Close() }, nil // opened for reading
}

// release ends one use of the spool.
func (t *transcript) release() {
	t.mu.Lock()
	var last *store.Spool
	if t.users--; t.users == 0 {
		last, t.spool = t.spool, nil
	}
	t.mu.Unlock()
	if last != nil {
		last.Discard()
	}
}

// keep makes a blob of a whole transcript. It returns nil when that was dropped
// before. One goroutine calls it, once.
func (t *transcript) keep() (*protocol.Blob, error) {
	t.mu.Lock()
	if t.dropped {
		t.mu.Unlock()
		return nil, nil
	}
	t.users++
	spool := t.spool
	t.mu.Unlock()
	defer t.release()
	b, err := spool.Finish()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dropped {
		return nil, nil
	}
	t.blob = b
	t.users-- // the holder needs it no more
	return b, nil
}

// drop gives up what is held.
func (t *transcript) drop() {
	t.mu.Lock()
	holds := !t.dropped && t.blob == nil
	t.dropped = true
	t.mu.Unlock()
	if holds {
		t.release()
	}
}
