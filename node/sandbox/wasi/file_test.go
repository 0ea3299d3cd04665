package wasi

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestPreopen(t *testing.T) {
	g := newGuest(t, Config{})
	g.ok("fd_prestat_get", 3, result)
	if g.u32(result) != 0 || g.u32(result+4) != 1 {
		t.Errorf("prestat %d, a name of %d bytes", g.u32(result), g.u32(result+4))
	}
	g.ok("fd_prestat_dir_name", 3, buffer, 1)
	if g.m[buffer] != '/' {
		t.Errorf("the name is %q", g.m[buffer])
	}
	g.ok("fd_fdstat_get", 3, result)
	if g.w.files != nil {
		t.Error("looking for the directories given made the file system")
	}
	g.fails(ENAMETOOLONG, "fd_prestat_dir_name", 3, buffer, 0)
	g.fails(EBADF, "fd_prestat_get", 4, result)
	g.fails(EBADF, "fd_prestat_dir_name", 4, buffer, 1)
	fd := g.open("out", openDirectory, reading, 0)
	g.fails(EBADF, "fd_prestat_get", fd, result)
	g.ok("fd_close", 3) // as any other
	g.fails(EBADF, "fd_prestat_get", 3, result)
	g.fails(EBADF, "path_create_directory", 3, "x")
}

func TestOpen(t *testing.T) {
	config := Config{Inputs: []Input{{"/in/file", []byte("text")}}}
	for _, c := range []struct {
		path   string
		how    int
		rights int
		want   Errno
		follow bool
	}{
		{path: "out/new", want: ENOENT},
		{path: "out/new", how: openCreate, rights: both},
		{path: "out/new", how: openCreate | openExclusive, rights: both},
		{path: "out/new/", how: openCreate, rights: both, want: EISDIR},
		{path: "no/new", how: openCreate, rights: both, want: ENOENT},
		{path: "tmp/file/new", how: openCreate, rights: both, want: ENOTDIR},
		{path: "tmp/file", rights: reading},
		{path: "tmp/file/", rights: reading, want: ENOTDIR},
		{path: "tmp/file", how: openCreate, rights: both},
		{path: "tmp/file", how: openCreate | openExclusive, rights: both, want: EEXIST},
		{path: "tmp/file", how: openExclusive, rights: both},
		{path: "tmp/file", how: openDirectory, want: ENOTDIR},
		{path: "tmp", how: openDirectory, rights: both},
		{path: "tmp", rights: reading},
		{path: "tmp/", rights: reading},
		{path: ".", rights: reading},
		{path: "tmp", rights: writing, want: EISDIR},
		{path: "tmp", how: openTruncate, want: EISDIR},
		{path: "tmp", how: openTruncate | openDirectory, want: EISDIR},
		{path: "tmp", how: openCreate, want: EISDIR},
		{path: "tmp/x", how: openCreate | openDirectory, want: EINVAL},
		{path: "tmp", how: openFlags + 1, want: EINVAL},
		{path: "in/file", rights: reading},
		{path: "in/file", rights: both, want: EROFS},
		{path: "in/file", how: openTruncate, rights: reading, want: EROFS},
		{path: "in/new", how: openCreate, rights: both, want: EROFS},
		{path: "tmp/link", rights: reading, want: ELOOP},
		{path: "tmp/link", rights: reading, follow: true},
		{path: "tmp/link", how: openCreate | openExclusive, follow: true, want: EEXIST},
		{path: "tmp/dangling", rights: reading, follow: true, want: ENOENT},
		{path: "tmp/dangling", how: openCreate, rights: both, follow: true},
		{path: "tmp/dangling", how: openCreate | openExclusive, rights: both, follow: true, want: EEXIST},
	} {
		g := newGuest(t, config)
		g.make("tmp/file", "text")
		g.ok("path_symlink", "file", 3, "tmp/link")
		g.ok("path_symlink", "../out/there", 3, "tmp/dangling")
		follow := 0
		if c.follow {
			follow = flagFollow
		}
		if got := g.call("path_open", 3, follow, c.path, c.how, c.rights, 0, 0, result); got != c.want {
			t.Errorf("open %s (flags %#x, rights %#x, follow %t): %v, want %v", c.path, c.how, c.rights, c.follow, got, c.want)
		}
		if fd := g.u32(result); c.want == Success && fd != 4 {
			t.Errorf("open %s gave descriptor %d", c.path, fd)
		}
		if c.want != Success {
			g.fails(EBADF, "fd_sync", 4)
		}
	}
	g := newGuest(t, config)
	g.fails(EINVAL, "path_open", 3, 0, "tmp", 0, reading, 0, descriptorFlags+1, result)
	g.fails(EFAULT, "path_open", 3, 0, "tmp/made", openCreate, both, 0, 0, beyond-3)
	g.fails(ENOENT, "path_filestat_get", 3, 0, "tmp/made", result)
	g.fails(EBADF, "path_open", 4, 0, "tmp", 0, reading, 0, 0, result)
	g.fails(ENOTDIR, "path_open", g.open("in/file", 0, reading, 0), 0, "tmp", 0, reading, 0, 0, result)
	out := g.open("out", openDirectory, reading, 0)
	g.ok("path_open", out, 0, "a", openCreate, both, 0, 0, result)
	g.statOf("out/a")
}

