package store

import (
	"bytes"
	"fmt"
	"testing"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

// leaving ends t with n output files.
func leaving(t *protocol.Task, n int) *protocol.Task {
	conclude(t, protocol.NewBlob(nil))
	for i := range n {
		sum := protocol.DigestOf([]byte{byte(i)})
		t.Result.Files = append(t.Result.Files, &protocol.File{
			Path: fmt.Sprintf("/out/some-folder/file-%06d", i), Blob: &protocol.Blob{Digest: sum[:], Size: 1},
		})
	}
	pack := protocol.DigestOf([]byte("pack"))
	t.Result.Pack, t.Result.FileCount = &protocol.Blob{Digest: pack[:], Size: uint64(n)}, uint32(n)
	return t
}

// lists counts the lists of files in the database, and overwrites them with
// garbage if wanted.
func lists(t *testing.T, s *Store, spoil bool) (n int) {
	t.Helper()
	err := s.db.update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(filesBucket)
		var keys [][]byte
		err := bucket.ForEach(func(key, _ []byte) error {
			keys = append(keys, bytes.Clone(key))
			return nil
		})
		for _, key := range keys {
			if spoil && err == nil {
				err = bucket.Put(key, []byte("no list"))
			}
		}
		n = len(keys)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFilesComeBackWithTheirTask(t *testing.T) {
	s := open(t, t.TempDir())
	task := leaving(newTask(), 4096)
	before, pack := proto.CloneOf(task), task.Result.Pack.Sum()
	save(t, s, task)
	if !proto.Equal(task, before) {
		t.Error("a save changes the caller's task")
	}
	check := func(when string) {
		t.Helper()
		if got, err := s.Task(task.Id); err != nil || !proto.Equal(got, task) {
			t.Errorf("%s: %v, %d files", when, err, len(got.GetResult().GetFiles()))
		}
		list, err := s.Tasks(1, "")
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		if r := list[0].Result; len(r.Files) != 0 || r.FileCount != 4096 || r.Pack.Sum() != pack || r.Pack.Size != 4096 {
			t.Errorf("%s: listed with %d files, of %d in a pack of %d bytes", when, len(r.Files), r.FileCount, r.Pack.GetSize())
		}
	}
	check("pending")
	if err := s.commit(); err != nil {
		t.Fatal(err)
	}
	check("committed")
	s = reopen(t, s)
	check("after a restart")

	save(t, s, conclude(task, protocol.NewBlob(nil)))
	s = reopen(t, s)
	if got, err := s.Task(task.Id); err != nil || !proto.Equal(got, task) || lists(t, s, false) != 0 {
		t.Errorf("saved again without files: %v, %d files, %d lists", err, len(got.GetResult().GetFiles()), lists(t, s, false))
	}
}

// Listing tasks works although no list can be read, and no record holds one.
func TestListingReadsNoFiles(t *testing.T) {
	s := open(t, t.TempDir())
	for range 50 {
		save(t, s, leaving(newTask(), 100))
	}
	s = reopen(t, s)
	if n := lists(t, s, true); n != 50 {
		t.Fatalf("%d lists, want 50", n)
	}
	list, err := s.Tasks(50, "")
	if err != nil || len(list) != 50 {
		t.Fatalf("%d tasks, %v", len(list), err)
	}
	for _, task := range list {
		if task.Result.FileCount != 100 {
			t.Errorf("%d files are counted", task.Result.FileCount)
		}
		_, err := s.Task(task.Id)
		wantCode(t, err, protocol.CodeFile)
	}
	err = s.db.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(tasksBucket).ForEach(func(_, record []byte) error {
			if bytes.Contains(record, []byte("/out/")) {
				t.Error("a record holds the path of an output file")
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
}

func TestLostListIsDamage(t *testing.T) {
	s := open(t, t.TempDir())
	task := leaving(newTask(), 3)
	save(t, s, task)
	s = reopen(t, s)
	if err := s.db.update(func(tx *bbolt.Tx) error {
		if err := tx.DeleteBucket(filesBucket); err != nil {
			return err
		}
		_, err := tx.CreateBucket(filesBucket)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Task(task.Id)
	wantCode(t, err, protocol.CodeFile)
}

func TestListsArePrunedWithTheirTasks(t *testing.T) {
	s := open(t, t.TempDir(), Config{KeepTasks: 3})
	for range 10 {
		save(t, s, leaving(newTask(), 5))
		if err := s.commit(); err != nil {
			t.Fatal(err)
		}
	}
	s = reopen(t, s, Config{KeepTasks: 3})
	if tasks, n := stored(t, s), lists(t, s, false); tasks != 3 || n != 3 {
		t.Errorf("%d records and %d lists are kept, want 3", tasks, n)
	}
}

// A home written when records still held their lists is read as it is.
func TestListWithinAnOldRecordIsRead(t *testing.T) {
	s := open(t, t.TempDir())
	task := leaving(newTask(), 3)
	task.Result.FileCount = 0
	save(t, s, task)
	s = reopen(t, s)
	body, err := proto.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	err = s.db.update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(tasksBucket)
		key, record := bucket.Cursor().First()
		_, _, rest, err := parseHeader(record)
		if err != nil {
			return err
		}
		old := append(bytes.Clone(record[:len(record)-len(rest)]), body...)
		if err := bucket.Put(bytes.Clone(key), old); err != nil {
			return err
		}
		return tx.Bucket(filesBucket).Delete(key)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Task(task.Id); err != nil || !proto.Equal(got, task) {
		t.Errorf("%v, %d files", err, len(got.GetResult().GetFiles()))
	}
}
