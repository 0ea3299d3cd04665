package sandbox

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spare-network/spare/node/sandbox/meter"
	"github.com/spare-network/spare/node/sandbox/wasi"
	"github.com/spare-network/spare/protocol"
)

// opens counts how often x's module is opened.
func opens(x *Execution) *int {
	n, module := new(int), x.Module
	x.Module = func() (io.ReadCloser, error) { *n++; return module() }
	return n
}

// entryFiles are the files of the only module cached in dir.
func entryFiles(t *testing.T, dir string) (code, mac string) {
	t.Helper()
	codes, err := filepath.Glob(filepath.Join(dir, "*", codeDir, "wazero-*", "*"))
	if err != nil || len(codes) != 1 {
		t.Fatal(codes, err)
	}
	return codes[0], filepath.Join(filepath.Dir(codes[0]), "..", "..", macFile)
}

func TestCompiledCodeSurvivesARestart(t *testing.T) {
	flip := func(t *testing.T, name string) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name     string
		meddle   func(t *testing.T, code, mac string)
		compiles bool // again
	}{
		{"untouched", func(*testing.T, string, string) {}, false},
		{"code changed", func(t *testing.T, code, _ string) { flip(t, code) }, true},
		{"code cut", func(t *testing.T, code, _ string) {
			if err := os.Truncate(code, 10); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"code renamed", func(t *testing.T, code, _ string) {
			if err := os.Rename(code, code+"0"); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"code gone", func(t *testing.T, code, _ string) {
			if err := os.Remove(code); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"another file beside it", func(t *testing.T, code, _ string) {
			if err := os.WriteFile(code+"1", nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"MAC changed", func(t *testing.T, _, mac string) { flip(t, mac) }, true},
		{"MAC gone", func(t *testing.T, _, mac string) {
			if err := os.Remove(mac); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			x := execution(t, "a", copier(), stdin([]byte("same")))
			first := newPoolIn(t, dir, 1, 0)
			run(t, first, x)
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			code, mac := entryFiles(t, dir)
			c.meddle(t, code, mac)

			p := newPoolIn(t, dir, 1, 0)
			n := opens(&x)
			want := 0
			if c.compiles {
				want = 1
			}
			if o := run(t, p, x); string(o.Stdout) != "same" || *n != want {
				t.Errorf("the module was opened %d times, want %d; %+v", *n, want, o)
			}
			entryFiles(t, dir)
		})
	}
}

func TestCodeOfAnotherModuleIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	p := newPoolIn(t, dir, 1, 0)
	x, y := execution(t, "a", hello(1, "x"), nil), execution(t, "a", hello(1, "y"), nil)
	run(t, p, x)
	code, mac := entryFiles(t, dir)
	from := filepath.Dir(filepath.Dir(filepath.Dir(code)))
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	to := strings.Replace(from, x.Spec.Module.Sum().String(), y.Spec.Module.Sum().String(), 1)
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mac); err == nil {
		t.Fatal("it has not moved")
	}
	if o := run(t, newPoolIn(t, dir, 1, 0), y); string(o.Stdout) != "y" {
		t.Errorf("%+v", o)
	}
}

// Code for another processor has a right MAC, but the engine passes it by.
func TestStaleCodeIsCompiledAgain(t *testing.T) {
	dir := t.TempDir()
	p := newPoolIn(t, dir, 1, 0)
	x := execution(t, "a", copier(), stdin([]byte("same")))
	run(t, p, x)
	code, mac := entryFiles(t, dir)
	if err := os.Rename(code, code[:len(code)-4]+"0000"); err != nil {
		t.Fatal(err)
	}
	sum, _, err := p.cache.mac(filepath.Dir(mac), x.Spec.Module.Sum())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mac, sum, 0o600); err != nil {
		t.Fatal(err)
	}
	x.Owner = "b"
	if o := run(t, p, x); string(o.Stdout) != "same" {
		t.Errorf("%+v", o)
	}
	if now, _ := entryFiles(t, dir); now != code {
		t.Errorf("the code is %s, not %s", now, code)
	}
}

func TestExecutorsNeverCompile(t *testing.T) {
	dir, e := t.TempDir(), defaultEngine()
	m, err := admit(copier(), meter.Default())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readMetered(dir); !errors.Is(err, errStale) {
		t.Errorf("the module of an empty directory: %v", err)
	}
	if _, err := e.load(m.Wasm, dir, 1<<20, wasi.NewWorld()); !errors.Is(err, errStale) {
		t.Errorf("from an empty directory: %v", err)
	}
	compileInto(t, dir, hello(1, "other"))
	if _, err := e.load(m.Wasm, dir, 1<<20, wasi.NewWorld()); !errors.Is(err, errStale) {
		t.Errorf("from another module's code: %v", err)
	}
}

func TestCacheIsBoundedByBytes(t *testing.T) {
	dir := t.TempDir()
	p := newPoolIn(t, dir, 1, codeSize(t)*3/2)
	var last protocol.Digest
	for _, text := range []string{"one", "two", "three"} {
		x := execution(t, "a", hello(1, text), nil)
		run(t, p, x)
		last = x.Spec.Module.Sum()
		if list := p.WarmModules(8); !slices.Equal(list, []protocol.Digest{last}) {
			t.Errorf("after %s: %v", text, list)
		}
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestPoolIsBoundAnew(t *testing.T) {
	p := newPoolIn(t, t.TempDir(), 1, codeSize(t)*5/2)
	one, two := execution(t, "a", hello(1, "one"), nil), execution(t, "a", hello(1, "two"), nil)
	run(t, p, one)
	run(t, p, two)
	if list := p.WarmModules(8); len(list) != 2 {
		t.Fatalf("%d modules fit where two do", len(list))
	}
	p.BoundCache(codeSize(t) * 3 / 2)
	if list := p.WarmModules(8); !slices.Equal(list, []protocol.Digest{two.Spec.Module.Sum()}) {
		t.Errorf("in half of the room: %v", list)
	}

	// With two slots both run; with one the second had to wait for the first.
	p.Resize(2)
	ctx, cancel := context.WithCancel(t.Context())
	var both sync.WaitGroup
	defer both.Wait()
	defer cancel()
	for range 2 {
		both.Go(func() { _, _ = p.Run(ctx, execution(t, "a", hello(0, "", spin()), nil)) }) // until it is cancelled
	}
	for p.Figures().Busy < 2 {
		time.Sleep(time.Millisecond)
	}
}

// What was just compiled stays although only that would make room.
func TestCacheKeepsWhatIsAboutToBeUsed(t *testing.T) {
	p := newPoolIn(t, t.TempDir(), 1, codeSize(t)*3/2)
	one, two := execution(t, "a", hello(1, "one"), nil), execution(t, "a", hello(1, "two"), nil)
	run(t, p, one)
	pinned, _ := p.cache.claim(one.Spec.Module.Sum())
	opened := opens(&two)
	run(t, p, two)
	if *opened != 1 || len(p.WarmModules(8)) != 2 {
		t.Errorf("it was compiled %d times; kept: %v", *opened, p.WarmModules(8))
	}
	p.cache.release(pinned)
	run(t, p, execution(t, "a", hello(1, "three"), nil))
	if list := p.WarmModules(8); len(list) != 1 {
		t.Errorf("without a pin: %v", list)
	}
}

// codeSize is the number of bytes of code of a small module.
func codeSize(t *testing.T) int64 {
	t.Helper()
	dir := t.TempDir()
	compileInto(t, dir, hello(1, "text"))
	size, err := dirSize(dir)
	if err != nil {
		t.Fatal(err)
	}
	return int64(size)
}

// compileInto does what a compile worker does.
func compileInto(t *testing.T, dir string, wasm []byte) {
	t.Helper()
	o := orders{Dir: dir, MemoryLimit: 1 << 20, Ceilings: meter.Default()}
	if err := prepare(defaultEngine(), wasm, o); err != nil {
		t.Fatal(err)
	}
}

func TestCodeLargerThanTheCacheIsRefused(t *testing.T) {
	dir := t.TempDir()
	p := newPoolIn(t, dir, 1, codeSize(t)-1)
	x := execution(t, "a", hello(1, "text"), nil)
	if _, err := p.Run(t.Context(), x); protocol.CodeOf(err) != protocol.CodeRefused {
		t.Errorf("%v", err)
	}
	scratch, err := p.cache.scratch()
	if err != nil {
		t.Fatal(err)
	}
	compileInto(t, filepath.Join(scratch, codeDir), hello(1, "text"))
	if err := p.cache.adopt(scratch, x.Spec.Module.Sum()); protocol.CodeOf(err) != protocol.CodeRefused {
		t.Errorf("adopted: %v", err)
	}
	if list := p.WarmModules(8); len(list) > 0 {
		t.Errorf("kept: %v", list)
	}
}

// A directory with whatever name may hold the cache.
func TestCacheDirectoryIsNoPattern(t *testing.T) {
	run(t, newPoolIn(t, filepath.Join(t.TempDir(), "a[b]c\\x"), 1, 0), execution(t, "a", copier(), nil))
}

// Something that could not be removed must not keep its module from ever being
// compiled again.
func TestLeavingsMakeRoom(t *testing.T) {
	dir := t.TempDir()
	p := newPoolIn(t, dir, 1, 0)
	x := execution(t, "a", copier(), nil)
	leavings := filepath.Join(dir, x.Spec.Module.Sum().String()+"-"+p.cache.platform, codeDir, "wazero-old")
	if err := os.MkdirAll(leavings, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, p, x)
	entryFiles(t, dir)
}

func TestLastUsedModulesComeFirst(t *testing.T) {
	dir := t.TempDir()
	p := newPoolIn(t, dir, 1, 0)
	var digests []protocol.Digest
	for i, text := range []string{"one", "two", "three", "one"} {
		x := execution(t, string(rune('a'+i)), hello(1, text), nil)
		run(t, p, x)
		digests = append(digests, x.Spec.Module.Sum())
	}
	want := []protocol.Digest{digests[3], digests[2], digests[1]}
	if got := p.WarmModules(8); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := p.WarmModules(2); !slices.Equal(got, want[:2]) {
		t.Errorf("%v, want %v", got, want[:2])
	}
	if got := newPoolIn(t, dir, 1, 0).WarmModules(8); !slices.Equal(got, want) {
		t.Errorf("after a restart %v, want %v", got, want)
	}
}

func TestOpeningTheCacheTidiesUp(t *testing.T) {
	dir := t.TempDir()
	old := protocol.DigestOf(nil).String() + "-0123456789abcdef"
	for _, name := range []string{scratch + "1", old, "kept by somebody"} {
		if err := os.MkdirAll(filepath.Join(dir, name, codeDir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	newPoolIn(t, dir, 1, 0)
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 || list[0].Name() != "kept by somebody" {
		t.Errorf("%v, %v", list, err)
	}
}