func TestReadAndWrite(t *testing.T) {
	g := newGuest(t, Config{Inputs: []Input{{"/in/file", []byte("input")}}})
	fd := g.open("tmp/f", openCreate, both, 0)
	g.write(fd, "hello world")
	if got := g.read(fd, 10); got != "" {
		t.Errorf("at the end: %q", got)
	}
	g.ok("fd_seek", fd, 6, 0, result)
	if got := g.read(fd, 3); got != "wor" {
		t.Errorf("after a seek: %q", got)
	}
	g.write(fd, "LD!")
	if got := g.load("tmp/f"); got != "hello worLD!" {
		t.Errorf("after writing over the end: %q", got)
	}
	g.vectors(buffer, 2, buffer+100, 3)
	g.ok("fd_pread", fd, list, 2, 1, result)
	if got := string(g.m[buffer:][:2]) + string(g.m[buffer+100:][:3]); got != "ello " {
		t.Errorf("pread: %q", got)
	}
	g.ok("fd_pread", fd, list, 2, uint64(math.MaxInt64), result)
	if g.u32(result) != 0 {
		t.Errorf("pread far beyond the end gave %d bytes", g.u32(result))
	}
	copy(g.m[buffer:], "JE")
	g.vector(2)
	g.ok("fd_pwrite", fd, list, 1, 0, result)
	g.ok("fd_pwrite", fd, list, 1, 14, result) // leaves a hole
	g.ok("fd_tell", fd, result)
	if g.u64(result) != 12 {
		t.Errorf("pread and pwrite moved the offset to %d", g.u64(result))
	}
	if got := g.load("tmp/f"); got != "JEllo worLD!\x00\x00JE" {
		t.Errorf("after pwrite: %q", got)
	}
	g.fails(EINVAL, "fd_pread", fd, list, 1, uint64(1<<63), result)
	g.fails(EINVAL, "fd_pwrite", fd, list, 1, uint64(1<<63), result)
	g.fails(EFBIG, "fd_pwrite", fd, list, 1, uint64(math.MaxInt64), result)
	g.fails(EFAULT, "fd_pwrite", fd, list, 1, 0, beyond-3)

	log := g.open("tmp/f", 0, writing, flagAppend)
	g.ok("fd_seek", log, 0, 0, result)
	g.write(log, "+")
	g.write(log, "+")
	if got := g.load("tmp/f"); got != "JEllo worLD!\x00\x00JE++" {
		t.Errorf("after appending: %q", got)
	}
	g.fails(EBADF, "fd_read", log, list, 1, result)
	g.fails(EBADF, "fd_pread", log, list, 1, 0, result)
	in := g.open("in/file", 0, reading, 0)
	g.fails(EBADF, "fd_write", in, list, 1, result)
	g.fails(EBADF, "fd_pwrite", in, list, 1, 0, result)
	g.fails(EBADF, "fd_allocate", in, 0, 100)
	g.fails(EINVAL, "fd_filestat_set_size", in, 0)
	if got := g.read(in, 100); got != "input" {
		t.Errorf("the input is %q", got)
	}
	for _, call := range []string{"fd_read", "fd_write"} {
		g.fails(map[string]Errno{"fd_read": EISDIR, "fd_write": EBADF}[call], call, 3, list, 1, result)
		g.fails(EBADF, call, 99, list, 1, result)
	}
	g.open("tmp/f", openTruncate, writing, 0)
	if s := g.statOf("tmp/f"); s.Size != 0 {
		t.Errorf("truncated to %d bytes", s.Size)
	}
}

