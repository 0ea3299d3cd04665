package wasi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
)

// memory is a linear memory without an engine.
type memory []byte

func (m memory) Read(offset, n uint32) ([]byte, bool) {
	end := uint64(offset) + uint64(n)
	if end > uint64(len(m)) {
		return nil, false
	}
	return m[offset:end:end], true
}

// Places in a guest's memory.
const (
	result  = 8       // where calls write what they return
	list    = 1 << 10 // where vectors are listed
	buffer  = 1 << 14 // where data is written
	paths   = 1 << 17 // where paths are
	beyond  = 1 << 18 // the memory's end
	plenty  = 1 << 40
	reading = rightRead
	writing = rightWrite
	both    = reading | writing
)

// guest calls functions as a program would.
type guest struct {
	testing.TB
	w              *World
	m              memory
	gas            account
	stdout, stderr bytes.Buffer
	err            error // what ended it
}

var functions = Functions()

func newGuest(t testing.TB, c Config) *guest {
	g := &guest{TB: t, w: NewWorld(), m: make(memory, beyond)}
	if c.Stdout == nil {
		c.Stdout, c.Stderr = &g.stdout, &g.stderr
	}
	if c.GasLimit == 0 {
		c.GasLimit = plenty
	}
	if c.Files == 0 {
		c.Files, c.FileBytes = 1000, 1<<20
	}
	g.w.Reset(c)
	g.gas = account(c.GasLimit)
	g.w.Start(&g.gas)
	return g
}

// call calls the function of that name. A string among args is put into memory
// and stands for its address and length.
func (g *guest) call(name string, args ...any) Errno {
	g.Helper()
	i := slices.IndexFunc(functions, func(f Function) bool { return f.Name == name })
	if i < 0 {
		g.Fatalf("no function %s", name)
	}
	raw := values(g.m, args)
	if len(raw) != len(functions[i].Params) {
		g.Fatalf("%s of %d values, want %d", name, len(raw), len(functions[i].Params))
	}
	errno, err := functions[i].Call(g.w, g.m, raw)
	g.err = err
	return errno
}

// values are the raw values of args. See [guest.call].
func values(m []byte, args []any) []uint64 {
	var raw []uint64
	at := paths
	for _, arg := range args {
		switch v := arg.(type) {
		case int:
			raw = append(raw, uint64(v))
		case uint32:
			raw = append(raw, uint64(v))
		case uint64:
			raw = append(raw, v)
		case string:
			raw = append(raw, uint64(at), uint64(len(v)))
			at += copy(m[at:], v)
		default:
			panic(fmt.Sprintf("argument %v", arg))
		}
	}
	return raw
}

// ok calls a function that must succeed.
func (g *guest) ok(name string, args ...any) {
	g.Helper()
	if errno := g.call(name, args...); errno != Success || g.err != nil {
		g.Fatalf("%s%v: %v, %v", name, args, errno, g.err)
	}
}

// fails calls a function that must return errno.
func (g *guest) fails(want Errno, name string, args ...any) {
	g.Helper()
	if errno := g.call(name, args...); errno != want || g.err != nil {
		g.Errorf("%s%v: %v, %v; want %v", name, args, errno, g.err, want)
	}
}

func (g *guest) u32(at uint32) uint32 { return binary.LittleEndian.Uint32(g.m[at:]) }
func (g *guest) u64(at uint32) uint64 { return binary.LittleEndian.Uint64(g.m[at:]) }

func (g *guest) put32(at, v uint32) { binary.LittleEndian.PutUint32(g.m[at:], v) }

// vector lists one buffer of n bytes.
func (g *guest) vector(n uint32) { g.vectors(buffer, n) }

// vectors lists buffers given as addresses and lengths.
func (g *guest) vectors(pairs ...uint32) {
	for i, v := range pairs {
		g.put32(list+4*uint32(i), v)
	}
}

// open opens path from the root.
func (g *guest) open(path string, how int, rights, flags int) uint32 {
	g.Helper()
	g.ok("path_open", 3, flagFollow, path, how, rights, 0, flags, result)
	return g.u32(result)
}

// write writes text to fd.
func (g *guest) write(fd uint32, text string) {
	g.Helper()
	copy(g.m[buffer:], text)
	g.vector(uint32(len(text)))
	g.ok("fd_write", fd, list, 1, result)
	if n := g.u32(result); n != uint32(len(text)) {
		g.Fatalf("wrote %d of %d bytes", n, len(text))
	}
}

// read reads up to n bytes from fd.
func (g *guest) read(fd, n uint32) string {
	g.Helper()
	g.vector(n)
	g.ok("fd_read", fd, list, 1, result)
	return string(g.m[buffer : buffer+g.u32(result)])
}

// make makes a file.
func (g *guest) make(path, text string) {
	g.Helper()
	fd := g.open(path, openCreate|openTruncate, both, 0)
	g.write(fd, text)
	g.ok("fd_close", fd)
}

// load returns what a file holds.
func (g *guest) load(path string) string {
	g.Helper()
	fd := g.open(path, 0, reading, 0)
	text := g.read(fd, 1<<16)
	g.ok("fd_close", fd)
	return text
}

// stat is what a filestat says.
type stat struct {
	Dev, Number uint64
	Kind        kind
	Links, Size uint64
	A, M, C     int64
}

func (g *guest) stat() stat {
	v := func(i uint32) uint64 { return g.u64(result + 8*i) }
	return stat{v(0), v(1), kind(v(2)), v(3), v(4), int64(v(5)), int64(v(6)), int64(v(7))}
}

func (g *guest) statOf(path string) stat {
	g.Helper()
	g.ok("path_filestat_get", 3, 0, path, result)
	return g.stat()
}

// entry is what a dirent says.
type entry struct {
	Next, Number uint64
	Kind         kind
	Name         string
}

// entries reads the directory fd from cookie with a buffer of n bytes, and
// returns the whole entries in it, and how much of it was used.
func (g *guest) entries(fd uint32, cookie uint64, n uint32) ([]entry, uint32) {
	g.Helper()
	g.ok("fd_readdir", fd, buffer, n, cookie, result)
	used := g.u32(result)
	var all []entry
	for b := g.m[buffer : buffer+used]; len(b) >= direntSize; {
		size := binary.LittleEndian.Uint32(b[16:])
		if uint32(len(b)-direntSize) < size {
			break
		}
		all = append(all, entry{
			binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), kind(b[20]), string(b[direntSize:][:size]),
		})
		b = b[direntSize+size:]
	}
	return all, used
}

// names lists the directory at path, without the dots.
func (g *guest) names(path string) []string {
	g.Helper()
	fd := g.open(path, openDirectory, reading, 0)
	all, _ := g.entries(fd, 0, 1<<16)
	g.ok("fd_close", fd)
	var names []string
	for _, e := range all[2:] {
		names = append(names, e.Name)
	}
	return names
}

// drip gives one byte at a time, and then err.
type drip struct {
	text string
	err  error
}

func (d *drip) Read(p []byte) (int, error) {
	if d.text == "" {
		return 0, d.err
	}
	n := copy(p[:min(1, len(p))], d.text)
	d.text = d.text[n:]
	return n, nil
}

var errBroken = errors.New("broken")

// broken fails every write.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }

var _ io.Reader = (*drip)(nil)

// text is what an output holds.
func text(t testing.TB, o Output) string {
	t.Helper()
	b, err := io.ReadAll(o.Open())
	if err != nil || uint64(len(b)) != o.Size {
		t.Errorf("%s: read %d of %d bytes, %v", o.Path, len(b), o.Size, err)
	}
	return string(b)
}
