package store

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/spare-network/spare/protocol"
)

func TestPinnedBlobsNeverExceedTheLimit(t *testing.T) {
	const each = 128 << 10
	s := open(t, t.TempDir(), Config{KeepBlobs: 4 * each})
	b := s.Blobs()
	fetch := func(i int) error {
		content := noise(uint64(i), each)
		return b.PutExpected(protocol.DigestOf(content), each, bytes.NewReader(content))
	}
	var releases []func()
	for i := range 4 {
		releases = append(releases, b.Pin(protocol.DigestOf(noise(uint64(i), each))))
		if err := fetch(i); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, fetch(4), protocol.CodeRefused)
	_, _, err := b.Put(bytes.NewReader(noise(5, each)), protocol.MaxBlob)
	wantCode(t, err, protocol.CodeFile)
	if left := files(t, s.dir, tempDir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := fetch(0); !errors.Is(err, ErrHere) {
		t.Errorf("a blob that is there already: %v", err)
	}
	if err := b.evict(); err != nil {
		t.Fatal(err)
	}
	if n, _ := b.Usage(); n != 4 {
		t.Errorf("%d of 4 pinned blobs are there", n)
	}

	releases[0]()
	if err := fetch(4); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	put(t, s, noise(5, each))
	if err := b.evict(); err != nil {
		t.Fatal(err)
	}
	if _, size := b.Usage(); size > 4*each {
		t.Errorf("%d bytes after the eviction", size)
	}
	for _, release := range releases {
		release()
	}
	if b.pinned != 0 || b.reserved != 0 {
		t.Errorf("%d bytes pinned and %d reserved at the end", b.pinned, b.reserved)
	}
}

func TestBlobsAreBoundAnew(t *testing.T) {
	const each = 128 << 10
	s := open(t, t.TempDir(), Config{KeepBlobs: 4 * each})
	b := s.Blobs()
	for i := range uint64(4) {
		put(t, s, noise(i, each))
	}
	b.Bound(2 * each)
	if err := b.evict(); err != nil {
		t.Fatal(err)
	}
	if _, size := b.Usage(); size > 2*each {
		t.Errorf("%d bytes are kept of %d", size, 2*each)
	}
	defer b.Pin(protocol.DigestOf(noise(9, each)))()
	put(t, s, noise(9, each))
	b.Bound(each)
	_, _, err := b.Put(bytes.NewReader(noise(5, each)), protocol.MaxBlob)
	wantCode(t, err, protocol.CodeFile)
	b.Bound(0)
	put(t, s, noise(5, each))
	if b.limit.Load() != defaultBlobBytes {
		t.Errorf("without a bound of its owner's it keeps %d bytes", b.limit.Load())
	}
}

func TestTransfersUnderWayCount(t *testing.T) {
	const each = 128 << 10
	s := open(t, t.TempDir(), Config{KeepBlobs: 2 * each})
	b := s.Blobs()
	content := [][]byte{noise(0, each), noise(1, each), noise(2, each)}
	in, out := io.Pipe()
	fetched := make(chan error, 1)
	go func() { fetched <- b.PutExpected(protocol.DigestOf(content[0]), each, in) }()
	if _, err := out.Write(content[0][:10]); err != nil { // returns when it is being read
		t.Fatal(err)
	}
	uploading, up := io.Pipe()
	uploaded := make(chan error, 1)
	go func() {
		_, _, err := b.Put(uploading, protocol.MaxBlob)
		_ = uploading.CloseWithError(err) // always nil
		uploaded <- err
	}()
	if _, err := up.Write(content[1][:each-10]); err != nil {
		t.Fatal(err)
	}
	wantCode(t, b.PutExpected(protocol.DigestOf(content[2]), each, bytes.NewReader(content[2])), protocol.CodeRefused)

	if _, err := up.Write(content[1][each-10:]); err != nil {
		t.Error(err)
	}
	if _, err := up.Write(make([]byte, each)); err == nil {
		t.Error("an upload was read on beyond the room there is")
	}
	wantCode(t, <-uploaded, protocol.CodeFile)
	if err := b.PutExpected(protocol.DigestOf(content[2]), each, bytes.NewReader(content[2])); err != nil {
		t.Errorf("the upload has given up its room: %v", err)
	}
	out.CloseWithError(io.ErrUnexpectedEOF)
	if err := <-fetched; err == nil {
		t.Error("half a blob was taken")
	}
	if b.reserved != 0 {
		t.Errorf("%d bytes reserved at the end", b.reserved)
	}
}

func TestDamagedBlobHeals(t *testing.T) {
	right, wrong := []byte("the right bytes"), []byte("the wrong bytes")
	d := protocol.DigestOf(right)
	for name, heal := range map[string]func(*Blobs) error{
		"when it is put again": func(b *Blobs) error {
			_, _, err := b.Put(bytes.NewReader(right), 100)
			return err
		},
		"when it is dropped and fetched again": func(b *Blobs) error {
			b.Drop(d)
			if b.Has(d) {
				t.Error("dropped and still there")
			}
			return b.PutExpected(d, int64(len(right)), bytes.NewReader(right))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			put(t, s, right)
			defer s.Blobs().Pin(d)()
			if err := os.WriteFile(s.path(blobName(d)), wrong, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := heal(s.Blobs()); err != nil {
				t.Fatal(err)
			}
			wantContent(t, s, d, right)
			if n, size := s.Blobs().Usage(); n != 1 || size != int64(len(right)) || s.Blobs().bytes != minCost || s.Blobs().pinned != minCost {
				t.Errorf("%d blobs of %d bytes", n, size)
			}
		})
	}
	open(t, t.TempDir()).Blobs().Drop(d) // nothing is there
}

func TestSpoolsThatOutgrowTheRoomAreRefused(t *testing.T) {
	const each = 256 << 10
	s := open(t, t.TempDir(), Config{KeepBlobs: 4 * each})
	b := s.Blobs()
	pinned := put(t, s, noise(1, 2*each))
	release := b.Pin(pinned)
	cached := put(t, s, noise(2, 2*each))

	pack, other := b.NewSpool(1<<30), b.NewSpool(1<<30)
	for range 2 { // evicts what is cached, not what is pinned
		if _, err := pack.Write(noise(3, each)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.evict(); err != nil {
		t.Fatal(err)
	}
	if !b.Has(pinned) || b.Has(cached) {
		t.Errorf("pinned is there %v, cached is there %v", b.Has(pinned), b.Has(cached))
	}
	_, err := pack.Write([]byte("x"))
	wantCode(t, err, protocol.CodeFile)
	if pack.Len() != 2*each {
		t.Errorf("%d bytes after a write that was refused", pack.Len())
	}
	if _, err := other.Write(noise(4, protocol.MaxInline)); err != nil {
		t.Errorf("what needs no file needs no room: %v", err)
	}
	_, err = other.Write([]byte("x"))
	wantCode(t, err, protocol.CodeFile)
	_, _, err = b.Put(bytes.NewReader([]byte("x")), 1)
	wantCode(t, err, protocol.CodeFile)
	if left := files(t, s.dir, tempDir); len(left) != 1 {
		t.Errorf("temporary files: %v", left)
	}

	pack.Discard()
	if _, err := other.Write(noise(4, each)); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	blob, err := other.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if b.reserved != 0 || b.bytes != 2*each+int64(blob.Size) {
		t.Errorf("%d bytes reserved, %d of blobs", b.reserved, b.bytes)
	}
	other.Discard()
	release()
	if n, size := b.Usage(); n != 2 || size != b.bytes || b.reserved != 0 || b.pinned != 0 {
		t.Errorf("%d blobs of %d bytes, %d reserved, %d pinned", n, size, b.reserved, b.pinned)
	}
}
