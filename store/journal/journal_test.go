package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const testID = 0x1122334455667788

// open opens the journal in dir/log and returns the records behind after.
func open(t testing.TB, dir string, after uint64) (*Journal, []string) {
	t.Helper()
	j, records, err := tryOpen(dir, testID, after)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() }) // for tests that end early
	return j, records
}

func tryOpen(dir string, id, after uint64) (*Journal, []string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	var records []string
	j, err := Open(root, "log", id, after, func(record []byte) error {
		records = append(records, string(record))
		return nil
	})
	return j, records, err
}

func add(t testing.TB, j *Journal, records ...string) (n uint64) {
	t.Helper()
	for _, r := range records {
		var err error
		if n, err = j.Append([]byte(r)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func commit(t testing.TB, j *Journal, n uint64) {
	t.Helper()
	if err := j.Commit(context.Background(), n); err != nil {
		t.Fatal(err)
	}
}

func closeJournal(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("replayed %d records, want %d: %.200q, want %.200q", len(got), len(want), got, want)
	}
}

// frames returns all frames in the files of a journal.
func frames(t testing.TB, dir string) (list []place) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "log", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, scan(&segment{name: path}, data, testID)...)
	}
	slices.SortFunc(list, func(a, b place) int { return int(a.first) - int(b.first) })
	return list
}

func TestCommittedRecordsAreReplayedInOrderBehindTheCheckpoint(t *testing.T) {
	dir := t.TempDir()
	j, none := open(t, dir, 0)
	want(t, none, nil)
	commit(t, j, add(t, j, "one", "", "three"))
	commit(t, j, add(t, j, "four"))
	add(t, j, "never committed")
	closeJournal(t, j)
	for after, expected := range [][]string{{"one", "", "three", "four"}, {"", "three", "four"}, {"three", "four"}, {"four"}, nil, nil} {
		j, got := open(t, dir, uint64(after))
		want(t, got, expected)
		if n := add(t, j, "next"); n != uint64(max(after, 4))+1 {
			t.Errorf("after %d the next number is %d", after, n)
		}
		closeJournal(t, j)
	}
}

func TestAnotherIDSeesNothing(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, 0)
	commit(t, j, add(t, j, "mine"))
	closeJournal(t, j)
	other, got, err := tryOpen(dir, testID+1, 0)
	if err != nil {
		t.Fatal(err)
	}
	want(t, got, nil)
	commit(t, other, add(t, other, "theirs"))
	closeJournal(t, other)
}

// TestCrashesLoseNothingCommitted appends, commits, checkpoints and crashes at
// random. The frame written last may be harmed in any way by a crash: it is
// there whole or not at all, and all before it is there.
func TestCrashesLoseNothingCommitted(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	var model []string // record i has the number i+1
	after, synced := uint64(0), uint64(0)
	j, _ := open(t, dir, 0)
	lost, wrapped := 0, false
	for step := range 4000 {
		switch random.IntN(10) {
		default:
			size := random.IntN(3000)
			if random.IntN(100) == 0 {
				size = random.IntN(MaxRecord + 1)
			}
			r := fmt.Sprintf("%d %s", step, strings.Repeat("x", size))
			r = r[:min(len(r), MaxRecord)]
			model = append(model, r)
			add(t, j, r)
		case 0, 1, 2:
			commit(t, j, j.Last())
			synced = j.Last()
		case 3:
			if random.IntN(10) == 0 || j.HalfFull() {
				after = j.Last()
				j.Checkpointed(after)
				synced = after
			}
		case 4:
			if random.IntN(8) > 0 {
				continue
			}
			before := synced
			commit(t, j, j.Last()) // as if the disk had not synced the last of it
			closeJournal(t, j)
			found := frames(t, dir)
			if n := len(found); n > 0 && found[n-1].last > max(before, after) {
				last := found[n-1]
				before = max(before, last.first-1)
				harm(t, random, last)
			}
			var got []string
			j, got = open(t, dir, after)
			end := after + uint64(len(got))
			if end < before {
				t.Fatalf("step %d: %d records, %d were committed", step, end, before)
			}
			want(t, got, model[after:end])
			lost += len(model) - int(end)
			model = model[:end]
			synced = end
		}
		wrapped = wrapped || after > 0 && j.HalfFull()
	}
	closeJournal(t, j)
	_, got := open(t, dir, after)
	want(t, got[:min(len(got), int(synced-after))], model[after:synced])
	t.Logf("%d records, %d lost in torn frames, checkpoint %d", len(model), lost, after)
	if lost == 0 || after == 0 {
		t.Error("nothing has been tried")
	}
}

