package wasi

import (
	"io"
	"strings"
	"testing"
)

var calls = func() map[string]*Function {
	m := make(map[string]*Function)
	for i := range functions {
		m[functions[i].Name] = &functions[i]
	}
	return m
}()

// trivialCalls is what a small C or Go program asks of its world.
var trivialCalls = []struct {
	f    *Function
	args []uint64
}{
	{calls["args_sizes_get"], []uint64{result, result + 4}},
	{calls["environ_sizes_get"], []uint64{result, result + 4}},
	{calls["fd_prestat_get"], []uint64{3, result}},
	{calls["fd_prestat_dir_name"], []uint64{3, buffer, 1}},
	{calls["fd_fdstat_get"], []uint64{3, result}},
	{calls["fd_prestat_get"], []uint64{4, result}},
	{calls["clock_time_get"], []uint64{clockMonotonic, 0, result}},
	{calls["random_get"], []uint64{buffer, 16}},
	{calls["fd_write"], []uint64{1, list, 1, result}},
}

func trivial(g *guest, m Memory, c Config) {
	g.w.Reset(c)
	g.gas = plenty
	g.w.Start(&g.gas)
	for _, call := range trivialCalls {
		if _, err := call.f.Call(g.w, m, call.args); err != nil {
			g.Fatal(err)
		}
	}
}

// A worker runs many small tasks one after the other: their world costs no
// memory, and nothing for files that nobody looks at.
func TestTrivialTask(t *testing.T) {
	g := newGuest(t, Config{})
	m := Memory(g.m)
	g.vector(10)
	c := Config{
		GasLimit: plenty, Args: []string{"prog"}, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard,
		Inputs: make([]Input, 1000), Files: 2000,
	}
	if n := testing.AllocsPerRun(100, func() { trivial(g, m, c) }); n != 0 {
		t.Errorf("a trivial task allocates %v times", n)
	}
}

func BenchmarkTrivialTask(b *testing.B) {
	g := newGuest(b, Config{})
	m := Memory(g.m)
	g.vector(10)
	c := Config{GasLimit: plenty, Args: []string{"prog"}, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard}
	for b.Loop() {
		trivial(g, m, c)
	}
}

// BenchmarkFileTask makes a file system with inputs, and reads and writes one.
func BenchmarkFileTask(b *testing.B) {
	g := newGuest(b, Config{})
	m := Memory(g.m)
	c := Config{
		GasLimit: plenty, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Files: 100, FileBytes: 1 << 20,
		Inputs: []Input{{"/in/a", make([]byte, 10_000)}, {"/in/dir/b", make([]byte, 10_000)}},
	}
	for b.Loop() {
		trivial(g, m, c)
		text := g.load("in/dir/b")
		g.make("out/b", text)
		if n := len(g.w.Outputs()); n != 1 {
			b.Fatal(n)
		}
	}
}

func BenchmarkCalls(b *testing.B) {
	for _, c := range []struct {
		name string
		args []any
	}{
		{"clock_time_get", []any{1, 0, result}},
		{"random_get", []any{buffer, 1000}},
		{"fd_write", []any{1, list, 1, result}},
		{"fd_pread", []any{4, list, 1, 0, result}},
		{"fd_pwrite", []any{4, list, 1, 0, result}},
		{"path_filestat_get", []any{3, 0, "out/dir/file", result}},
		{"fd_readdir", []any{3, buffer, 4096, 0, result}},
	} {
		b.Run(c.name, func(b *testing.B) {
			g := newGuest(b, Config{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard})
			g.ok("path_create_directory", 3, "out/dir")
			g.open("out/dir/file", openCreate, both, 0)
			g.vector(10_000)
			g.ok("fd_write", 4, list, 1, result)
			f, m, args := calls[c.name], Memory(g.m), values(g.m, c.args)
			g.gas = plenty
			_ = g.call(c.name, c.args...)
			price := plenty - int64(g.gas)
			for b.Loop() {
				g.gas = plenty
				if errno, err := f.Call(g.w, m, args); errno != Success || err != nil {
					b.Fatal(errno, err)
				}
			}
			b.ReportMetric(float64(price), "gas/op")
		})
	}
}

// BenchmarkPages has a page of a file taken or cleared, and given back, again
// and again: what a guest would do who pays too little for it.
func BenchmarkPages(b *testing.B) {
	for _, c := range []struct {
		name string
		cut  int
	}{{"let go of", 0}, {"copied", pageSize/2 - 1}, {"cleared", pageSize / 2}} {
		b.Run(c.name, func(b *testing.B) {
			g := newGuest(b, Config{Files: 10, FileBytes: 1 << 20})
			g.open("tmp/f", openCreate, both, 0)
			g.vector(1)
			round := func() {
				g.ok("fd_filestat_set_size", 4, c.cut)
				g.ok("fd_pwrite", 4, list, 1, pageSize-1, result)
			}
			round()
			g.gas = plenty
			round()
			price := plenty - int64(g.gas)
			for b.Loop() {
				g.gas = plenty
				round()
			}
			b.ReportMetric(float64(price), "gas/op")
		})
	}
}
