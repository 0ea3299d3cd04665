package wasi

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestPaths(t *testing.T) {
	long, tooLong := strings.Repeat("n", maxName), strings.Repeat("n", maxName+1)
	g := newGuest(t, Config{Inputs: []Input{{"/in/d/f", []byte("input")}}})
	g.ok("path_create_directory", 3, "tmp/d")
	g.make("tmp/d/f", "in tmp")
	g.make("tmp/"+long, "long")
	for link, target := range map[string]string{
		"tmp/file": "d/f", "tmp/dir": "d", "tmp/abs": "/in/d", "tmp/root": "/", "tmp/up": "../in/d/f", "tmp/d/self": "..",
		"tmp/out": "../../../in", "tmp/loop": "loop", "tmp/ping": "pong", "tmp/pong": "ping", "tmp/slash": "d/", "tmp/badslash": "d/f/",
	} {
		g.ok("path_symlink", target, 3, link)
	}
	last := "."
	for i := range 41 { // chain0 is a link to the file, chain40 needs 41 of them
		target := fmt.Sprintf("chain%d", i-1)
		if i == 0 {
			target = "d/f"
		}
		last = fmt.Sprintf("tmp/chain%d", i)
		g.ok("path_symlink", target, 3, last)
	}
	in := g.open("in/d", openDirectory, reading, 0)
	for _, c := range []struct {
		base uint32
		path string
		want Errno
		size uint64
	}{
		{base: 3, path: "tmp/d/f", size: 6},
		{base: 3, path: "./tmp//d/./f", size: 6},
		{base: 3, path: "tmp/../in/d/f", size: 5},
		{base: 3, path: "tmp/d/../d/f", size: 6},
		{base: 3, path: "tmp/no/../d/f", want: ENOENT},
		{base: 3, path: "tmp/d/f/..", want: ENOTDIR},
		{base: 3, path: "tmp/d/f/", want: ENOTDIR},
		{base: 3, path: "tmp/d/f/.", want: ENOTDIR},
		{base: 3, path: "tmp/d/"},
		{base: 3, path: "tmp/d//"},
		{base: 3, path: "..", want: EPERM},
		{base: 3, path: "tmp/../../tmp", want: EPERM},
		{base: 3, path: "/tmp", want: EPERM},
		{base: 3, path: "", want: ENOENT},
		{base: 3, path: "tmp/file", size: 6},
		{base: 3, path: "tmp/file/", want: ENOTDIR},
		{base: 3, path: "tmp/dir/f", size: 6},
		{base: 3, path: "tmp/dir/self/file", size: 6},
		{base: 3, path: "tmp/abs/f", size: 5},
		{base: 3, path: "tmp/root/in/d/f", size: 5},
		{base: 3, path: "tmp/root"},
		{base: 3, path: "tmp/up", size: 5},
		{base: 3, path: "tmp/out", want: EPERM},
		{base: 3, path: "tmp/loop", want: ELOOP},
		{base: 3, path: "tmp/loop/x", want: ELOOP},
		{base: 3, path: "tmp/ping", want: ELOOP},
		{base: 3, path: "tmp/slash/f", size: 6},
		{base: 3, path: "tmp/badslash", want: ENOTDIR},
		{base: 3, path: "tmp/chain39", size: 6},
		{base: 3, path: last, want: ELOOP},
		{base: 3, path: "tmp/" + long, size: 4},
		{base: 3, path: "tmp/" + tooLong, want: ENAMETOOLONG},
		{base: 3, path: strings.Repeat("./", maxPath/2-2) + "./in", size: 0},
		{base: 3, path: strings.Repeat("./", maxPath/2) + "i", want: ENAMETOOLONG},
		{base: 3, path: "tmp/\xff", want: EILSEQ},
		{base: 3, path: "tmp/d\x00", want: EINVAL},
		{base: in, path: "f", size: 5},
		{base: in, path: "."},
		{base: in, path: "../../tmp/d/f", want: EPERM},
		{base: in, path: "..", want: EPERM},
	} {
		g.fails(c.want, "path_filestat_get", c.base, flagFollow, c.path, result)
		if s := g.stat(); c.want == Success && s.Size != c.size {
			t.Errorf("%.40s: %d bytes, want %d", c.path, s.Size, c.size)
		}
	}
	g.fails(ENAMETOOLONG, "path_filestat_get", 3, 0, paths, uint32(1<<32-1), result)
	g.fails(EFAULT, "path_filestat_get", 3, 0, beyond-1, 2, result)
}

func TestCreateDirectory(t *testing.T) {
	g := newGuest(t, Config{})
	g.ok("path_create_directory", 3, "a")
	g.ok("path_create_directory", 3, "a/b/")
	g.make("f", "")
	g.ok("path_symlink", "nowhere", 3, "l")
	for path, want := range map[string]Errno{
		"a": EEXIST, "a/b/": EEXIST, ".": EEXIST, "f": EEXIST, "l": EEXIST, "in": EEXIST,
		"in/x": EROFS, "x/y": ENOENT, "f/x": ENOTDIR, "l/x": ENOENT,
	} {
		g.fails(want, "path_create_directory", 3, path)
	}
	fd := g.open("a/b", openDirectory, reading, 0)
	g.ok("path_remove_directory", 3, "a/b")
	g.fails(ENOENT, "path_create_directory", fd, "x") // in one that is gone
	g.fails(ENOENT, "path_open", fd, 0, "x", openCreate, both, 0, 0, result)
}

