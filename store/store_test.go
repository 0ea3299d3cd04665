package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

// newTask returns a task like a small one of the hot path, just submitted.
func newTask() *protocol.Task {
	module := protocol.DigestOf([]byte("module"))
	spec := &protocol.Spec{
		Module: &protocol.Blob{Digest: module[:], Size: 6},
		Args:   []string{"wordcount"},
		Stdin:  protocol.NewBlob([]byte("hello")),
		Limits: &protocol.Limits{MemoryBytes: 64 << 20, OutputBytes: 1 << 20, WallMs: 1000},
	}
	b, err := spec.Marshal()
	if err != nil {
		panic(err)
	}
	nonce := protocol.NewNonce()
	return &protocol.Task{
		Id:              string(protocol.NewTaskID()),
		Spec:            b,
		Terms:           &protocol.Terms{Replicas: 1},
		Name:            "wordcount.wasm",
		SubmittedUnixMs: time.Now().UnixMilli(),
		State:           protocol.StateRunning,
		Replicas: []*protocol.Replica{{
			Attempt: 1, Nonce: nonce[:], Provider: "12D3KooWGRUcZ7YFCLEJ2ZYFQ4bRuQRVwcPeyeDMrzcwTz2xv5mT",
			State: protocol.StateRunning, Reason: "lowest score of 2: idle, rtt 0.3 ms", RttUs: 300,
		}},
	}
}

// conclude ends t with this output.
func conclude(t *protocol.Task, stdout *protocol.Blob) *protocol.Task {
	t.State = protocol.StateDone
	t.EndedUnixMs = time.Now().UnixMilli()
	t.Result = &protocol.Result{Stdout: stdout, Stderr: protocol.NewBlob(nil)}
	return t
}

func open(t *testing.T, dir string, cfg ...Config) *Store {
	t.Helper()
	s, err := Open(dir, append(cfg, Config{})[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// reopen closes s and opens its home again.
func reopen(t *testing.T, s *Store, cfg ...Config) *Store {
	t.Helper()
	closeStore(t, s)
	return open(t, s.dir, cfg...)
}

// run starts Run; stop ends it and returns its error.
func run(t *testing.T, s *Store) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	eventually(t, "Run commits", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.running
	})
	return func() error {
		cancel()
		return <-ran
	}
}

func wantCode(t *testing.T, err error, code protocol.Code) {
	t.Helper()
	var e *protocol.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got error %v, want code %s", err, code)
	}
}

// eventually fails the test when the condition does not come true.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for start := time.Now(); !condition(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("%s: not after 20 s", what)
		}
	}
}

// files returns the regular files below dir of the home.
func files(t *testing.T, home, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(home, dir), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestHomeIsForItsOwnerOnly(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no modes; the home inherits the profile's access list")
	}
	dir := filepath.Join(t.TempDir(), "deep", "home")
	s := open(t, dir)
	if _, err := s.Identity(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.NetworkSecret("lab"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Key("cache"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Blobs().Put(strings.NewReader("x"), 10); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLeftOverTemporaryFilesAreSwept(t *testing.T) {
	s := open(t, t.TempDir())
	spool := s.Blobs().NewSpool(1 << 20)
	if _, err := spool.Write(make([]byte, protocol.MaxInline+1)); err != nil {
		t.Fatal(err)
	}
	if n := len(files(t, s.dir, tempDir)); n != 1 {
		t.Fatalf("%d temporary files, want 1", n)
	}
	s = reopen(t, s)
	if left := files(t, s.dir, tempDir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	spool.Discard()
}

func TestOpenSaysWhichDirectoryCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(filepath.Join(file, "home"), Config{})
	wantCode(t, err, protocol.CodeFile)
	if !strings.Contains(err.Error(), file) {
		t.Errorf("%v does not name %s", err, file)
	}
}

func TestCloseTwiceIsFineAndSavesAreRefusedAfterwards(t *testing.T) {
	s := open(t, t.TempDir())
	closeStore(t, s)
	closeStore(t, s)
	if err := s.SaveTask(newTask()); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}
