package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/spare-network/spare/protocol"
)

func TestSpoolReturnsWhatWasWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		size, piece int
		inline      bool
	}{
		{0, 1, true},
		{1, 1, true},
		{1 << 10, 1 << 10, true},
		{protocol.MaxInline, 1000, true},
		{protocol.MaxInline + 1, 1000, false},
		{protocol.MaxInline + 1, protocol.MaxInline + 1, false},
		{1 << 20, 30_000, false},
	} {
		t.Run(fmt.Sprintf("%d bytes in pieces of %d", c.size, c.piece), func(t *testing.T) {
			s := open(t, t.TempDir())
			content := noise(1, c.size)
			spool := s.Blobs().NewSpool(int64(c.size))
			for rest := content; len(rest) > 0; {
				n, err := spool.Write(rest[:min(c.piece, len(rest))])
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
				if written := content[:len(content)-len(rest)]; spool.Len() != int64(len(written)) ||
					spool.digest() != protocol.DigestOf(written) {
					t.Fatalf("length %d and digest are not those of %d bytes", spool.Len(), len(written))
				}
			}
			if _, err := spool.Write([]byte("more")); !errors.Is(err, ErrTooLarge) {
				t.Errorf("got %v beyond the limit, want ErrTooLarge", err)
			}
			blob, err := spool.Finish()
			if err != nil {
				t.Fatal(err)
			}
			if err := blob.Validate(); err != nil {
				t.Error(err)
			}
			if blob.Sum() != protocol.DigestOf(content) || blob.IsInline() != c.inline {
				t.Errorf("digest %s, inline %v", blob.Sum(), blob.IsInline())
			}
			got, err := io.ReadAll(io.NewSectionReader(spool, 0, spool.Len()))
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("read %d bytes after Finish, %v", len(got), err)
			}
			spool.Discard()
			if !c.inline {
				wantContent(t, s, blob.Sum(), content)
			}
			if left := files(t, s.dir, tempDir); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			if _, err := spool.Write([]byte("x")); err == nil {
				t.Error("it could be written after Finish")
			}
		})
	}
}

func TestDiscardedSpoolLeavesNothing(t *testing.T) {
	s := open(t, t.TempDir())
	spool := s.Blobs().NewSpool(1 << 20)
	if _, err := spool.Write(noise(1, 100_000)); err != nil {
		t.Fatal(err)
	}
	spool.Discard()
	spool.Discard()
	if left := append(files(t, s.dir, tempDir), files(t, s.dir, blobDir)...); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if n, err := spool.ReadAt(make([]byte, 1), 0); n != 0 || err == nil {
		t.Errorf("read %d bytes of what is gone, %v", n, err)
	}
	if _, err := spool.Finish(); err == nil {
		t.Error("it could be finished")
	}
}

func TestTwoSpoolsOfTheSameBytesMakeOneBlob(t *testing.T) {
	s := open(t, t.TempDir())
	content := noise(1, 100_000)
	var spools []*Spool
	for range 2 {
		spool := s.Blobs().NewSpool(1 << 20)
		if _, err := spool.Write(content); err != nil {
			t.Fatal(err)
		}
		spools = append(spools, spool)
	}
	for _, spool := range spools {
		if _, err := spool.Finish(); err != nil {
			t.Fatal(err)
		}
	}
	for _, spool := range spools {
		got, err := io.ReadAll(io.NewSectionReader(spool, 0, spool.Len()))
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		spool.Discard()
	}
	wantContent(t, s, protocol.DigestOf(content), content)
}

func TestReadersFollowTheWriter(t *testing.T) {
	s := open(t, t.TempDir())
	content := noise(7, 600_000)
	spool := s.Blobs().NewSpool(1 << 20)
	defer spool.Discard()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var got []byte
			piece := make([]byte, 10_000)
			for len(got) < len(content) {
				n, err := spool.ReadAt(piece, int64(len(got)))
				if err != nil && !errors.Is(err, io.EOF) {
					t.Error(err)
					return
				}
				got = append(got, piece[:n]...)
			}
			if !bytes.Equal(got, content) {
				t.Error("a reader got other bytes")
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 2))
	for rest := content; len(rest) > 0; {
		n, err := spool.Write(rest[:min(1+random.IntN(8_000), len(rest))])
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if _, err := spool.Finish(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestSmallOutputCostsLittleAndNoFile(t *testing.T) {
	s := open(t, t.TempDir())
	out := noise(1, 1<<10)
	allocations := testing.AllocsPerRun(100, func() {
		spool := s.Blobs().NewSpool(protocol.DefaultOutput)
		if _, err := spool.Write(out); err != nil {
			t.Error(err)
		}
		if _, err := spool.Finish(); err != nil {
			t.Error(err)
		}
		if made := files(t, s.dir, tempDir); len(made) > 0 {
			t.Errorf("made: %v", made)
		}
		spool.Discard()
	}) - testing.AllocsPerRun(100, func() { files(t, s.dir, tempDir) })
	// The Spool, its bytes, the Blob and the Blob's digest.
	if allocations > 4 {
		t.Errorf("%v allocations, want at most 4", allocations)
	}
}
