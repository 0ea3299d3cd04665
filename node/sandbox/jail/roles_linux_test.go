package jail

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// loads are what a test's worker does between Enter and Seal, by its role.
var loads = map[string]func(c *Cell, argument string) error{
	"read":    readFile,
	"runtime": func(*Cell, string) error { return executable() },
	"many":    func(c *Cell, _ string) error { return openMany(c.Dir) },
}

// runs are what it does after Seal; the others wait.
var runs = map[string]func(c *Cell, argument string) error{
	"spin":    func(*Cell, string) error { spin(); return nil },
	"runtime": func(*Cell, string) error { return useRuntime() },
	"write":   writeFile,
	"large": func(c *Cell, name string) error {
		return os.WriteFile(filepath.Join(c.Dir, name), make([]byte, 2<<20), 0o600)
	},
	"allocate": func(*Cell, string) error { return allocate(2 * probeRoom) },
}

// wait does nothing until stdin is closed.
func wait(*Cell, string) error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func spin() {
	for i := 0; ; i++ {
		_ = i
	}
}

// useRuntime uses what the Go runtime and an engine need of the system while
// guests run: memory, threads, collections, interruptions and timers.
func useRuntime() error {
	go spin() // its interruption needs signals
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			runtime.LockOSThread() // and never unlocked, so the thread ends
			b := make([][]byte, 64)
			for i := range b {
				b[i] = make([]byte, 64<<10)
				b[i][i] = 1
			}
			time.Sleep(time.Millisecond)
		})
	}
	all.Wait()
	runtime.GC()
	debug.FreeOSMemory()
	fired := make(chan struct{})
	time.AfterFunc(time.Millisecond, func() { close(fired) })
	<-fired
	return growMemory()
}

// growMemory reserves, commits and gives back memory as an engine does.
func growMemory() error {
	const size = 64 << 20
	b, err := unix.Mmap(-1, 0, size, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	for end := 1 << 20; end <= size; end *= 2 {
		if err := unix.Mprotect(b[:end], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return err
		}
		b[end-1] = 1
	}
	return errors.Join(unix.Madvise(b, unix.MADV_DONTNEED), unix.Munmap(b))
}

// writeFile writes as an engine's cache does: aside, to be renamed then.
func writeFile(c *Cell, name string) error {
	dir := filepath.Join(c.Dir, "below")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "*.tmp")
	if err != nil {
		return err
	}
	_, err = f.WriteString("code")
	if err := errors.Join(err, f.Sync(), f.Close(), os.Rename(f.Name(), filepath.Join(dir, name))); err != nil {
		return err
	}
	list, err := filepath.Glob(filepath.Join(dir, "*"))
	if err == nil && len(list) != 1 {
		return fmt.Errorf("%d files in the directory", len(list))
	}
	return err
}

func readFile(c *Cell, name string) error {
	b, err := os.ReadFile(filepath.Join(c.Dir, name))
	if err == nil && string(b) != "code" {
		return fmt.Errorf("the file holds %q", b)
	}
	return err
}

func allocate(n int) error {
	b := make([]byte, n)
	b[n/2] = 1
	return fmt.Errorf("allocated %d bytes", len(b))
}

// openMany opens more files than a worker may.
func openMany(dir string) error {
	for range 2 * maxFiles {
		f, err := os.Open(dir)
		if errors.Is(err, unix.EMFILE) {
			return nil
		}
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // it was not read
	}
	return errors.New("too many files were opened")
}