// Files keep what is written across the borders of their pages.
func TestLargeFiles(t *testing.T) {
	g := newGuest(t, Config{Files: 10, FileBytes: 10 * pageSize})
	fd := g.open("tmp/f", openCreate, both, 0)
	want := make([]byte, 6*pageSize+100)
	put := func(offset int, text string) {
		t.Helper()
		copy(want[offset:], text)
		copy(g.m[buffer:], text)
		g.vector(uint32(len(text)))
		g.ok("fd_pwrite", fd, list, 1, offset, result)
	}
	long := strings.Repeat("0123456789abcdef", 9000/16)
	put(6*pageSize+92, "the end.")
	put(pageSize-4, "across a border")
	put(3*pageSize, long)
	put(3*pageSize-8000, long)
	put(5, "short")
	check := func() {
		t.Helper()
		g.ok("fd_filestat_get", fd, result)
		if s := g.stat(); s.Size != uint64(len(want)) {
			t.Fatalf("%d bytes, want %d", s.Size, len(want))
		}
		g.ok("fd_seek", fd, 0, 0, result)
		var got strings.Builder
		for part := "?"; part != ""; got.WriteString(part) {
			part = g.read(fd, 50_001)
		}
		if got.String() != string(want) {
			t.Error("the file has other bytes than were written")
		}
	}
	check()
	g.ok("fd_filestat_set_size", fd, 3*pageSize-7000)
	want = want[:3*pageSize-7000]
	check()
	g.ok("fd_filestat_set_size", fd, 7*pageSize)
	want = append(want, make([]byte, 7*pageSize-len(want))...)
	check()
	put(3*pageSize-6000, "x")
	// What was cut off does not come back.
	g.ok("fd_filestat_set_size", fd, 2*pageSize+40_000)
	clear(want[2*pageSize+40_000:])
	g.ok("fd_filestat_set_size", fd, 7*pageSize)
	put(3*pageSize-2, "xyz")
	check()
	g.ok("fd_filestat_set_size", fd, 10)
	g.ok("fd_filestat_set_size", fd, 20)
	want = append(slices.Clone(want[:10]), make([]byte, 10)...)
	check()
	g.ok("path_rename", 3, "tmp/f", 3, "out/f")
	if out := g.w.Outputs(); len(out) != 1 || text(t, out[0]) != string(want) {
		t.Error("the output has other bytes")
	}
}

func TestSeek(t *testing.T) {
	g := newGuest(t, Config{Inputs: []Input{{"/in/ten", []byte("0123456789")}}})
	fd := g.open("in/ten", 0, reading, 0)
	for _, c := range []struct {
		by     int64
		whence int
		want   int64 // -1: EINVAL
	}{
		{4, 0, 4},
		{3, 1, 7},
		{-7, 1, 0},
		{-1, 1, -1},
		{-1, 0, -1},
		{-3, 2, 7},
		{5, 2, 15},
		{math.MaxInt64, 1, -1},
		{math.MaxInt64, 0, math.MaxInt64},
		{1, 1, -1},
		{math.MinInt64, 0, -1},
		{0, 3, -1},
		{0, 0, 0},
	} {
		if c.want < 0 {
			g.fails(EINVAL, "fd_seek", fd, uint64(c.by), c.whence, result)
			continue
		}
		g.ok("fd_seek", fd, uint64(c.by), c.whence, result)
		told := int64(g.u64(result))
		g.ok("fd_tell", fd, result)
		if tell := int64(g.u64(result)); told != c.want || tell != c.want {
			t.Errorf("seek %d from %d: %d, tell %d, want %d", c.by, c.whence, told, tell, c.want)
		}
	}
	g.fails(EISDIR, "fd_seek", 3, 0, 0, result)
	g.fails(EISDIR, "fd_tell", 3, result)
	g.fails(EBADF, "fd_seek", 9, 0, 0, result)
	g.fails(EFAULT, "fd_seek", fd, 3, 0, beyond-7)
	g.ok("fd_tell", fd, result)
	if g.u64(result) != 0 {
		t.Errorf("a seek that failed moved to %d", g.u64(result))
	}
}

