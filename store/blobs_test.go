package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/spare-network/spare/protocol"
)

// noise returns n bytes that differ with seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	if _, err := rand.NewChaCha8(key).Read(b); err != nil {
		panic(err)
	}
	return b
}

func put(t *testing.T, s *Store, content []byte) protocol.Digest {
	t.Helper()
	d, n, err := s.Blobs().Put(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	if d != protocol.DigestOf(content) || n != int64(len(content)) {
		t.Fatalf("put as %s, %d bytes", d, n)
	}
	return d
}

func wantContent(t *testing.T, s *Store, d protocol.Digest, want []byte) {
	t.Helper()
	file, size, err := s.Blobs().Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got, err := io.ReadAll(file)
	if err != nil || !bytes.Equal(got, want) || size != int64(len(want)) {
		t.Errorf("%d bytes of size %d, %v; want %d bytes", len(got), size, err, len(want))
	}
}

func TestBlobComesBackAsItWasPut(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 4096, protocol.MaxInline + 1, 3 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			s := open(t, t.TempDir())
			content := noise(1, size)
			d := put(t, s, content)
			put(t, s, content) // again is fine
			wantContent(t, s, d, content)
			s = reopen(t, s)
			if !s.Blobs().Has(d) {
				t.Error("gone after a restart")
			}
			wantContent(t, s, d, content)
			if n := len(files(t, s.dir, blobDir)); n != 1 {
				t.Errorf("%d files, want 1", n)
			}
			if n, bytes := s.Blobs().Usage(); n != 1 || bytes != int64(size) {
				t.Errorf("usage of %d blobs, %d bytes", n, bytes)
			}
		})
	}
}

func TestAbsentBlobIsNamed(t *testing.T) {
	s := open(t, t.TempDir())
	d := protocol.DigestOf([]byte("nothing"))
	_, _, err := s.Blobs().Open(d)
	wantCode(t, err, protocol.CodeBlob)
	if !strings.Contains(err.Error(), d.String()) || s.Blobs().Has(d) {
		t.Error(err)
	}
}

func TestBlobWhoseFileWasRemovedOrDamagedCanBePutAgain(t *testing.T) {
	content := noise(2, 5000)
	for name, harm := range map[string]func(string) error{
		"removed":   os.Remove,
		"shortened": func(path string) error { return os.Truncate(path, 10) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			d := put(t, s, content)
			path := filepath.Join(s.dir, filepath.FromSlash(blobName(d)))
			if err := harm(path); err != nil {
				t.Fatal(err)
			}
			_, _, err := s.Blobs().Open(d)
			wantCode(t, err, protocol.CodeBlob)
			if s.Blobs().Has(d) {
				t.Error("still said to be there")
			}
			put(t, s, content)
			wantContent(t, s, d, content)
		})
	}
}