func TestRemove(t *testing.T) {
	g := newGuest(t, Config{Inputs: []Input{{"/in/d/f", nil}}, Files: 20, FileBytes: 11})
	g.ok("path_create_directory", 3, "d")
	g.ok("path_create_directory", 3, "d/e")
	g.make("f", "0123456789")
	g.ok("path_symlink", "d", 3, "l")
	for path, want := range map[string]Errno{
		"d": ENOTEMPTY, "no": ENOENT, "f": ENOTDIR, "l": ENOTDIR, "in/d": EROFS, "in": EROFS, "d/.": EINVAL, "d/e/..": EINVAL, ".": EINVAL,
	} {
		g.fails(want, "path_remove_directory", 3, path)
	}
	for path, want := range map[string]Errno{
		"d": EISDIR, "no": ENOENT, "f/": ENOTDIR, "in/d/f": EROFS, "in": EISDIR, "l/": EISDIR, ".": EISDIR,
	} {
		g.fails(want, "path_unlink_file", 3, path)
	}
	g.ok("path_remove_directory", 3, "d/e/")
	g.ok("path_remove_directory", 3, "d")
	g.ok("path_unlink_file", 3, "l")
	// A file that was removed takes its bytes until nobody has it open.
	fd := g.open("f", 0, both, 0)
	g.ok("path_unlink_file", 3, "f")
	g.fails(ENOSPC, "path_symlink", "xx", 3, "l")
	if got := g.read(fd, 20); got != "0123456789" {
		t.Errorf("the removed file has %q", got)
	}
	g.ok("fd_close", fd)
	g.ok("path_symlink", "0123456789a", 3, "l")
	g.fails(ENOSPC, "path_symlink", "x", 3, "m")
	g.ok("path_unlink_file", 3, "l")
	g.make("f", "9876543210")
}

func TestSymlink(t *testing.T) {
	g := newGuest(t, Config{})
	g.ok("path_symlink", "../any/thing", 3, "tmp/l")
	g.ok("path_readlink", 3, "tmp/l", buffer, 100, result)
	if got := string(g.m[buffer:][:g.u32(result)]); got != "../any/thing" {
		t.Errorf("the link has %q", got)
	}
	g.ok("path_readlink", 3, "tmp/l", buffer, 4, result)
	if g.u32(result) != 4 {
		t.Errorf("4 bytes of room got %d", g.u32(result))
	}
	g.make("f", "")
	for path, want := range map[string]Errno{"f": EINVAL, "tmp": EINVAL, "no": ENOENT} {
		g.fails(want, "path_readlink", 3, path, buffer, 100, result)
	}
	g.fails(EFAULT, "path_readlink", 3, "tmp/l", beyond-3, 4, result)
	g.fails(EFAULT, "path_readlink", 3, "tmp/l", buffer, 4, beyond-3)
	for path, want := range map[string]Errno{"tmp/l": EEXIST, "f": EEXIST, "tmp": EEXIST, "in/l": EROFS, "no/l": ENOENT, "new/": ENOENT} {
		g.fails(want, "path_symlink", "t", 3, path)
	}
	g.fails(ENOENT, "path_symlink", "", 3, "l")
	g.fails(EINVAL, "path_symlink", "a\x00", 3, "l")
	g.fails(EILSEQ, "path_symlink", "\xc3", 3, "l")
	g.fails(ENAMETOOLONG, "path_symlink", strings.Repeat("a", maxPath+1), 3, "l")
}

func TestLink(t *testing.T) {
	g := newGuest(t, Config{Inputs: []Input{{"/in/f", nil}}})
	g.make("f", "one")
	g.ok("path_symlink", "f", 3, "l")
	g.ok("path_link", 3, 0, "f", 3, "tmp/g")
	g.make("tmp/g", "two")
	if got := g.load("f"); got != "two" {
		t.Errorf("the other name has %q", got)
	}
	g.ok("path_link", 3, flagFollow, "l", 3, "followed")
	g.ok("path_link", 3, 0, "l", 3, "notfollowed")
	if a, b := g.statOf("followed"), g.statOf("notfollowed"); a.Kind != kindFile || a.Links != 3 || b.Kind != kindSymlink || b.Links != 2 {
		t.Errorf("%+v, %+v", a, b)
	}
	for _, c := range []struct {
		from, to string
		want     Errno
	}{
		{"no", "x", ENOENT},
		{"tmp", "x", EPERM},
		{"f", "l", EEXIST},
		{"f", "tmp", EEXIST},
		{"f", "x/", ENOENT},
		{"f", "no/x", ENOENT},
		{"f", "in/x", EROFS},
		{"in/f", "x", EXDEV},
	} {
		g.fails(c.want, "path_link", 3, 0, c.from, 3, c.to)
	}
	g.fails(EBADF, "path_link", 9, 0, "f", 3, "x")
	g.fails(EBADF, "path_link", 3, 0, "f", 9, "x")
}