// harm does to a frame what a crash may do to one that is not synced.
func harm(t *testing.T, random *rand.Rand, p place) {
	t.Helper()
	f, err := os.OpenFile(p.segment.name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	start := p.end - int64(p.len())
	at := start + random.Int64N(int64(p.len()))
	switch random.IntN(4) {
	case 0: // the rest is zeros
		_, err = f.WriteAt(make([]byte, p.end-at), at)
	case 1: // the rest is missing
		err = f.Truncate(at)
	case 2: // a sector is garbage
		garbage := make([]byte, min(512, p.end-at))
		for i := range garbage {
			garbage[i] = byte(random.Uint32())
		}
		_, err = f.WriteAt(garbage, at)
	case 3: // all of it is there
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDamageBeforeALaterFrameIsReported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, _ := open(t, dir, 0)
	for _, r := range []string{"first", "second", "third"} {
		commit(t, j, add(t, j, r))
	}
	closeJournal(t, j)
	middle := frames(t, dir)[1]
	path := middle.segment.name
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := middle.end - int64(middle.len()); at < middle.end; at++ {
		broken := bytes.Clone(whole)
		broken[at] ^= 1
		if err := os.WriteFile(path, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := tryOpen(dir, testID, 0); !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d changed: %v", at, err)
		}
		if _, _, err := tryOpen(dir, testID, 1); !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d changed, the first in the checkpoint: %v", at, err)
		}
		j, got := open(t, dir, 2) // the checkpoint has it
		want(t, got, []string{"third"})
		closeJournal(t, j)
	}
}

func TestLostSegmentIsReported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, _ := open(t, dir, 0)
	for range 3 {
		commit(t, j, add(t, j, strings.Repeat("x", MaxRecord)))
	}
	closeJournal(t, j)
	if err := os.Remove(filepath.Join(dir, "log", "01")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tryOpen(dir, testID, 0); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

func TestSegmentsAreUsedAgainAfterACheckpoint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, _ := open(t, dir, 0)
	large := strings.Repeat("x", MaxRecord)
	for range maxSegments {
		commit(t, j, add(t, j, large))
	}
	if !j.HalfFull() {
		t.Error("full, and not half full")
	}
	n := add(t, j, large)
	for range 2 {
		if err := j.Commit(t.Context(), n); !errors.Is(err, ErrFull) {
			t.Fatalf("the 17th MiB: %v", err)
		}
	}
	j.Checkpointed(3)
	commit(t, j, n) // by the segments of the first three
	closeJournal(t, j)
	j, got := open(t, dir, 3)
	if len(got) != maxSegments-2 {
		t.Errorf("%d records behind the checkpoint", len(got))
	}
	j.Checkpointed(j.Last())
	if j.HalfFull() {
		t.Error("half full after a checkpoint of everything")
	}
	for range 3 * maxSegments {
		commit(t, j, add(t, j, large))
		j.Checkpointed(j.Last() - 1)
	}
	last := j.Last()
	closeJournal(t, j)
	_, got = open(t, dir, last-1)
	want(t, got, []string{large})
	files, err := os.ReadDir(filepath.Join(dir, "log"))
	if err != nil || len(files) != maxSegments {
		t.Errorf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Size() != segmentLen {
			t.Errorf("%s has %d bytes, %v", f.Name(), info.Size(), err)
		}
	}
}

func TestCheckpointMakesDurableWhatWasNotWritten(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, 0)
	n := add(t, j, "a", "b")
	j.Checkpointed(n)
	if j.Buffered() != 0 {
		t.Errorf("%d bytes are buffered", j.Buffered())
	}
	commit(t, j, n)
	commit(t, j, add(t, j, "c"))
	closeJournal(t, j)
	if found := frames(t, dir); len(found) != 1 || found[0].first != 3 {
		t.Errorf("frames %v", found)
	}
	_, got := open(t, dir, n)
	want(t, got, []string{"c"})
}

