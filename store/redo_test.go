package store

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spare-network/spare/protocol"
)

// crash opens a copy of the home of s, which has what s has written by now.
func crash(t *testing.T, s *Store, cfg ...Config) *Store {
	t.Helper()
	return open(t, copyHome(t, s.dir), cfg...)
}

func copyHome(t *testing.T, from string) (home string) {
	t.Helper()
	home = t.TempDir()
	if err := os.Mkdir(filepath.Join(home, journalDir), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range append(files(t, from, journalDir), filepath.Join(from, databaseFile)) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

// survivors counts the tasks that are there after a crash now.
func survivors(t *testing.T, s *Store) int {
	t.Helper()
	return stored(t, crash(t, s))
}

func saveNow(t *testing.T, s *Store, tasks ...*protocol.Task) {
	t.Helper()
	for _, task := range tasks {
		if err := s.SaveTaskNow(t.Context(), task); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJournaledChangesAreMadeAgain(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	task, other := newTask(), leaving(newTask(), 3)
	saveNow(t, s, task)
	if err := s.commit(); err != nil {
		t.Fatal(err)
	}
	saveNow(t, s, conclude(task, protocol.NewBlob([]byte("result"))), other)
	for _, s := range []*Store{crash(t, s), crash(t, crash(t, s))} {
		got, err := s.Task(task.Id)
		if err != nil || string(got.Result.Stdout.Inline) != "result" {
			t.Errorf("got %v, %v", got, err)
		}
		if got, err := s.Task(other.Id); err != nil || len(got.Result.Files) != 3 {
			t.Errorf("got %v, %v", got, err)
		}
		if left, err := s.Unfinished(); err != nil || len(left) > 0 {
			t.Errorf("unfinished %v, %v", ids(left), err)
		}
		if _, err := s.Task(newTask().Id); err == nil {
			t.Error("a task that was never saved is there")
		}
		saveNow(t, s, newTask()) // and it goes on
		if n := survivors(t, s); n != 3 {
			t.Errorf("%d tasks, want 3", n)
		}
	}
}

func TestPrunedTasksStayAwayAfterACrash(t *testing.T) {
	t.Parallel()
	cfg := Config{KeepTasks: 5}
	s := open(t, t.TempDir(), cfg)
	for range 20 {
		saveNow(t, s, conclude(newTask(), protocol.NewBlob(nil)))
	}
	if n := stored(t, crash(t, s, cfg)); n != 5 {
		t.Errorf("%d tasks are kept of 5", n)
	}
	if err := s.commit(); err != nil {
		t.Fatal(err)
	}
	if n := stored(t, crash(t, s)); n != 5 {
		t.Errorf("%d tasks are kept of 5 after a commit", n)
	}
}

func TestJournalIsUsedAgainAndAgain(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	stop := run(t, s)
	task := newTask()
	for range 48 {
		task.Name = strings.Repeat("x", 900<<10)
		saveNow(t, s, task)
	}
	task.Name = "at last"
	saveNow(t, s, task)
	if got, err := crash(t, s).Task(task.Id); err != nil || got.Name != "at last" {
		t.Errorf("%.10q, %v", got.GetName(), err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestDamagedJournalIsNamed(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for range 3 {
		saveNow(t, s, newTask())
	}
	home := copyHome(t, s.dir)
	path := filepath.Join(home, journalDir, "00")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[40]++ // in the first of three groups
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(home, Config{})
	wantCode(t, err, protocol.CodeFile)
	dir := filepath.Join(home, journalDir)
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("%v does not name %s", err, dir)
	}
	// What the hint says, in the same process.
	if err := os.Rename(dir, dir+".bad"); err != nil {
		t.Fatal(err)
	}
	moved := open(t, home)
	saveNow(t, moved, newTask())
	if n := survivors(t, moved); n != 1 {
		t.Errorf("%d tasks, want the one saved since", n)
	}
}

// TestJournalOfAnotherDatabaseIsNotReplayed does what the hint of a damaged
// database says.
func TestJournalOfAnotherDatabaseIsNotReplayed(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	saveNow(t, s, newTask())
	home := copyHome(t, s.dir)
	if err := os.Remove(filepath.Join(home, databaseFile)); err != nil {
		t.Fatal(err)
	}
	fresh := open(t, home)
	if n := stored(t, fresh); n != 0 {
		t.Errorf("%d tasks in a new database", n)
	}
	saveNow(t, fresh, newTask())
	if n := survivors(t, fresh); n != 1 {
		t.Errorf("%d tasks, want 1", n)
	}
}

// FuzzChanges parses records of the journal. What parses comes back the same.
func FuzzChanges(f *testing.F) {
	put := change{at(tasksBucket, taskKey(1, "abcdefghij")), []byte("record")}
	deleted := change{at(heldBucket, []byte("key")), nil}
	f.Add(appendChange(appendChange(nil, put), deleted))
	f.Add(appendChange(nil, put)[:20])
	f.Add(appendChange(nil, change{at(nodeBucket, formatKey), []byte{2}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		changes, err := parseChanges(data)
		if err != nil {
			return
		}
		var again []byte
		for _, c := range changes {
			if !journaled[c.bucket] || c.key == "" {
				t.Fatalf("a change of %q, %q", c.bucket, c.key)
			}
			again = appendChange(again, c)
		}
		back, err := parseChanges(again)
		if err != nil || len(back) != len(changes) {
			t.Fatalf("%d changes became %d, %v", len(changes), len(back), err)
		}
		for i, c := range changes {
			if c.where != back[i].where || !bytes.Equal(c.record, back[i].record) {
				t.Fatalf("%v became %v", c, back[i])
			}
		}
	})
}
