package wasi

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func TestFileLimits(t *testing.T) {
	g := newGuest(t, Config{Files: 5, FileBytes: 20, Inputs: []Input{{"/in/d/f", []byte("12345")}}})
	g.ok("path_create_directory", 3, "d") // the third entry: /in/d and /in/d/f are two
	g.make("f", "0123456789")
	g.ok("path_symlink", "12345", 3, "l")
	for range 2 {
		g.fails(ENOSPC, "path_create_directory", 3, "x")
		g.fails(ENOSPC, "path_open", 3, 0, "x", openCreate, both, 0, 0, result)
		g.fails(ENOSPC, "path_link", 3, 0, "f", 3, "x")
		g.fails(ENOSPC, "path_symlink", "f", 3, "x")
	}
	fd := g.open("f", 0, both, 0)
	g.vector(11)
	g.fails(ENOSPC, "fd_write", fd, list, 1, result) // a byte too much, so none
	if s := g.statOf("f"); s.Size != 10 {
		t.Errorf("a write that failed left %d bytes", s.Size)
	}
	g.ok("path_rename", 3, "f", 3, "d/f") // takes nothing
	g.ok("path_remove_directory", 3, "tmp")
	g.ok("path_create_directory", 3, "tmp")
	g.fails(ENOSPC, "path_create_directory", 3, "x")
	g.ok("path_unlink_file", 3, "l")
	g.ok("path_create_directory", 3, "x")
	g.vector(5)
	g.ok("fd_pwrite", fd, list, 1, 10, result)
	g.fails(ENOSPC, "fd_pwrite", fd, list, 1, 11, result)

	// Inputs beyond the limits leave no room, and nothing worse.
	g = newGuest(t, Config{Files: 1, FileBytes: 2, Inputs: []Input{{"/in/a", []byte("12345")}, {"/in/b", nil}}})
	g.fails(ENOSPC, "path_create_directory", 3, "x")
	if got := g.load("in/a"); got != "12345" {
		t.Errorf("the input is %q", got)
	}
}

// Listings of open directories are bounded, too.
func TestListingLimit(t *testing.T) {
	const files = 2000
	g := newGuest(t, Config{Files: files, FileBytes: 1})
	for i := range files {
		g.open(fmt.Sprintf("tmp/%d", i), openCreate, both, 0)
		g.ok("fd_close", 4)
	}
	opened, refused := 0, 0
	for range 100 {
		fd := g.open("tmp", openDirectory, reading, 0)
		switch errno := g.call("fd_readdir", fd, buffer, 100, 0, result); errno {
		case Success:
			opened++
		case ENOMEM:
			refused++
		default:
			t.Fatal(errno)
		}
	}
	if opened != (4*(files+3+maxOpen))/(files+2) || refused == 0 {
		t.Errorf("%d listed, %d refused", opened, refused)
	}
	g.ok("fd_close", 4)
	g.entries(maxOpen/20, 0, 100) // closing one makes room
	for fd := uint32(5); fd < 104; fd++ {
		g.ok("fd_close", fd)
	}
	if g.w.files.listed != 0 {
		t.Errorf("%d entries are listed by nobody", g.w.files.listed)
	}
}

// A directory gives back the memory of names that it no longer has.
func TestForgetting(t *testing.T) {
	g := newGuest(t, Config{Files: 5000})
	for i := range 4000 {
		g.ok("path_create_directory", 3, fmt.Sprintf("tmp/%d", i))
	}
	tmp := g.w.files.root.names["tmp"]
	for i := range 3999 {
		g.ok("path_remove_directory", 3, fmt.Sprintf("tmp/%d", i))
	}
	if tmp.peak > 4 || len(tmp.names) != 1 {
		t.Errorf("room for %d names is kept for %d", tmp.peak, len(tmp.names))
	}
	g.statOf("tmp/3999")
	g.ok("path_remove_directory", 3, "tmp/3999")
	if tmp.names != nil {
		t.Error("an empty directory keeps a map")
	}
}

// held is the memory that the files of w take.
func held(w *World) (n uint64) {
	seen := make(map[*node]bool)
	var visit func(*node)
	visit = func(f *node) {
		if seen[f] || f.readOnly && f.kind == kindFile {
			return
		}
		seen[f] = true
		for _, page := range f.pages {
			n += uint64(cap(page))
		}
		n += uint64(len(f.target)) + 24*uint64(cap(f.pages))
		for _, child := range f.names {
			visit(child)
		}
	}
	if w.files == nil {
		return 0
	}
	visit(w.files.root)
	for _, d := range w.table.list {
		if d != nil && d.node != nil {
			visit(d.node)
		}
	}
	return n
}