func TestFdstat(t *testing.T) {
	g := newGuest(t, Config{})
	fd := g.open("out/f", openCreate, both, flagAppend)
	g.ok("fd_fdstat_get", fd, result)
	if g.m[result] != byte(kindFile) || g.m[result+2] != flagAppend || g.u64(result+8)&both != both {
		t.Errorf("fdstat % x", g.m[result:result+fdstatSize])
	}
	g.ok("fd_fdstat_set_flags", fd, 1<<2)
	g.ok("fd_fdstat_get", fd, result)
	if g.m[result+2] != 1<<2 {
		t.Errorf("flags %#x", g.m[result+2])
	}
	g.write(fd, "abc")
	g.ok("fd_seek", fd, 0, 0, result)
	g.write(fd, "x")
	if got := g.load("out/f"); got != "xbc" {
		t.Errorf("without its append flag it wrote %q", got)
	}
	g.ok("fd_fdstat_get", 3, result)
	if inherited := g.u64(result + 16); g.m[result] != byte(kindDir) || inherited&rightsFile != rightsFile || g.u64(result+8)&both != 0 {
		t.Errorf("fdstat of a directory % x", g.m[result:result+fdstatSize])
	}
	g.ok("fd_fdstat_set_flags", 0, 1<<2) // as Go does at its start
	g.fails(EINVAL, "fd_fdstat_set_flags", fd, descriptorFlags+1)
	g.fails(EBADF, "fd_fdstat_set_flags", 9, 0)
	g.fails(EBADF, "fd_fdstat_get", 9, result)
	g.fails(EFAULT, "fd_fdstat_get", fd, beyond-fdstatSize+1)
	g.fails(ENOTSUP, "fd_fdstat_set_rights", fd, 0, 0)
	g.fails(EBADF, "fd_fdstat_set_rights", 9, 0, 0)
}

func TestFilestat(t *testing.T) {
	const clock = 12345
	g := newGuest(t, Config{Clock: clock, Inputs: []Input{{"/in/b/c", []byte("xyz")}, {"/in/a", nil}}})
	times := func(s stat) stat { s.Dev, s.A, s.M, s.C = 1, clock, clock, clock; return s }
	g.make("tmp/f", "hello")
	g.ok("path_symlink", "f", 3, "tmp/l")
	g.ok("path_link", 3, 0, "tmp/f", 3, "tmp/g")
	for path, want := range map[string]stat{
		".":      {Number: 1, Kind: kindDir, Links: 1},
		"in":     {Number: 2, Kind: kindDir, Links: 1},
		"out":    {Number: 3, Kind: kindDir, Links: 1},
		"tmp":    {Number: 4, Kind: kindDir, Links: 1},
		"in/a":   {Number: 5, Kind: kindFile, Links: 1},
		"in/b":   {Number: 6, Kind: kindDir, Links: 1},
		"in/b/c": {Number: 7, Kind: kindFile, Links: 1, Size: 3},
		"tmp/f":  {Number: 8, Kind: kindFile, Links: 2, Size: 5},
		"tmp/g":  {Number: 8, Kind: kindFile, Links: 2, Size: 5},
		"tmp/l":  {Number: 9, Kind: kindSymlink, Links: 1, Size: 1},
	} {
		if got := g.statOf(path); got != times(want) {
			t.Errorf("%s: %+v, want %+v", path, got, times(want))
		}
	}
	g.ok("path_filestat_get", 3, flagFollow, "tmp/l", result)
	if s := g.stat(); s.Number != 8 {
		t.Errorf("the link leads to %+v", s)
	}
	fd := g.open("tmp/g", 0, reading, 0)
	g.ok("path_unlink_file", 3, "tmp/f")
	g.ok("path_unlink_file", 3, "tmp/g")
	g.ok("fd_filestat_get", fd, result)
	if s := g.stat(); s.Links != 0 || s.Size != 5 {
		t.Errorf("an open file that was removed is %+v", s)
	}
	g.fails(ENOENT, "path_filestat_get", 3, 0, "tmp/g", result)
	g.fails(EBADF, "fd_filestat_get", 9, result)
	g.fails(EFAULT, "fd_filestat_get", fd, beyond-filestatSize+1)
	g.fails(EFAULT, "path_filestat_get", 3, 0, "tmp", beyond-1)
}