func TestPutTakesNoMoreThanItsLimit(t *testing.T) {
	s := open(t, t.TempDir())
	endless := iotest.OneByteReader(strings.NewReader(strings.Repeat("x", 1000)))
	_, _, err := s.Blobs().Put(endless, 999)
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	broken := errors.New("the line is cut")
	_, _, err = s.Blobs().Put(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), 999)
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if left := append(files(t, s.dir, tempDir), files(t, s.dir, blobDir)...); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestBlobFromAPeerIsWhatItsDigestSaysOrNothing(t *testing.T) {
	content := noise(3, 10_000)
	other := noise(4, 10_000)
	d := protocol.DigestOf(content)
	for _, c := range []struct {
		name string
		size int64
		r    io.Reader
		code protocol.Code
	}{
		{"as promised", 10_000, bytes.NewReader(content), ""},
		{"in small pieces", 10_000, iotest.OneByteReader(bytes.NewReader(content)), ""},
		{"other bytes", 10_000, bytes.NewReader(other), protocol.CodeBlob},
		{"too short", 10_000, bytes.NewReader(content[:9_999]), protocol.CodeBlob},
		{"too long", 10_000, io.MultiReader(bytes.NewReader(content), bytes.NewReader(other)), protocol.CodeBlob},
		{"right bytes, smaller size promised", 9_999, bytes.NewReader(content), protocol.CodeBlob},
		{"right bytes, larger size promised", 10_001, bytes.NewReader(content), protocol.CodeBlob},
		{"a size that cannot be", -1, bytes.NewReader(content), protocol.CodeBlob},
		{"nothing", 10_000, bytes.NewReader(nil), protocol.CodeBlob},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, t.TempDir())
			err := s.Blobs().PutExpected(d, c.size, c.r)
			if c.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				wantContent(t, s, d, content)
				return
			}
			wantCode(t, err, c.code)
			if left := append(files(t, s.dir, tempDir), files(t, s.dir, blobDir)...); len(left) > 0 || s.Blobs().Has(d) {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestPeerThatSendsEndlesslyIsReadNoFurther(t *testing.T) {
	s := open(t, t.TempDir())
	endless := &countingReader{}
	wantCode(t, s.Blobs().PutExpected(protocol.DigestOf(nil), 1000, endless), protocol.CodeBlob)
	if endless.n > 1001 {
		t.Errorf("%d bytes were read of 1000", endless.n)
	}
}

// countingReader yields zeros without end.
type countingReader struct{ n int }

func (r *countingReader) Read(p []byte) (int, error) {
	clear(p)
	r.n += len(p)
	return len(p), nil
}

func TestConcurrentPutsOfOneBlobLeaveOneFile(t *testing.T) {
	s := open(t, t.TempDir())
	content := noise(5, 200_000)
	d := protocol.DigestOf(content)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := s.Blobs().PutExpected(d, int64(len(content)), bytes.NewReader(content)); err != nil && !errors.Is(err, ErrHere) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := s.Blobs().PutExpected(d, 1, iotest.ErrReader(errors.New("read"))); !errors.Is(err, ErrHere) {
		t.Errorf("what is here already: %v", err)
	}
	wantContent(t, s, d, content)
	if n := len(files(t, s.dir, blobDir)); n != 1 {
		t.Errorf("%d blobs, want 1", n)
	}
	if left := files(t, s.dir, tempDir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestLeastRecentlyUsedBlobsAreEvicted(t *testing.T) {
	t.Parallel()
	const each = 128 << 10
	s := open(t, t.TempDir(), Config{KeepBlobs: 8 * each})
	var digests []protocol.Digest
	for i := range 8 {
		digests = append(digests, put(t, s, noise(uint64(i), each)))
	}
	pinned, used := digests[0], digests[1]
	release := s.Blobs().Pin(pinned)
	again := s.Blobs().Pin(pinned)
	again()
	again() // counts once
	wantContent(t, s, used, noise(1, each))
	put(t, s, noise(8, each))
	if err := s.Blobs().evict(); err != nil {
		t.Fatal(err)
	}
	for i, d := range digests {
		if want := i != 2 && i != 3; s.Blobs().Has(d) != want {
			t.Errorf("blob %d is there: %v, want %v", i, !want, want)
		}
	}
	if n := len(files(t, s.dir, blobDir)); n != 7 {
		t.Errorf("%d files, want 7", n)
	}
	release()
	for i := range 3 {
		put(t, s, noise(uint64(9+i), each))
	}
	if err := s.Blobs().evict(); err != nil {
		t.Fatal(err)
	}
	if s.Blobs().Has(pinned) {
		t.Error("evicted no longer though it is not pinned")
	}
}

func TestOrderOfUseSurvivesARestart(t *testing.T) {
	const each = 128 << 10
	s := open(t, t.TempDir())
	var digests []protocol.Digest
	for i := range 4 {
		d := put(t, s, noise(uint64(i), each))
		digests = append(digests, d)
		hours := time.Duration(i-10) * time.Hour
		if err := s.root.Chtimes(blobName(d), time.Time{}, time.Now().Add(hours)); err != nil {
			t.Fatal(err)
		}
	}
	s = reopen(t, s)
	wantContent(t, s, digests[0], noise(0, each)) // now the last used
	s = reopen(t, s, Config{KeepBlobs: 3 * each})
	stop := run(t, s)
	eventually(t, "the oldest is evicted", func() bool { return !s.Blobs().Has(digests[1]) })
	if err := stop(); err != nil {
		t.Error(err)
	}
	for _, i := range []int{0, 2, 3} {
		if i != 2 && !s.Blobs().Has(digests[i]) {
			t.Errorf("blob %d is gone", i)
		}
	}
}

func TestOutputOfAKeptTaskIsEvictedLast(t *testing.T) {
	const each = 128 << 10
	s := open(t, t.TempDir(), Config{KeepBlobs: 4 * each, KeepTasks: 1})
	output, pack := put(t, s, noise(0, each)), put(t, s, noise(1, each))
	first := conclude(newTask(), &protocol.Blob{Digest: output[:], Size: each})
	first.Result.Pack = &protocol.Blob{Digest: pack[:], Size: each}
	save(t, s, first)
	s = reopen(t, s, Config{KeepBlobs: 4 * each, KeepTasks: 1}) // the index knows it again
	for i := range 8 {
		put(t, s, noise(uint64(2+i), each))
	}
	if err := s.Blobs().evict(); err != nil {
		t.Fatal(err)
	}
	if !s.Blobs().Has(output) || !s.Blobs().Has(pack) {
		t.Fatal("evicted before blobs that no task needs")
	}
	save(t, s, conclude(newTask(), protocol.NewBlob(nil))) // prunes the first
	if err := s.commit(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		put(t, s, noise(uint64(10+i), each))
	}
	if err := s.Blobs().evict(); err != nil {
		t.Fatal(err)
	}
	if s.Blobs().Has(output) || s.Blobs().Has(pack) {
		t.Error("kept though its task is pruned")
	}
}

func TestManySmallBlobsAreBoundedInNumber(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Config{KeepBlobs: 16 * minCost})
	for i := range 40 {
		put(t, s, []byte{byte(i)})
	}
	if err := s.Blobs().evict(); err != nil {
		t.Fatal(err)
	}
	if n := len(files(t, s.dir, blobDir)); n > 16 {
		t.Errorf("%d files, want at most 16", n)
	}
}

func TestPutsAndEvictionsOfTheSameBlobsNeverLoseOne(t *testing.T) {
	t.Parallel()
	const workers, blobs = 4, 12
	// What one of them puts may be there and pinned already by another's put.
	s := open(t, t.TempDir(), Config{KeepBlobs: 2 * workers * minCost})
	stop := run(t, s)
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for i := range 120 {
				content := noise(uint64(i+worker)%blobs, 100)
				d := protocol.DigestOf(content)
				release := s.Blobs().Pin(d)
				if err := s.Blobs().PutExpected(d, 100, bytes.NewReader(content)); err != nil && !errors.Is(err, ErrHere) {
					t.Error(err)
				}
				wantPinned(t, s, d, content)
				release()
			}
		})
	}
	wg.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	known := 0
	for i := range blobs {
		if s.Blobs().Has(protocol.DigestOf(noise(uint64(i), 100))) {
			known++
		}
	}
	if n := len(files(t, s.dir, blobDir)); n != known {
		t.Errorf("%d files, %d known", n, known)
	}
}

// wantPinned is wantContent for a goroutine that is not the test's.
func wantPinned(t *testing.T, s *Store, d protocol.Digest, want []byte) {
	t.Helper()
	file, _, err := s.Blobs().Open(d)
	if err != nil {
		t.Errorf("a pinned blob: %v", err)
		return
	}
	defer file.Close()
	if got, err := io.ReadAll(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("a pinned blob reads %d bytes, %v", len(got), err)
	}
}