func TestHolesTakeNoMemory(t *testing.T) {
	g := newGuest(t, Config{Files: 10, FileBytes: 1 << 30})
	fd := g.open("tmp/f", openCreate, both, 0)
	g.vector(1)
	g.ok("fd_pwrite", fd, list, 1, 1<<30-1, result)
	g.ok("fd_filestat_set_size", fd, 1<<29)
	g.ok("fd_allocate", fd, 0, 1<<30)
	if n := held(g.w); n > 1<<20 {
		t.Errorf("a file with one byte in it takes %d", n)
	}
	g.fails(ENOSPC, "path_symlink", "x", 3, "l") // but it counts in full
	g.ok("fd_filestat_set_size", fd, 0)
	if n := held(g.w); n > 0 {
		t.Errorf("an empty file takes %d", n)
	}
}

// A name more makes no file larger here, nor does a hole.
func TestOutputsTakeNoMemory(t *testing.T) {
	const size, names = 32 << 20, 80
	g := newGuest(t, Config{Files: 100, FileBytes: size})
	fd := g.open("out/0", openCreate, both, 0)
	g.vector(4)
	copy(g.m[buffer:], "end.")
	g.ok("fd_pwrite", fd, list, 1, size-4, result)
	for i := range names - 1 {
		g.ok("path_link", 3, 0, "out/0", 3, fmt.Sprintf("out/%d", i+1))
	}
	var list []Output
	used := allocated(func() { list = g.w.Outputs() })
	block := make([]byte, pageSize)
	used += allocated(func() {
		for _, o := range list {
			r, n := o.Open(), uint64(0)
			for {
				k, err := r.Read(block)
				if n += uint64(k); err != nil {
					break
				}
			}
			if n != size || string(block[pageSize-4:]) != "end." {
				t.Errorf("%s: %d bytes", o.Path, n)
			}
		}
	})
	if len(list) != names || used > 1<<20 {
		t.Errorf("%d outputs took %d bytes", len(list), used)
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// What a file takes of memory is paid each time it is taken, and only then.
func TestMemoryIsPaid(t *testing.T) {
	g := newGuest(t, Config{Files: 10, FileBytes: 1 << 20})
	fd := g.open("tmp/f", openCreate, both, 0)
	g.vector(1)
	price := func(offset int) int64 {
		t.Helper()
		before := g.gas
		g.ok("fd_pwrite", fd, list, 1, offset, result)
		return int64(before - g.gas)
	}
	const write, page, grown = priceCall + priceVector, pageSize / bytesPerGas, pageSize / bytesPerHoleGas
	for range 2 {
		if got := price(pageSize - 1); got != write+page+grown {
			t.Errorf("a page of a new file costs %d", got)
		}
		if got := price(0); got != write {
			t.Errorf("a byte of it costs %d", got)
		}
		g.ok("fd_filestat_set_size", fd, 0)
	}
	for _, size := range []int{1, pageSize/2 - 1, pageSize / 3} { // less than half of it was let go of
		_ = price(pageSize - 1)
		g.ok("fd_filestat_set_size", fd, size)
		if got, want := price(pageSize-1), int64(write+page+(pageSize-size)/bytesPerHoleGas); got != want {
			t.Errorf("a page cut to %d bytes costs %d, want %d", size, got, want)
		}
	}
	g.ok("fd_filestat_set_size", fd, pageSize/2)
	if got, want := price(pageSize-1), int64(write+grown/2+(pageSize/2-1)/bytesPerGas); got != want {
		t.Errorf("half a page that was kept costs %d to clear, want %d", got, want)
	}
	if got, want := price(pageSize/4), int64(write); got != want {
		t.Errorf("a byte of it costs %d, want %d", got, want)
	}
}

// However a guest has its file's memory taken, cleared and given back, it pays
// for the bytes that the host goes through.
func TestMemoryIsPaidEveryTime(t *testing.T) {
	const rounds = 50
	for name, c := range map[string]struct {
		file, cut int // the file's last byte, and what it is cut to
		touched   int // bytes that a round allocates, copies and clears
	}{
		"a page is let go of":                {pageSize - 1, 0, pageSize},
		"a page is let go of but for a byte": {pageSize - 1, 1, pageSize + 1},
		"less than half of it is left":       {pageSize - 1, pageSize/2 - 1, pageSize + pageSize/2 - 1},
		"half of it is kept":                 {pageSize - 1, pageSize / 2, pageSize/2 - 1},
		"most of it is kept":                 {pageSize - 1, pageSize - 1000, 999},
		"the last of many pages":             {64*pageSize - 1, 63 * pageSize, pageSize},
		"all of a large hole":                {64*pageSize - 1, 0, pageSize},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, Config{Files: 10, FileBytes: 8 << 20})
			fd := g.open("tmp/f", openCreate, both, 0)
			g.vector(1)
			g.ok("fd_pwrite", fd, list, 1, c.file, result)
			before := g.gas
			used := allocated(func() {
				for range rounds {
					g.ok("fd_filestat_set_size", fd, c.cut)
					g.ok("fd_pwrite", fd, list, 1, c.file, result)
				}
			})
			paid := int64(before - g.gas)
			calls := int64(2*priceCall + priceVector + 2*((c.file+1-c.cut)/bytesPerHoleGas))
			if least := rounds * (calls + int64(c.touched/bytesPerGas)); paid < least || paid > least+2*rounds {
				t.Errorf("%d rounds cost %d, want %d", rounds, paid, least)
			}
			if uint64(paid) < used/bytesPerGas {
				t.Errorf("%d gas for %d bytes", paid, used)
			}
		})
	}
}