func TestSetTimes(t *testing.T) {
	g := newGuest(t, Config{Clock: 1000, Inputs: []Input{{"/in/a", nil}}})
	g.make("tmp/f", "")
	g.ok("path_symlink", "f", 3, "tmp/l")
	fd := g.open("tmp/f", 0, reading, 0)
	check := func(path string, a, m int64) {
		t.Helper()
		if s := g.statOf(path); s.A != a || s.M != m || s.C != 1000 {
			t.Errorf("%s: times %d, %d, %d; want %d, %d", path, s.A, s.M, s.C, a, m)
		}
	}
	g.ok("fd_filestat_set_times", fd, 5, 6, 1|4)
	check("tmp/f", 5, 6)
	g.ok("fd_filestat_set_times", fd, 7, 8, 0)
	check("tmp/f", 5, 6)
	g.ok("path_filestat_set_times", 3, flagFollow, "tmp/l", 9, 10, 4)
	check("tmp/f", 5, 10)
	g.ok("path_filestat_set_times", 3, 0, "tmp/l", 11, 12, 1)
	check("tmp/l", 11, 1000)
	g.ok("path_filestat_set_times", 3, 0, "tmp", 0, 0, 2|8)
	if s := g.statOf("tmp"); s.A <= 1000 || s.A != s.M || s.A > 1000+int64(plenty-g.gas) {
		t.Errorf("now is %d and %d", s.A, s.M)
	}
	g.fails(EINVAL, "fd_filestat_set_times", fd, 0, 0, 1|2)
	g.fails(EINVAL, "fd_filestat_set_times", fd, 0, 0, 4|8)
	g.fails(EINVAL, "fd_filestat_set_times", fd, 0, 0, 16)
	g.fails(EBADF, "fd_filestat_set_times", 9, 0, 0, 0)
	g.fails(EROFS, "path_filestat_set_times", 3, 0, "in/a", 0, 0, 1)
	g.fails(EROFS, "path_filestat_set_times", 3, 0, "in", 0, 0, 1)
	g.fails(ENOENT, "path_filestat_set_times", 3, 0, "no", 0, 0, 1)
	g.ok("fd_filestat_set_times", 3, 1, 1, 1) // of the root, before its first use by path
}

func TestSizes(t *testing.T) {
	g := newGuest(t, Config{Files: 10, FileBytes: 100})
	fd := g.open("tmp/f", openCreate, both, 0)
	size := func() uint64 { return g.statOf("tmp/f").Size }
	g.ok("fd_allocate", fd, 10, 20)
	if size() != 30 {
		t.Errorf("allocated %d", size())
	}
	g.ok("fd_allocate", fd, 0, 5)
	if size() != 30 {
		t.Errorf("allocating less made it %d", size())
	}
	g.fails(ENOSPC, "fd_allocate", fd, 100, 1)
	g.fails(EINVAL, "fd_allocate", fd, 0, 0)
	g.fails(EINVAL, "fd_allocate", fd, uint64(1<<63), 1)
	g.fails(EFBIG, "fd_allocate", fd, uint64(math.MaxInt64), 1)
	g.fails(EBADF, "fd_allocate", 3, 0, 1)
	g.ok("fd_filestat_set_size", fd, 100)
	g.fails(ENOSPC, "fd_filestat_set_size", fd, 101)
	g.fails(ENOSPC, "fd_filestat_set_size", fd, uint64(math.MaxInt64))
	g.fails(EINVAL, "fd_filestat_set_size", fd, uint64(math.MaxInt64)+1)
	g.fails(EBADF, "fd_filestat_set_size", 3, 0)
	g.ok("fd_filestat_set_size", fd, 1)
	g.ok("fd_allocate", fd, 99, 1)
	for advice := range 6 {
		g.ok("fd_advise", fd, 0, 0, advice)
	}
	g.fails(EINVAL, "fd_advise", fd, 0, 0, 6)
	g.fails(EBADF, "fd_advise", 9, 0, 0, 0)
	g.ok("fd_sync", fd)
	g.ok("fd_datasync", fd)
	g.fails(EBADF, "fd_sync", 9)
	g.fails(EBADF, "fd_datasync", 9)
}

