package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/spare-network/spare/protocol"
)

// filledHome returns a home, not open, whose database has all that there can
// be, and the size of that.
func filledHome(t *testing.T) (home string, size int64) {
	t.Helper()
	home = t.TempDir()
	s, err := Open(home, Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range 60 {
		save(t, s, newTask(), conclude(newTask(), protocol.NewBlob(make([]byte, 1000))))
	}
	if err := s.RememberPeer(newPeer(t, "/ip4/127.0.0.1/tcp/1"), time.Now()); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	info, err := os.Stat(filepath.Join(home, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	return home, info.Size()
}

// useAll opens a home and reads and writes everything in it.
func useAll(home string) error {
	s, err := Open(home, Config{})
	if err != nil {
		return err
	}
	_, err = s.Tasks(10_000, "")
	if err == nil {
		_, err = s.Unfinished()
	}
	for range 60 {
		if err == nil {
			err = s.SaveTask(newTask())
		}
	}
	if err == nil {
		err = s.commit()
	}
	if closing := s.Close(); err == nil {
		err = closing
	}
	return err
}

func TestDamagedDatabaseIsNamed(t *testing.T) {
	t.Parallel()
	home, size := filledHome(t)
	whole, err := os.ReadFile(filepath.Join(home, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		content []byte
	}{
		{"empty", nil},
		{"one byte", []byte("x")},
		{"garbage", noise(1, 100_000)},
		{"text", []byte(strings.Repeat("not a database\n", 5000))},
		{"zeros", make([]byte, 100_000)},
		{"cut in the middle", whole[:size/2/4096*4096]},
		{"cut after the first pages", whole[:4*4096]},
		{"both headers broken", append(make([]byte, 2*os.Getpagesize()), whole[2*os.Getpagesize():]...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			home := t.TempDir()
			path := filepath.Join(home, databaseFile)
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			err := useAll(home)
			wantCode(t, err, protocol.CodeFile)
			if !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not name %s", err, path)
			}
			// What the hint says, in the same process.
			if err := os.Rename(path, path+".bad"); err != nil {
				t.Fatal(err)
			}
			if err := useAll(home); err != nil {
				t.Errorf("moved away, and yet: %v", err)
			}
		})
	}
}

// TestNoDamagedPageMakesItPanic breaks one page after the other: whatever is
// in them, there is an error that names the file, or the page did not matter.
func TestNoDamagedPageMakesItPanic(t *testing.T) {
	t.Parallel()
	home, size := filledHome(t)
	path := filepath.Join(home, databaseFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	errors := 0
	for page := int64(0); page < size/4096; page++ {
		broken := append([]byte(nil), whole...)
		for range 16 { // in the page's header and its elements
			broken[page*4096+random.Int64N(256)] ^= byte(1 + random.IntN(255))
		}
		home := t.TempDir()
		if err := os.WriteFile(filepath.Join(home, databaseFile), broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := useAll(home); err != nil {
			errors++
			if !strings.Contains(err.Error(), filepath.Join(home, databaseFile)) {
				t.Errorf("page %d: %v", page, err)
			}
		}
	}
	if errors == 0 {
		t.Error("no broken page was noticed")
	}
}

func TestDamageFoundInUseEndsRun(t *testing.T) {
	s, err := Open(t.TempDir(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, s)
	save(t, s, newTask())
	s.db.damaged.Store(s.db.damage(fmt.Errorf("page 7 is no page")))
	wantCode(t, s.SaveTaskNow(t.Context(), newTask()), protocol.CodeFile)
	wantCode(t, stop(), protocol.CodeFile)
	wantCode(t, s.Close(), protocol.CodeFile)
	if err := s.db.bolt.Close(); err != nil { // a damaged one is left to the end of the process
		t.Error(err)
	}
}

func TestDatabaseOfAnotherFormatIsLeftAlone(t *testing.T) {
	s := open(t, t.TempDir())
	err := s.db.update(func(tx *bbolt.Tx) error { return tx.Bucket(nodeBucket).Put(formatKey, []byte{format + 1}) })
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	_, err = Open(s.dir, Config{})
	wantCode(t, err, protocol.CodeFile)
	if !strings.Contains(err.Error(), "format 02") {
		t.Error(err)
	}
}