func TestWaitersShareACommit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, _ := open(t, dir, 0)
	first := add(t, j, "first")
	busy := &write{done: make(chan struct{})} // a disk that takes its time
	j.mu.Lock()
	j.writing = busy
	j.queue[0].taken = true
	g := j.queue[0]
	j.mu.Unlock()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Commit(ended, first); !errors.Is(err, context.Canceled) {
		t.Errorf("a waiter whose context has ended: %v", err)
	}
	var wg sync.WaitGroup
	for i := range 64 {
		n := add(t, j, fmt.Sprint(i))
		wg.Go(func() {
			if err := j.Commit(context.Background(), n); err != nil {
				t.Error(err)
			}
		})
	}
	j.finish(busy, g, j.write(g))
	wg.Wait()
	closeJournal(t, j)
	if found := frames(t, dir); len(found) != 2 || found[1].last != 65 {
		t.Errorf("%d syncs for 65 records", len(found))
	}
}

func TestFailedWriteIsRepeated(t *testing.T) {
	dir := t.TempDir()
	j, _ := open(t, dir, 0)
	commit(t, j, add(t, j, "before"))
	good := j.current.file
	bad, err := os.Open(filepath.Join(dir, "log", j.current.name)) // not for writing
	if err != nil {
		t.Fatal(err)
	}
	j.current.file = bad
	n := add(t, j, "meanwhile")
	for range 2 {
		if err := j.Commit(t.Context(), n); err == nil {
			t.Fatal("committed to a file that cannot be written")
		}
	}
	later := add(t, j, "later")
	j.current.file = good
	commit(t, j, later)
	closeJournal(t, j)
	if err := bad.Close(); err != nil {
		t.Error(err)
	}
	_, got := open(t, dir, 0)
	want(t, got, []string{"before", "meanwhile", "later"})
}

func TestRecordsBeyondTheLimitAndClosedJournalsAreRefused(t *testing.T) {
	j, _ := open(t, t.TempDir(), 0)
	if _, err := j.Append(make([]byte, MaxRecord+1)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	n := add(t, j, "late")
	closeJournal(t, j)
	if _, err := j.Append(nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := j.Commit(t.Context(), n); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// FuzzFrame parses frames. What is one is what its records make.
func FuzzFrame(f *testing.F) {
	for _, records := range [][]string{{"one"}, {"", "two", strings.Repeat("three", 100)}} {
		g := newGroup(nil, 7)
		for _, r := range records {
			g.add([]byte(r))
		}
		g.seal(testID)
		f.Add(g.frame)
		f.Add(g.frame[:len(g.frame)-1])
		f.Add(append(bytes.Clone(g.frame), "more"...))
	}
	f.Add(make([]byte, headerLen))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Most of what the fuzzer makes has a wrong checksum.
		if len(data) >= headerLen {
			g := &group{frame: bytes.Clone(data), first: 1}
			g.seal(testID)
			_, _ = parseFrame(g.frame, testID) // must not panic
		}
		got, err := parseFrame(data, testID)
		if err != nil {
			return
		}
		g := newGroup(nil, got.first)
		err = got.each(func(_ uint64, record []byte) error { g.add(record); return nil })
		if err != nil || g.last != got.last {
			t.Fatalf("records up to %d, %v, of a frame up to %d", g.last, err, got.last)
		}
		g.seal(testID)
		again, err := parseFrame(g.frame, testID)
		if err != nil || again.first != got.first || again.last != got.last {
			t.Fatalf("%v became %v, %v", got, again, err)
		}
	})
}