// bill calls a function on accounts of growing size until it is not ended for
// want of gas, and returns what it cost. Before that it must have done nothing.
func bill(t *testing.T, prepare func(*guest), undone func(*guest) any, name string, args ...any) int64 {
	t.Helper()
	fresh := func() *guest {
		g := newGuest(t, Config{Args: []string{"one", "two"}, Env: []string{"A=b"}, Stdin: strings.NewReader("input"), Clock: 7})
		prepare(g)
		return g
	}
	rich := fresh()
	before := rich.gas
	_ = rich.call(name, args...)
	price := int64(before - rich.gas)
	want := undone(fresh())
	for _, have := range []int64{0, 1, price / 2, price - 1} {
		g := fresh()
		g.gas = account(have)
		errno := g.call(name, args...)
		if !errors.Is(g.err, ErrOutOfGas) || errno != Success || g.gas >= 0 {
			t.Errorf("%s with %d of %d gas: %v, %v, %d left", name, have, price, errno, g.err, g.gas)
		}
		left := g.gas
		g.gas = plenty
		if got := undone(g); !reflect.DeepEqual(got, want) {
			t.Errorf("%s with %d of %d gas did something: %v, want %v", name, have, price, got, want)
		}
		g.gas = left
		if _ = g.call("sched_yield"); !errors.Is(g.err, ErrOutOfGas) || g.gas != left {
			t.Errorf("after %s ran out: %v", name, g.err)
		}
	}
	g := fresh()
	g.gas = account(price)
	if _ = g.call(name, args...); g.err != nil || g.gas != 0 {
		t.Errorf("%s with %d gas: %v, %d left", name, price, g.err, g.gas)
	}
	return price
}