func TestReaddir(t *testing.T) {
	g := newGuest(t, Config{})
	for _, name := range []string{"z", "a", "m", "B", "ä"} {
		g.make("tmp/"+name, "")
	}
	g.ok("path_create_directory", 3, "tmp/dir")
	g.ok("path_symlink", "a", 3, "tmp/link")
	want := []entry{
		{1, 4, kindDir, "."},
		{2, 1, kindDir, ".."},
		{3, 8, kindFile, "B"},
		{4, 6, kindFile, "a"},
		{5, 10, kindDir, "dir"},
		{6, 11, kindSymlink, "link"},
		{7, 7, kindFile, "m"},
		{8, 5, kindFile, "z"},
		{9, 9, kindFile, "ä"},
	}
	fd := g.open("tmp", openDirectory, reading, 0)
	all, used := g.entries(fd, 0, 4096)
	if !reflect.DeepEqual(all, want) {
		t.Errorf("listed %v, want %v", all, want)
	}
	for n := uint32(0); n <= used+10; n++ { // every length is filled, or holds all
		got, u := g.entries(fd, 0, n)
		if u != min(n, used) || len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("a buffer of %d bytes: %d used, %v", n, u, got)
		}
	}
	// Removing while reading loses nothing, and what is made does not appear.
	first, _ := g.entries(fd, 0, 60)
	for _, name := range []string{"B", "a", "z"} {
		g.ok("path_unlink_file", 3, "tmp/"+name)
	}
	g.make("tmp/c", "")
	rest, _ := g.entries(fd, first[len(first)-1].Next, 4096)
	if got := slices.Concat(first, rest); !reflect.DeepEqual(got, want) {
		t.Errorf("changed while it is read: %v, want %v", got, want)
	}
	if end, _ := g.entries(fd, 9, 100); len(end) != 0 {
		t.Errorf("at the end: %v", end)
	}
	g.fails(ENOENT, "fd_readdir", fd, buffer, 100, 10, result)
	g.fails(ENOENT, "fd_readdir", fd, buffer, 100, uint64(math.MaxUint64), result)
	if again, _ := g.entries(fd, 0, 4096); len(again) != 2+5 {
		t.Errorf("from the start again: %v", again)
	}
	if root, _ := g.entries(3, 0, 4096); root[1].Number != 1 || len(root) != 5 {
		t.Errorf("the root: %v", root)
	}
	g.fails(EBADF, "fd_readdir", g.open("tmp/m", 0, reading, 0), buffer, 100, 0, result)
	g.fails(EBADF, "fd_readdir", 99, buffer, 100, 0, result)
	g.fails(EFAULT, "fd_readdir", 3, beyond-1, 2, 0, result)
	g.fails(EFAULT, "fd_readdir", 3, buffer, 100, 0, beyond-1)

	gone := g.open("tmp/dir", openDirectory, reading, 0)
	g.ok("path_remove_directory", 3, "tmp/dir")
	if left, _ := g.entries(gone, 0, 100); len(left) != 2 || left[0].Number != left[1].Number {
		t.Errorf("a removed directory: %v", left)
	}
}

