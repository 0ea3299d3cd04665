package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spare-network/spare/protocol"
)

const (
	partialDir = "partial"
	// partialAge is how long a partial blob that nobody works on is kept.
	partialAge = 24 * time.Hour
)

// ErrGrowing is returned for a partial blob that somebody works on already.
var ErrGrowing = errors.New("this blob is coming already")

// Partial is a blob that comes in pieces, in any order. Its room counts as if
// it were whole. What has come outlasts a restart of the node, though not
// safely: who goes on with it checks each piece. Reading and writing may be done
// by many goroutines, the rest by the one that has it.
type Partial struct {
	blobs  *Blobs
	digest protocol.Digest
	size   int64
	name   string
	file   *os.File
	room   claim
	fresh  bool
}

// partialName keeps what has come for one owner from being taken for what
// another may read.
func partialName(d protocol.Digest, owner string) string {
	sum := sha256.Sum256([]byte(owner))
	return path.Join(partialDir, d.String()+"-"+hex.EncodeToString(sum[:8]))
}

// Partial opens the partial blob d of size bytes, which comes for an owner, or
// begins it. It is a [*protocol.Error] with [protocol.CodeRefused] when there is
// no room for it, and [ErrGrowing] when it is open already. Whoever has opened it
// ends with one of Finish, Park and Discard.
func (b *Blobs) Partial(d protocol.Digest, size int64, owner string) (*Partial, error) {
	p := &Partial{blobs: b, digest: d, size: size, name: partialName(d, owner), room: claim{blobs: b}}
	b.files.Lock()
	defer b.files.Unlock()
	if err := p.begin(); err != nil {
		return nil, err
	}
	if err := p.open(); err != nil {
		p.Discard()
		return nil, fmt.Errorf("store partial blob: %w", err)
	}
	return p, nil
}

func (p *Partial) open() (err error) {
	if p.file, err = p.blobs.root.OpenFile(p.name, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	p.fresh = info.Size() == 0
	return p.file.Truncate(p.size)
}

// begin reserves the room of p, which it has perhaps already.
func (p *Partial) begin() error {
	b := p.blobs
	b.mu.Lock()
	if _, open := b.growing[p.name]; open {
		b.mu.Unlock()
		return ErrGrowing
	}
	b.growing[p.name] = struct{}{}
	old := b.parked[p.name]
	b.unpark(p.name)
	b.mu.Unlock()
	if err := p.room.grow(max(p.size, minCost)); err != nil {
		b.mu.Lock()
		delete(b.growing, p.name)
		if old != nil {
			b.park(p.name, old)
		}
		b.mu.Unlock()
		return protocol.Errorf(protocol.CodeRefused, "no room for the blob %s of %d bytes", p.digest, p.size)
	}
	return nil
}

// park counts a partial blob that nobody works on. It is called with mu held,
// as is unpark.
func (b *Blobs) park(name string, e *blob) {
	b.parked[name] = e
	b.bytes += e.cost()
	signal(b.full) // there may be old ones
}

func (b *Blobs) unpark(name string) {
	if e := b.parked[name]; e != nil {
		b.bytes -= e.cost()
		delete(b.parked, name)
	}
}

// Fresh reports whether nothing has come before.
func (p *Partial) Fresh() bool { return p.fresh }

// ReadAt implements [io.ReaderAt]. What has not come is zeros. After the end of
// p it returns [os.ErrClosed].
func (p *Partial) ReadAt(b []byte, at int64) (int, error) { return p.file.ReadAt(b, at) }

// WriteAt implements [io.WriterAt] within the blob's size.
func (p *Partial) WriteAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > p.size {
		return 0, fmt.Errorf("store partial blob: %d bytes at %d of %d", len(b), at, p.size)
	}
	n, err := p.file.WriteAt(b, at)
	return n, diskError(err, p.file.Name())
}

// Finish makes p the blob, if it is whole. Otherwise it is discarded and the
// error a [*protocol.Error] with [protocol.CodeBlob].
func (p *Partial) Finish() error {
	sum := sha256.New()
	_, err := io.Copy(sum, io.NewSectionReader(p.file, 0, p.size))
	if d := protocol.Digest(sum.Sum(nil)); err == nil && d != p.digest {
		err = protocol.Errorf(protocol.CodeBlob, "the blob %s came as other bytes, of digest %s", p.digest, d)
	}
	if err == nil {
		err = p.file.Sync()
	}
	if err == nil {
		err = p.blobs.adopt(p.name, p.digest, p.size, &p.room)
	}
	if err != nil {
		err = diskError(err, p.file.Name())
		p.Discard()
		return err
	}
	p.end(nil)
	return nil
}

// Park leaves p for another time.
func (p *Partial) Park() { p.end(&blob{size: p.size, used: time.Now()}) }

// Discard forgets p.
func (p *Partial) Discard() {
	_ = p.blobs.root.Remove(p.name) // or it goes by its age
	p.end(nil)
}

// end closes p, whose file is then parked or not there any more.
func (p *Partial) end(parked *blob) {
	if p.file != nil {
		_ = p.file.Close() // what was written is checked when it is taken up
	}
	p.room.release()
	b := p.blobs
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.growing, p.name)
	if parked != nil {
		b.park(p.name, parked)
	}
}

// openPartials finds what earlier runs of the node have left.
func (b *Blobs) openPartials() error {
	if err := b.root.Mkdir(partialDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	list, err := fs.ReadDir(b.root.FS(), partialDir)
	if err != nil {
		return err
	}
	for _, entry := range list {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		hex, _, ok := strings.Cut(entry.Name(), "-")
		if _, err := protocol.ParseDigest(hex); !ok || err != nil || !info.Mode().IsRegular() {
			continue // not ours
		}
		b.park(path.Join(partialDir, entry.Name()), &blob{size: info.Size(), used: info.ModTime()})
	}
	return nil
}

// evictPartials removes those that nobody has worked on for long, and others
// when there are too many bytes, before any whole blob: what was whole once has
// cost more.
func (b *Blobs) evictPartials() error {
	b.files.Lock() // nobody begins one meanwhile
	defer b.files.Unlock()
	now := time.Now()
	b.mu.Lock()
	names := make([]string, 0, len(b.parked))
	for name := range b.parked {
		names = append(names, name)
	}
	slices.SortFunc(names, func(x, y string) int { return b.parked[x].used.Compare(b.parked[y].used) })
	keep := slices.IndexFunc(names, func(name string) bool {
		if b.excess() <= 0 && now.Sub(b.parked[name].used) < partialAge {
			return true
		}
		b.unpark(name)
		return false
	})
	b.mu.Unlock()
	if keep >= 0 {
		names = names[:keep]
	}
	var errs []error
	for _, name := range names {
		if err := b.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
