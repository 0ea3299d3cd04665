package store

import (
	"cmp"
	"errors"

	"github.com/spare-network/spare/protocol"
)

// errNoRoom is returned when what is pinned and what is being put would exceed
// the limit.
var errNoRoom = errors.New("no room for blobs")

// claim is room for a blob that is being put.
type claim struct {
	blobs   *Blobs
	bytes   int64 // guarded by the Blobs' mu
	written int64
}

// reserve sees to it that at least n bytes are reserved.
func (r *claim) reserve(n int64) error {
	if more := n - r.bytes; more > 0 { // only the owner of a claim changes it
		return r.grow(more)
	}
	return nil
}

// grow reserves n bytes more.
func (r *claim) grow(n int64) error {
	b := r.blobs
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.limit.Load()-b.pinned-b.reserved {
		return errNoRoom
	}
	b.reserved += n
	r.bytes += n
	b.signalFull()
	return nil
}

// Write counts p, and reserves what has not been.
func (r *claim) Write(p []byte) (int, error) {
	if err := r.reserve(r.written + int64(len(p))); err != nil {
		return 0, err
	}
	r.written += int64(len(p))
	return len(p), nil
}

// release gives back what no blob has taken.
func (r *claim) release() {
	r.blobs.mu.Lock()
	defer r.blobs.mu.Unlock()
	r.blobs.reserved -= r.bytes
	r.bytes = 0
}

// fullError says to people that there is no room.
func (b *Blobs) fullError() error {
	return protocol.Errorf(protocol.CodeFile, "the %d bytes for blobs are all in use", b.limit.Load()).
		WithHint("wait for tasks to end, or cancel some of them ('spare ps' lists them)")
}

// Bound changes how many bytes of blobs are kept, of what tasks write and of what
// is being put; 0 is what a store keeps of itself, 10 GiB. What is too much is
// evicted soon, but for what is in use.
func (b *Blobs) Bound(limit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit.Store(cmp.Or(limit, defaultBlobBytes))
	b.signalFull()
}

// excess returns the bytes beyond the limit. It is called with mu held.
func (b *Blobs) excess() int64 { return b.bytes + b.reserved - b.limit.Load() }

// signalFull has run evict what is too much. It is called with mu held.
func (b *Blobs) signalFull() {
	if b.excess() > 0 {
		signal(b.full)
	}
}
