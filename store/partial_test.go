package store

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

func partial(t *testing.T, s *Store, content []byte, owner string) *Partial {
	t.Helper()
	p, err := s.Blobs().Partial(protocol.DigestOf(content), int64(len(content)), owner)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func writeAt(t *testing.T, p *Partial, content []byte, from, to int) {
	t.Helper()
	if _, err := p.WriteAt(content[from:to], int64(from)); err != nil {
		t.Fatal(err)
	}
}

func TestPartialBlobGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	content := noise(1, 300<<10)
	p := partial(t, s, content, "owner")
	if !p.Fresh() {
		t.Error("a new one is not fresh")
	}
	writeAt(t, p, content, 200<<10, len(content))
	p.Park()
	if s.Blobs().Has(protocol.DigestOf(content)) {
		t.Fatal("half a blob is there")
	}
	s = reopen(t, s, Config{})
	p = partial(t, s, content, "owner")
	half := make([]byte, 100<<10)
	if _, err := p.ReadAt(half, 200<<10); err != nil || !bytes.Equal(half, content[200<<10:]) || p.Fresh() {
		t.Fatalf("what has come is gone: %v, fresh %v", err, p.Fresh())
	}
	writeAt(t, p, content, 0, 200<<10)
	if err := p.Finish(); err != nil {
		t.Fatal(err)
	}
	wantContent(t, s, protocol.DigestOf(content), content)
	if _, err := p.ReadAt(half, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after the end: %v", err)
	}
	if left, err := fs.ReadDir(s.root.FS(), partialDir); err != nil || len(left) > 0 {
		t.Errorf("%d files are left: %v", len(left), err)
	}
	if b := s.Blobs(); b.reserved != 0 || b.bytes != int64(len(content)) {
		t.Errorf("%d bytes counted, %d reserved", b.bytes, b.reserved)
	}
}

func TestPartialBlobOfOtherBytesIsNoBlob(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	content := noise(2, 100<<10)
	p := partial(t, s, content, "")
	if _, err := p.WriteAt(content, 1); err == nil {
		t.Error("it takes more than its size")
	}
	writeAt(t, p, content, 0, 50<<10) // the rest is zeros
	if err := p.Finish(); protocol.CodeOf(err) != protocol.CodeBlob {
		t.Fatalf("finish: %v", err)
	}
	if s.Blobs().Has(protocol.DigestOf(content)) {
		t.Error("it is there")
	}
	if p = partial(t, s, content, ""); !p.Fresh() {
		t.Error("bad bytes were kept")
	}
	p.Discard()
	if b := s.Blobs(); b.reserved != 0 || b.bytes != 0 {
		t.Errorf("%d bytes counted, %d reserved", b.bytes, b.reserved)
	}
}

func TestPartialBlobsOfOwnersAreApart(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	content := noise(3, 100<<10)
	a, b := partial(t, s, content, "a"), partial(t, s, content, "b")
	if _, err := s.Blobs().Partial(protocol.DigestOf(content), int64(len(content)), "a"); !errors.Is(err, ErrGrowing) {
		t.Errorf("opened twice: %v", err)
	}
	writeAt(t, a, content, 0, len(content))
	got := make([]byte, 10)
	if _, err := b.ReadAt(got, 0); err != nil || !bytes.Equal(got, make([]byte, 10)) {
		t.Errorf("b has what came for a: %x, %v", got, err)
	}
	b.Park()
	if err := a.Finish(); err != nil {
		t.Fatal(err)
	}
}

func TestPartialBlobsCountAndGoFirst(t *testing.T) {
	t.Parallel()
	const each = 100 << 10
	s := open(t, t.TempDir(), Config{KeepBlobs: 4 * each})
	b := s.Blobs()
	whole := put(t, s, noise(4, each))
	p := partial(t, s, noise(5, each), "")
	if _, err := b.Partial(protocol.DigestOf(nil), 4*each, ""); protocol.CodeOf(err) != protocol.CodeRefused {
		t.Errorf("there is room for more than all: %v", err)
	}
	p.Park()
	put(t, s, noise(6, each))
	if err := b.evict(); err != nil {
		t.Fatal(err)
	}
	if p = partial(t, s, noise(5, each), ""); p.Fresh() {
		t.Fatal("evicted though there was room")
	}
	p.Park()
	put(t, s, noise(7, each))
	put(t, s, noise(8, each))
	if err := b.evict(); err != nil {
		t.Fatal(err)
	}
	if !b.Has(whole) {
		t.Error("a whole blob went before half a one")
	}
	if p = partial(t, s, noise(5, each), ""); !p.Fresh() {
		t.Error("it is there beyond the limit")
	}
	p.Park()
	old := time.Now().Add(-partialAge - time.Minute)
	if err := os.Chtimes(filepath.Join(s.dir, filepath.FromSlash(p.name)), old, old); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, s, Config{KeepBlobs: 4 * each})
	if err := s.Blobs().evict(); err != nil {
		t.Fatal(err)
	}
	if left, err := fs.ReadDir(s.root.FS(), partialDir); err != nil || len(left) > 0 {
		t.Errorf("%d old ones are left: %v", len(left), err)
	}
}