func TestPrices(t *testing.T) {
	nothing := func(*guest) {}
	memory := func(g *guest) any { return string(g.m[:list]) + string(g.m[buffer:paths]) }
	vectors := func(g *guest) { g.vectors(buffer, 1000, buffer+1000, 3000) }
	file := func(size int) func(*guest) {
		return func(g *guest) {
			g.make("f", strings.Repeat("x", size))
			g.open("f", 0, both, 0)
			vectors(g)
		}
	}
	root := func(g *guest) any { return g.names(".") }
	size := func(g *guest) any { return g.statOf("f").Size }
	for _, c := range []struct {
		name    string
		prepare func(*guest)
		undone  func(*guest) any
		args    []any
		want    int64
	}{
		{"sched_yield", nothing, memory, nil, priceCall},
		{"fd_fdstat_get", nothing, memory, []any{0, result}, priceCall},
		{"random_get", nothing, memory, []any{buffer, 5000}, priceCall + 5000*priceRandomByte},
		{"args_get", nothing, memory, []any{result, buffer}, priceCall + 2*priceString + 8/bytesPerGas},
		{"environ_get", nothing, memory, []any{result, buffer}, priceCall + priceString},
		{"fd_read", vectors, memory, []any{0, list, 2, result}, priceCall + 2*priceVector + 4000*priceStreamByte},
		{"fd_write", vectors, func(g *guest) any { return g.stdout.Len() }, []any{1, list, 2, result}, priceCall + 2*priceVector + 4000*priceStreamByte},
		{"fd_read", file(800), memory, []any{4, list, 2, result}, priceCall + 2*priceVector + 800/bytesPerGas},
		{"fd_pread", file(8000), memory, []any{4, list, 2, 0, result}, priceCall + 2*priceVector + 4000/bytesPerGas},
		{"fd_write", file(0), size, []any{4, list, 2, result}, priceCall + 2*priceVector + 2*(4000/bytesPerGas) + 4000/bytesPerHoleGas},
		{"fd_pwrite", file(0), size, []any{4, list, 2, 500_000, result}, priceCall + 2*priceVector + 4000/bytesPerGas + (504_000%pageSize)/bytesPerGas + 504_000/bytesPerHoleGas},
		{"fd_allocate", file(0), size, []any{4, 0, 1 << 20}, priceCall + 1<<20/bytesPerHoleGas},
		{"fd_filestat_set_size", file(0), size, []any{4, 1 << 20}, priceCall + 1<<20/bytesPerHoleGas},
		{"fd_readdir", nothing, memory, []any{3, buffer, 4096, 0, result}, priceCall + 4096/bytesPerGas + 5*priceEntry},
		{"path_create_directory", nothing, root, []any{3, "newdir"}, priceCall + 6*pricePathByte + priceFile},
		{"path_open", nothing, root, []any{3, 0, "newfile", openCreate, both, 0, 0, result}, priceCall + 7*pricePathByte + priceFile},
		{"path_open", file(4096), size, []any{3, 0, "f", openTruncate, both, 0, 0, result}, priceCall + pricePathByte + priceFile + 4096/bytesPerHoleGas},
		{"path_symlink", nothing, root, []any{"target", 3, "l"}, priceCall + 7*pricePathByte + priceFile},
		{"path_link", file(0), root, []any{3, 0, "f", 3, "g"}, priceCall + 2*pricePathByte + priceFile},
		{"path_rename", nothing, root, []any{3, "tmp", 3, "out/t"}, priceCall + 8*pricePathByte + priceFile + priceStep},
		{
			"path_readlink", func(g *guest) { g.ok("path_symlink", strings.Repeat("t", 800), 3, "l") }, memory,
			[]any{3, "l", buffer, 1000, result},
			priceCall + pricePathByte + 800/bytesPerGas,
		},
		{
			"path_filestat_get", func(g *guest) { g.ok("path_symlink", "./././out", 3, "l") }, memory,
			[]any{3, flagFollow, "l", result},
			priceCall + 10*pricePathByte,
		},
		{
			"poll_oneoff", func(g *guest) { g.put32(buffer+24, 1000) }, func(g *guest) any { return g.w.slept },
			[]any{buffer, buffer + 100, 1, result},
			priceCall + priceSubscription,
		},
	} {
		if got := bill(t, c.prepare, c.undone, c.name, c.args...); got != c.want {
			t.Errorf("%s%v costs %d, want %d", c.name, c.args, got, c.want)
		}
	}
}

// No length makes a price wrap around, or a host's allocation before it is paid.
func TestHugePrices(t *testing.T) {
	g := newGuest(t, Config{GasLimit: 1_000_000, Files: 10, FileBytes: math.MaxUint64})
	g.m = make(memory, 64<<20)
	for _, c := range []struct {
		name string
		args []any
	}{
		{"random_get", []any{0, 64 << 20}},
		{"fd_readdir", []any{3, 0, 64 << 20, 0, result}},
		{"fd_filestat_set_size", []any{4, uint64(math.MaxInt64)}},
		{"fd_allocate", []any{4, uint64(1 << 62), uint64(1 << 61)}},
	} {
		g.gas = 1_000_000
		if _, err := g.w.table.get(4); err != nil {
			g.open("f", openCreate, both, 0)
		}
		if _ = g.call(c.name, c.args...); !errors.Is(g.err, ErrOutOfGas) || g.gas >= 0 {
			t.Errorf("%s: %v, %d left", c.name, g.err, g.gas)
		}
	}
	if err := g.w.charge(math.MaxUint64); !errors.Is(err, ErrOutOfGas) {
		t.Error(err)
	}
	if used := g.w.used(); used != 1_000_000 {
		t.Errorf("out of gas, the guest has used %d", used)
	}
	if n := held(g.w); n > 1000 {
		t.Errorf("%d bytes are held", n)
	}
}