func TestRenumber(t *testing.T) {
	g := newGuest(t, Config{})
	a, b := g.open("out/a", openCreate, both, 0), g.open("out/b", openCreate, both, 0)
	g.write(a, "1")
	g.ok("fd_renumber", a, b)
	g.fails(EBADF, "fd_sync", a)
	g.write(b, "2")
	if got := g.load("out/a"); got != "12" {
		t.Errorf("written: %q", got)
	}
	g.ok("fd_renumber", b, b)
	g.ok("fd_renumber", b, 1)
	g.write(1, "3")
	if got := g.load("out/a"); got != "123" || g.stdout.Len() != 0 {
		t.Errorf("written: %q", got)
	}
	// What was there is closed.
	over := g.open("tmp/f", openCreate, both, 0)
	g.write(over, "bytes")
	g.ok("path_unlink_file", 3, "tmp/f")
	g.ok("fd_renumber", g.open("out/a", 0, reading, 0), over)
	if n := g.w.files.bytes; n != 3 {
		t.Errorf("%d bytes are in use", n)
	}
	g.fails(EBADF, "fd_renumber", 1, 9)
	g.fails(EBADF, "fd_renumber", 9, 1)
	g.fails(EBADF, "fd_close", 9)
	g.ok("fd_renumber", 3, 2) // the root may move
	g.ok("fd_prestat_get", 2, result)
	g.ok("path_create_directory", 2, "x")
}

func TestDescriptors(t *testing.T) {
	g := newGuest(t, Config{})
	g.make("tmp/f", "")
	for want := uint32(4); want < maxOpen; want++ {
		if fd := g.open("tmp/f", 0, reading, 0); fd != want {
			t.Fatalf("opened %d, want %d", fd, want)
		}
	}
	g.fails(EMFILE, "path_open", 3, 0, "tmp/new", openCreate, both, 0, 0, result)
	g.fails(ENOENT, "path_filestat_get", 3, 0, "tmp/new", result)
	for _, fd := range []uint32{700, 500} {
		g.ok("fd_close", fd)
	}
	for _, want := range []uint32{500, 700} {
		if fd := g.open("tmp/f", 0, reading, 0); fd != want {
			t.Errorf("opened %d, want %d", fd, want)
		}
	}
}

func TestOutputs(t *testing.T) {
	g := newGuest(t, Config{Inputs: []Input{{"/in/a", []byte("input")}}})
	if got := g.w.Outputs(); got != nil {
		t.Errorf("before anything: %v", got)
	}
	g.ok("path_create_directory", 3, "out/d")
	g.ok("path_create_directory", 3, "out/empty")
	g.make("out/d/z", "in a directory")
	g.make("out/d.z", "")
	g.make("out/big", strings.Repeat("x", 70_000))
	g.make("tmp/not", "kept")
	g.make("other", "not kept")
	g.ok("path_link", 3, 0, "out/d/z", 3, "out/same")
	g.ok("path_symlink", "/in/a", 3, "out/link")
	want := []string{"/out/big 70000", "/out/d.z 0", "/out/d/z 14", "/out/same 14"}
	for range 2 {
		var got []string
		for _, o := range g.w.Outputs() {
			got = append(got, fmt.Sprintf("%s %d", o.Path, len(text(t, o))))
		}
		if !slices.Equal(got, want) {
			t.Errorf("outputs %q, want %q", got, want)
		}
	}
	g.ok("path_rename", 3, "out", 3, "elsewhere")
	if got := g.w.Outputs(); got != nil {
		t.Errorf("without /out: %v", got)
	}
	// Steps can make a path that is longer than any path may be.
	g.ok("path_create_directory", 3, "out")
	dir, name := g.open("out", openDirectory, reading, 0), strings.Repeat("n", maxName)
	for range 20 {
		g.ok("path_create_directory", dir, name)
		g.ok("path_open", dir, 0, name, openDirectory, reading, 0, 0, result)
		dir = g.u32(result)
		g.ok("path_open", dir, 0, "file", openCreate, both, 0, 0, result)
	}
	list := g.w.Outputs()
	tooLong := slices.ContainsFunc(list, func(o Output) bool { return len(o.Path) > maxPath && text(t, o) == "" })
	if len(list) != 16 || !tooLong {
		t.Errorf("%d outputs with long paths, one too long: %v", len(list), tooLong)
	}
}
