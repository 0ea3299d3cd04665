package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store/journal"
)

func ids(tasks []*protocol.Task) (list []string) {
	for _, t := range tasks {
		list = append(list, t.Id)
	}
	return list
}

// stored counts the tasks in the database.
func stored(t *testing.T, s *Store) (n int) {
	t.Helper()
	err := s.db.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(tasksBucket).ForEach(func(_, _ []byte) error { n++; return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func save(t *testing.T, s *Store, tasks ...*protocol.Task) {
	t.Helper()
	for _, task := range tasks {
		if err := s.SaveTask(task); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTaskComesBackAsItWasSaved(t *testing.T) {
	s := open(t, t.TempDir())
	task := newTask()
	save(t, s, task)
	before, ok := proto.Clone(task).(*protocol.Task)
	if !ok {
		t.Fatal("a clone of a task is a task")
	}
	task.Name = "changed after the save"
	check := func(when string) {
		t.Helper()
		got, err := s.Task(task.Id)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, before) {
			t.Errorf("%s: got %v, want %v", when, got, before)
		}
	}
	check("pending")
	if err := s.commit(); err != nil {
		t.Fatal(err)
	}
	check("committed")
	s = reopen(t, s)
	check("after a restart")
}

func TestLaterSaveReplacesEarlier(t *testing.T) {
	for _, committed := range []bool{false, true} {
		t.Run(fmt.Sprintf("committed between %v", committed), func(t *testing.T) {
			s := open(t, t.TempDir())
			task := newTask()
			save(t, s, task)
			if committed {
				if err := s.commit(); err != nil {
					t.Fatal(err)
				}
			}
			save(t, s, conclude(task, protocol.NewBlob([]byte("1 1 6\n"))))
			s = reopen(t, s)
			got, err := s.Task(task.Id)
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, task) || stored(t, s) != 1 {
				t.Errorf("got %v in %d records, want %v in one", got, stored(t, s), task)
			}
		})
	}
}

func TestPrefixFindsTheOneTaskThatFits(t *testing.T) {
	s := open(t, t.TempDir())
	for _, id := range []string{"abcdefghij", "abcdezzzzz", "qqqqqqqqqq"} {
		task := newTask()
		task.Id = id
		save(t, s, task)
	}
	for _, c := range []struct {
		name, prefix, want string
		code               protocol.Code
	}{
		{"whole ID", "abcdefghij", "abcdefghij", ""},
		{"shortest unique prefix", "abcdef", "abcdefghij", ""},
		{"one character", "q", "qqqqqqqqqq", ""},
		{"fits two", "abcde", "", protocol.CodeAmbiguous},
		{"fits none", "b", "", protocol.CodeNotFound},
		{"empty", "", "", protocol.CodeNotFound},
		{"longer than an ID", "abcdefghijk", "", protocol.CodeNotFound},
		{"no ID's characters", "\x1b[31m", "", protocol.CodeNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := s.Task(c.prefix)
			if c.code != "" {
				wantCode(t, err, c.code)
				if strings.ContainsRune(err.Error(), '\x1b') {
					t.Error("the message carries a terminal escape")
				}
				return
			}
			if err != nil || got.Id != c.want {
				t.Errorf("got %v, %v, want %s", got.GetId(), err, c.want)
			}
		})
	}
}

func TestTasksAreListedNewestFirstInPages(t *testing.T) {
	s := open(t, t.TempDir())
	var want []string
	for i := range 25 {
		task := newTask()
		want = append(want, task.Id)
		save(t, s, task)
		if i == 11 { // some are committed, some pending
			if err := s.commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	old, err := s.Task(want[3])
	if err != nil {
		t.Fatal(err)
	}
	save(t, s, conclude(old, protocol.NewBlob(nil))) // does not move
	slices.Reverse(want)
	check := func() {
		t.Helper()
		var got []string
		var before protocol.TaskID
		for {
			page, err := s.Tasks(10, before)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, ids(page)...)
			before = protocol.TaskID(got[len(got)-1])
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
	check()
	s = reopen(t, s)
	check()
	_, err = s.Tasks(10, "notthereaa")
	wantCode(t, err, protocol.CodeNotFound)
}

func TestUnfinishedTasksAreThoseThatHaveNotEnded(t *testing.T) {
	s := open(t, t.TempDir())
	var want []string
	for state := protocol.StateQueued; state <= protocol.StateCancelled; state++ {
		task := newTask()
		task.State = state
		if !state.Ended() {
			want = append(want, task.Id)
		}
		save(t, s, task)
	}
	for range 2 {
		got, err := s.Unfinished()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(ids(got), want) {
			t.Errorf("got %v, want %v", ids(got), want)
		}
		s = reopen(t, s)
	}
}

func TestTaskWithoutAnIDIsRefused(t *testing.T) {
	s := open(t, t.TempDir())
	for _, id := range []string{"", "short", "UPPERCASE1", "abcdefghijk"} {
		task := newTask()
		task.Id = id
		wantCode(t, s.SaveTask(task), protocol.CodeBadRequest)
	}
}

func TestEndedTasksBeyondTheLimitArePrunedOldestFirst(t *testing.T) {
	s := open(t, t.TempDir(), Config{KeepTasks: 10})
	var ended, unfinished []string
	for i := range 60 {
		task := newTask()
		if i%4 == 0 {
			unfinished = append(unfinished, task.Id)
		} else {
			conclude(task, protocol.NewBlob(nil))
			ended = append(ended, task.Id)
		}
		save(t, s, task)
		if i%7 == 0 {
			if err := s.commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		s = reopen(t, s, Config{KeepTasks: 10})
		for i, id := range ended {
			_, err := s.Task(id)
			if i < len(ended)-10 {
				wantCode(t, err, protocol.CodeNotFound)
			} else if err != nil {
				t.Error(err)
			}
		}
		got, err := s.Unfinished()
		if err != nil || !slices.Equal(ids(got), unfinished) {
			t.Errorf("unfinished %v, %v, want %v", ids(got), err, unfinished)
		}
		if n := stored(t, s); n != 10+len(unfinished) {
			t.Errorf("%d records, want %d", n, 10+len(unfinished))
		}
	}
}

func TestTaskSavedAgainWhileItIsPrunedStaysWhole(t *testing.T) {
	s := open(t, t.TempDir(), Config{KeepTasks: 1})
	old, young := conclude(newTask(), protocol.NewBlob(nil)), conclude(newTask(), protocol.NewBlob(nil))
	save(t, s, old, young)
	// As commit does, but with a save while the transaction is written.
	s.mu.Lock()
	pruned := s.tasks.surplus(s.keepTasks)
	s.mu.Unlock()
	if len(pruned) != 1 || string(pruned[0].id) != old.Id {
		t.Fatalf("pruned %v, want the older task", pruned)
	}
	save(t, s, old)
	s.mu.Lock()
	s.forget(pruned)
	s.mu.Unlock()
	if _, err := s.Task(old.Id); err != nil {
		t.Errorf("a pending save is lost: %v", err)
	}
	s = reopen(t, s, Config{KeepTasks: 1})
	if n := stored(t, s); n != 1 {
		t.Errorf("%d records, want 1", n)
	}
	if _, err := s.Task(young.Id); err != nil {
		t.Error(err)
	}
}

func TestSavesAreWrittenTogetherAndSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir())
		stop := run(t, s)
		synctest.Wait()
		for range 100 {
			save(t, s, newTask())
		}
		start := time.Now()
		for _, c := range []struct {
			after                time.Duration
			journaled, committed int
		}{
			{journalDelay - time.Millisecond, 0, 0},
			{journalDelay, 100, 0},
			{commitDelay - time.Millisecond, 100, 0},
			{commitDelay, 100, 100},
		} {
			time.Sleep(c.after - time.Since(start))
			synctest.Wait()
			if n := stored(t, s); n != c.committed {
				t.Errorf("after %v: %d tasks in the database, want %d", c.after, n, c.committed)
			}
			if n := survivors(t, s); n != c.journaled {
				t.Errorf("after %v: %d tasks outlast a crash, want %d", c.after, n, c.journaled)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestSaveTaskNowTakesPendingSavesAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir())
		stop := run(t, s)
		synctest.Wait()
		start := time.Now()
		save(t, s, newTask())
		if err := s.SaveTaskNow(t.Context(), newTask()); err != nil {
			t.Fatal(err)
		}
		if n := survivors(t, s); n != 2 {
			t.Errorf("%d tasks outlast a crash, want 2", n)
		}
		if waited := time.Since(start); waited > 0 {
			t.Errorf("it waited %v of virtual time", waited)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestTaskTooLargeForTheJournalIsCommittedAtOnce(t *testing.T) {
	s := open(t, t.TempDir())
	small, large := newTask(), newTask()
	large.Name = strings.Repeat("x", journal.MaxRecord)
	save(t, s, small)
	if err := s.SaveTaskNow(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	if n := stored(t, s); n != 2 {
		t.Errorf("%d tasks in the database, want 2", n)
	}
}

func TestEverythingPendingIsCommittedWhenRunReturns(t *testing.T) {
	s := open(t, t.TempDir())
	stop := run(t, s)
	for range 50 {
		save(t, s, newTask())
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := stored(t, s); n != 50 {
		t.Errorf("%d tasks are on disk, want 50", n)
	}
	if err := s.SaveTaskNow(t.Context(), newTask()); err != nil {
		t.Errorf("after Run a caller writes for itself: %v", err)
	}
	if n := survivors(t, s); n != 51 {
		t.Errorf("%d tasks outlast a crash, want 51", n)
	}
}

func TestSavesWaitWhenTheDiskIsSlower(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	stop := run(t, s)
	s.commits.Lock() // a commit that takes long
	const total = 48
	saved := make(chan int, total)
	go func() {
		defer close(saved)
		for i := range total {
			task := newTask()
			task.Name = strings.Repeat("x", 1<<20)
			if err := s.SaveTask(task); err != nil {
				t.Error(err)
			}
			saved <- i
		}
	}()
	pending := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.pending.bytes
	}
	eventually(t, "the queue is full", func() bool { return pending() >= maxPending })
	if n := len(saved); n > 17 {
		t.Errorf("%d MiB were taken, at most 17 fit", n)
	}
	s.commits.Unlock()
	n := 0
	for range saved {
		n++
	}
	if err := stop(); err != nil || n != total {
		t.Errorf("%d tasks saved, %v", n, err)
	}
	if n := stored(t, s); n != total {
		t.Errorf("%d tasks are on disk, want %d", n, total)
	}
}

func TestFailingCommitIsToldAndTriedAgain(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	save(t, s, newTask())
	// A transaction too large for a file of limited size stands for a full disk.
	s.db.bolt.MaxSize = 64 << 10
	task := newTask()
	task.Name = strings.Repeat("x", 1<<20)
	stop := run(t, s)
	err := s.SaveTaskNow(t.Context(), task)
	wantCode(t, err, protocol.CodeFile)
	for range 2 * maxPending >> 20 {
		if err = s.SaveTask(conclude(newTask(), protocol.NewBlob(make([]byte, protocol.MaxInline)))); err != nil {
			break
		}
		large := newTask()
		large.Name = task.Name
		if err = s.SaveTask(large); err != nil {
			break
		}
	}
	wantCode(t, err, protocol.CodeFile)
	if err := stop(); err == nil {
		t.Error("Run returned no error though saves are lost")
	}
	s.db.bolt.MaxSize = 0
	if err := s.SaveTaskNow(t.Context(), newTask()); err != nil {
		t.Errorf("the disk has room again: %v", err)
	}
	if got, err := s.Task(task.Id); err != nil || got.Name != task.Name {
		t.Errorf("what failed is not there after all: %v", err)
	}
	if err := s.commit(); err != nil {
		t.Error(err)
	}
	if n, want := stored(t, s), len(s.tasks.order); n != want {
		t.Errorf("%d of %d tasks are on disk", n, want)
	}
}

func TestSaveTaskNowEndsWithItsContext(t *testing.T) {
	s := open(t, t.TempDir())
	stop := run(t, s)
	s.commits.Lock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.SaveTaskNow(ctx, newTask()); err == nil {
		t.Error("no error though nothing is on disk")
	}
	s.commits.Unlock()
	if err := stop(); err != nil {
		t.Error(err)
	}
}