func TestRename(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     Errno
		left     []string // in the root, besides /in, /out and /tmp
	}{
		{from: "f", to: "new", left: []string{"d", "e", "full", "g", "h", "l", "new"}},
		{from: "f", to: "g", left: []string{"d", "e", "full", "g", "h", "l"}},
		{from: "f", to: "f", left: []string{"d", "e", "f", "full", "g", "h", "l"}},
		{from: "f", to: "h", left: []string{"d", "e", "f", "full", "g", "h", "l"}}, // one file
		{from: "f", to: "full/f", left: []string{"d", "e", "full", "g", "h", "l"}},
		{from: "l", to: "f", left: []string{"d", "e", "f", "full", "g", "h"}},
		{from: "d", to: "e", left: []string{"e", "f", "full", "g", "h", "l"}},
		{from: "d", to: "d", left: []string{"d", "e", "f", "full", "g", "h", "l"}},
		{from: "d", to: "new/", left: []string{"e", "f", "full", "g", "h", "l", "new"}},
		{from: "d/", to: "full/d", left: []string{"e", "f", "full", "g", "h", "l"}},
		{from: "full", to: "d", left: []string{"d", "e", "f", "g", "h", "l"}},
		{from: "tmp", to: "new", left: []string{"d", "e", "f", "full", "g", "h", "l", "new"}},
		{from: "d", to: "full", want: ENOTEMPTY},
		{from: "d", to: "f", want: ENOTDIR},
		{from: "f", to: "d", want: EISDIR},
		{from: "f", to: "new/", want: ENOTDIR},
		{from: "f/", to: "new", want: ENOTDIR},
		{from: "d", to: "d/new", want: EINVAL},
		{from: "full", to: "full/sub/new", want: EINVAL},
		{from: "full/sub", to: "full", want: ENOTEMPTY},
		{from: "no", to: "new", want: ENOENT},
		{from: "f", to: "no/new", want: ENOENT},
		{from: ".", to: "new", want: EINVAL},
		{from: "d", to: ".", want: EINVAL},
		{from: "in/f", to: "new", want: EROFS},
		{from: "in", to: "new", want: EROFS},
		{from: "f", to: "in/f", want: EROFS},
		{from: "f", to: "in/new", want: EROFS},
	} {
		g := newGuest(t, Config{Inputs: []Input{{"/in/f", nil}}})
		for _, dir := range []string{"d", "e", "full", "full/sub"} {
			g.ok("path_create_directory", 3, dir)
		}
		g.make("f", "f")
		g.make("g", "g")
		g.ok("path_link", 3, 0, "f", 3, "h")
		g.ok("path_symlink", "f", 3, "l")
		entries, bytes := g.w.files.entries, g.w.files.bytes
		g.fails(c.want, "path_rename", 3, c.from, 3, c.to)
		left := slices.DeleteFunc(g.names("."), func(s string) bool { return s == "in" || s == "out" || s == "tmp" })
		if c.want == Success && !slices.Equal(left, c.left) {
			t.Errorf("rename %s to %s leaves %q, want %q", c.from, c.to, left, c.left)
		}
		gotEntries, gotBytes := tally(g.w)
		if c.want != Success && (gotEntries != entries || gotBytes != bytes) {
			t.Errorf("rename %s to %s failed and changed something", c.from, c.to)
		}
		if g.w.files.entries != gotEntries || g.w.files.bytes != gotBytes {
			t.Errorf("rename %s to %s: %d entries of %d bytes are counted as %d of %d", c.from, c.to,
				gotEntries, gotBytes, g.w.files.entries, g.w.files.bytes)
		}
	}
	g := newGuest(t, Config{})
	g.make("tmp/f", "f")
	tmp, out := g.open("tmp", openDirectory, reading, 0), g.open("out", openDirectory, reading, 0)
	g.ok("path_rename", tmp, "f", out, "g")
	if got := g.load("out/g"); got != "f" {
		t.Errorf("moved between directories: %q", got)
	}
	// A directory that moved knows its new parent.
	g.ok("path_create_directory", 3, "tmp/d")
	g.ok("path_rename", 3, "tmp/d", 3, "out/d")
	if got := g.statOf("out/d/../g"); got.Size != 1 {
		t.Errorf("%+v", got)
	}
}

// tally counts the directory entries, and the bytes of files and targets that
// can be reached by name or descriptor, the slow way.
func tally(w *World) (entries, bytes uint64) {
	seen := make(map[*node]bool)
	var visit func(n *node)
	visit = func(n *node) {
		if seen[n] {
			return
		}
		seen[n] = true
		bytes += n.size + uint64(len(n.target))
		for _, child := range n.names {
			entries++
			visit(child)
		}
	}
	visit(w.tree().root)
	for _, d := range w.table.list {
		if d != nil && d.node != nil {
			visit(d.node)
		}
	}
	return entries, bytes
}
