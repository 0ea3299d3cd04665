package store

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spare-network/spare/protocol"
)

// openBlobs reads which blobs are there, and their sizes and times of last
// use.
func openBlobs(root *os.Root, limit int64, log *slog.Logger) (*Blobs, error) {
	b := &Blobs{
		root:    root,
		log:     log,
		full:    make(chan struct{}, 1),
		entries: make(map[protocol.Digest]*blob),
		pins:    make(map[protocol.Digest]int),
		kept:    make(map[protocol.Digest]int),
		parked:  make(map[string]*blob),
		growing: make(map[string]struct{}),
	}
	if err := b.openPartials(); err != nil {
		return nil, err
	}
	b.limit.Store(limit)
	if err := root.Mkdir(blobDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	err := fs.WalkDir(root.FS(), blobDir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		d, err := protocol.ParseDigest(entry.Name())
		if err != nil || name != blobName(d) {
			return nil // not ours
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		b.add(d, &blob{size: info.Size(), used: info.ModTime(), touched: info.ModTime()}, new(claim))
		return nil
	})
	return b, err
}

// Pin keeps the blob d, which need not be there yet, from being evicted until
// release is called. Pins count.
func (b *Blobs) Pin(d protocol.Digest) (release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.entries[d]; e != nil && b.pins[d] == 0 {
		b.pinned += e.cost()
	}
	b.pins[d]++
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		decrement(b.pins, d)
		if e := b.entries[d]; e != nil && b.pins[d] == 0 {
			b.pinned -= e.cost()
		}
		b.signalFull()
	})
}

// keep prefers digests over others when blobs are evicted, once more.
func (b *Blobs) keep(digests []protocol.Digest) {
	if len(digests) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range digests {
		b.kept[d]++
	}
}

// unkeep undoes one keep.
func (b *Blobs) unkeep(digests []protocol.Digest) {
	if len(digests) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range digests {
		decrement(b.kept, d)
	}
}

func decrement(counts map[protocol.Digest]int, d protocol.Digest) {
	if counts[d]--; counts[d] <= 0 {
		delete(counts, d)
	}
}

// run evicts until ctx is done.
func (b *Blobs) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.full:
			if err := b.evict(); err != nil {
				b.log.Warn("blobs cannot be evicted", "error", err)
			}
		}
	}
}

// evict makes room when there are too many bytes: a sixteenth of the limit, so
// that it is not called for every blob.
func (b *Blobs) evict() error {
	errs := []error{b.evictPartials()}
	for _, d := range b.victims() {
		errs = append(errs, b.remove(d))
	}
	return errors.Join(errs...)
}

// victims returns what is to be evicted now.
func (b *Blobs) victims() (digests []protocol.Digest) {
	type candidate struct {
		digest protocol.Digest
		cost   int64
		used   time.Time
		kept   bool
	}
	var candidates []candidate
	b.mu.Lock()
	excess := b.excess()
	for d, e := range b.entries {
		if excess > 0 && b.pins[d] == 0 {
			candidates = append(candidates, candidate{d, e.cost(), e.used, b.kept[d] > 0})
		}
	}
	b.mu.Unlock()

	slices.SortFunc(candidates, func(x, y candidate) int {
		if x.kept != y.kept {
			if y.kept {
				return -1
			}
			return 1
		}
		return x.used.Compare(y.used)
	})
	for excess += b.limit.Load() / 16; excess > 0 && len(candidates) > 0; candidates = candidates[1:] {
		digests = append(digests, candidates[0].digest)
		excess -= candidates[0].cost
	}
	return digests
}

// remove removes the blob d, unless it has been pinned meanwhile.
func (b *Blobs) remove(d protocol.Digest) error {
	b.files.Lock()
	defer b.files.Unlock()
	b.mu.Lock()
	pinned := b.pins[d] > 0
	if !pinned {
		b.drop(d)
	}
	b.mu.Unlock()
	if pinned {
		return nil
	}
	if err := b.root.Remove(blobName(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Drop removes the blob d, pinned or not. It is for who has read other bytes
// than d names, so that the blob can be put again.
func (b *Blobs) Drop(d protocol.Digest) {
	b.files.Lock()
	defer b.files.Unlock()
	b.mu.Lock()
	b.drop(d)
	b.mu.Unlock()
	if err := b.root.Remove(blobName(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.log.Warn("damaged blob cannot be removed", "blob", d.String(), "error", err)
	}
}

// drop forgets the blob d. It is called with mu held.
func (b *Blobs) drop(d protocol.Digest) {
	if e := b.entries[d]; e != nil {
		b.bytes -= e.cost()
		if b.pins[d] > 0 {
			b.pinned -= e.cost()
		}
		delete(b.entries, d)
	}
}
