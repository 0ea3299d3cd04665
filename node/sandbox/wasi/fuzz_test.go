package wasi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"testing"
)

// Limits of the worlds that are fuzzed.
const (
	fuzzFiles = 12
	fuzzBytes = 3 * pageSize
)

// fuzzPaths are what a script's paths are made of, at paths in memory.
var fuzzPaths = []string{
	"in/a", "out/a", "out/b/", "tmp", "tmp/a/b", "tmp/a", ".", "..", "out/../tmp/l", "tmp/l/a", "l", "l/l", "/", "/out", "a", "a/b", "a/../b",
}

// script makes calls by data: for each a byte for the function, and for each
// parameter one for what it is.
type script struct {
	data []byte
	g    *guest
}

func (s *script) next() byte {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return b
}

// value is a descriptor, an address, a length, flags, or anything at all.
func (s *script) value(isPath bool) uint64 {
	b := s.next()
	if isPath && b < 224 {
		return uint64(paths + 16*(int(b)%len(fuzzPaths)))
	}
	switch {
	case b < 64:
		return uint64(b % 16)
	case b < 96:
		return uint64(list + 64*int(b%32))
	case b < 128:
		return uint64(buffer + 64*int(b%32))
	case b < 160:
		return 1 << (b % 32)
	case b < 192:
		return pageSize*uint64(b%8) + uint64(b%5) - 2
	case b < 208:
		return beyond - uint64(b%16)
	case b < 224:
		return math.MaxUint64 - uint64(b%16)
	default:
		var raw [8]byte
		for i := range raw[:b%8] {
			raw[i] = s.next()
		}
		return binary.LittleEndian.Uint64(raw[:])
	}
}

// run makes all calls of the script in a fresh world, and returns a digest of
// all that the guest could see, and the world.
func run(t *testing.T, data []byte) (uint64, *World) {
	config := Config{
		Args: []string{"a", "b"}, Env: []string{"C=d"}, Stdin: bytes.NewReader(make([]byte, 1000)), Clock: 99,
		Files: fuzzFiles, FileBytes: fuzzBytes, Inputs: []Input{{"/in/a", []byte("input")}, {"/in/b/c", make([]byte, 100_000)}},
		GasLimit: 1 << 24,
	}
	g := newGuest(t, config)
	for i, p := range fuzzPaths {
		copy(g.m[paths+16*i:], p)
	}
	for i := range uint32(32) { // some vectors that are in memory
		g.put32(list+64*i, buffer+1000*i)
		g.put32(list+64*i+4, 1<<(i%14))
	}
	s := &script{data, g}
	seen := fnv.New64a()
	for len(s.data) > 0 {
		f := &functions[int(s.next())%len(functions)]
		args := make([]uint64, len(f.Params))
		for i := range args {
			args[i] = s.value(isPath[f.Name]&(1<<i) != 0)
			if i > 0 && isPath[f.Name]&(1<<(i-1)) != 0 && args[i-1] >= paths && args[i-1] < paths+16*uint64(len(fuzzPaths)) {
				args[i] = uint64(len(fuzzPaths[(args[i-1]-paths)/16])) // the length that goes with it
			}
		}
		errno, err := f.Call(g.w, g.m, args)
		_, _ = seen.Write([]byte{byte(errno)}) // a hash takes everything
		if exit, ok := errors.AsType[*Exit](err); ok {
			_, _ = seen.Write([]byte{byte(exit.Code)})
			continue // a guest would end; the next calls are as good as any
		}
		if err != nil {
			if !errors.Is(err, ErrOutOfGas) {
				t.Fatalf("%s%v: %v", f.Name, args, err)
			}
			break
		}
	}
	_, _ = seen.Write(g.m)
	_, _ = seen.Write(g.stdout.Bytes())
	_, _ = seen.Write(binary.LittleEndian.AppendUint64(nil, uint64(g.gas)))
	_, _ = seen.Write(binary.LittleEndian.AppendUint64(nil, uint64(g.w.elapsed())))
	return seen.Sum64(), g.w
}

// isPath has a bit for each parameter that is the address of a path.
var isPath = map[string]uint{
	"path_create_directory": 1 << 1, "path_filestat_get": 1 << 2, "path_filestat_set_times": 1 << 2,
	"path_link": 1<<2 | 1<<5, "path_open": 1 << 2, "path_readlink": 1 << 1, "path_remove_directory": 1 << 1,
	"path_rename": 1<<1 | 1<<4, "path_symlink": 1<<0 | 1<<3, "path_unlink_file": 1 << 1,
}

// check looks at what must be true of a world whatever its guest did.
func check(t *testing.T, w *World) {
	if w.files == nil {
		return
	}
	entries, size := tally(w)
	f := w.files
	if f.entries != entries || f.bytes != size {
		t.Fatalf("%d entries of %d bytes are counted as %d of %d", entries, size, f.entries, f.bytes)
	}
	if entries > fuzzFiles+3 || size > fuzzBytes {
		t.Fatalf("%d entries of %d bytes, over the limits", entries, size)
	}
	if n := held(w); n > 2*fuzzBytes {
		t.Fatalf("%d bytes of files are held in %d", size, n)
	}
	listed := 0
	for _, d := range w.table.list {
		if d != nil {
			listed += len(d.listing)
		}
	}
	if f.listed != uint64(listed) {
		t.Fatalf("%d listed entries are counted as %d", listed, f.listed)
	}
	input := f.root.names["in"].names["a"]
	if input == nil || text(t, Output{Size: 5, content: &input.content}) != "input" {
		t.Fatal("an input has changed")
	}
	for _, o := range w.Outputs() {
		if n := len(text(t, o)); n > fuzzBytes || len(o.Path) > maxPath {
			t.Fatalf("output %s of %d bytes", o.Path, n)
		}
	}
}

// FuzzCalls makes random calls: none panics, the limits hold, and the same
// calls do the same again.
func FuzzCalls(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		data := make([]byte, random.IntN(2000))
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		f.Add(data)
	}
	// Scripts that keep to functions on files get deeper.
	for range 200 {
		var data []byte
		for range 60 {
			i := 6 + random.IntN(31) // fd_* and path_*
			data = append(data, byte(i), 3)
			for range len(functions[i].Params) - 1 {
				data = append(data, byte(random.IntN(160)))
			}
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4000 {
			return
		}
		first, w := run(t, data)
		check(t, w)
		if again, _ := run(t, data); again != first {
			t.Fatal("the same calls had another effect")
		}
	})
}
