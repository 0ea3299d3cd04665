package meter

import (
	"errors"
	"os"
	"testing"
	"time"
)

// FuzzRewrite feeds garbage and mutants of real modules. Whatever is accepted
// must be valid for the engine as well.
func FuzzRewrite(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(magic)
	f.Add(wasiProgram())
	for seed := range uint64(20) {
		g := newGenerator(seed)
		g.generate()
		f.Add(g.module(false))
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		c := Default()
		c.Bytes = 64 << 10
		began := time.Now()
		m, err := Rewrite(wasm, c)
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("%d bytes took %v", len(wasm), d)
		}
		var exceeded *CeilingError
		if err != nil {
			if !errors.Is(err, ErrInvalid) && !errors.As(err, &exceeded) {
				t.Errorf("error %v of another kind", err)
			}
			return
		}
		if len(m.Wasm) > 32*len(wasm)+4096 {
			t.Errorf("%d bytes became %d", len(wasm), len(m.Wasm))
		}
		if err := compiles(m.Wasm); err != nil {
			t.Errorf("the engine refuses what was accepted: %v", err)
		}
	})
}

// FuzzBehaviour compares a generated module with its reference.
func FuzzBehaviour(f *testing.F) {
	f.Add(uint64(1 << 32))
	f.Fuzz(func(t *testing.T, seed uint64) {
		g := newGenerator(seed)
		g.generate()
		behaves(t, seed, g)
	})
}

// wasiProgram writes a line, as a program for WASI does.
func wasiProgram() []byte {
	a := newAssembly()
	write := a.importFunction("wasi_snapshot_preview1", "fd_write", "iiii>i")
	exit := a.importFunction("wasi_snapshot_preview1", "proc_exit", "i>")
	a.memories = [][]byte{{0, 1}}
	a.export("memory", KindMemory, 0)
	a.data = [][]byte{cat(0, i32(0), opEnd, leb(14), []byte("\x08\x00\x00\x00\x06\x00\x00\x00hello\n"))}
	a.export("_start", KindFunction, a.function(">", "",
		i32(1), i32(0), i32(1), i32(20), call(write), opIf, blockEmpty, i32(1), call(exit), opEnd))
	return a.encode()
}

func TestTellsWhatTheHostMustKnow(t *testing.T) {
	m, err := Rewrite(wasiProgram(), Default())
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Imports) != 2 || m.Imports[0].Name != "fd_write" || m.Imports[0].Module != "wasi_snapshot_preview1" ||
		m.Imports[0].Kind != KindFunction || len(m.Imports[0].Params) != 4 || len(m.Imports[0].Results) != 1 {
		t.Errorf("imports %+v", m.Imports)
	}
	if m.MemoryBytes != pageSize || !m.Entry || m.Start {
		t.Errorf("MemoryBytes %d, Entry %v, Start %v", m.MemoryBytes, m.Entry, m.Start)
	}
}

// BenchmarkRewrite rewrites generated code, or the module that the environment
// variable METER_MODULE names.
func BenchmarkRewrite(b *testing.B) {
	wasm := manyFunctions()
	if name := os.Getenv("METER_MODULE"); name != "" {
		var err error
		if wasm, err = os.ReadFile(name); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(wasm)))
	for b.Loop() {
		if _, err := Rewrite(wasm, Default()); err != nil {
			b.Fatal(err)
		}
	}
}

// manyFunctions is a module of a few MB.
func manyFunctions() []byte {
	g := newGenerator(2)
	g.generate()
	for range 12 {
		g.list = append(g.list, g.list...)
	}
	return g.module(false)
}
