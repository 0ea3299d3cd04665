package sandbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/node/sandbox/meter"
	"github.com/spare-network/spare/node/sandbox/wasi"
	"github.com/spare-network/spare/protocol"
)

func TestMain(m *testing.M) {
	WorkerMain()
	if dir := os.Getenv(doomedNode); dir != "" {
		runDoomedNode(dir)
	}
	os.Exit(m.Run())
}

// patient bounds what must happen, on however busy a machine.
const patient = 60 * time.Second

var testKey = []byte("a key of this test, 32 bytes....")

func newPool(t testing.TB, slots int) *Pool {
	t.Helper()
	return newPoolIn(t, t.TempDir(), slots, 0)
}

func newPoolIn(t testing.TB, dir string, slots int, cacheBytes int64) *Pool {
	t.Helper()
	p, err := New(t.Context(), Config{
		Dir: dir, Slots: slots, Key: testKey, CacheBytes: cacheBytes,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// execution is a run of wasm with generous limits, which drops what it streams.
func execution(t testing.TB, owner string, wasm []byte, change func(*protocol.Spec)) Execution {
	t.Helper()
	blob := protocol.NewBlob(wasm)
	blob.Inline = nil
	spec := &protocol.Spec{
		Module: blob, Args: []string{"guest"}, Stdin: protocol.NewBlob(nil),
		Limits: &protocol.Limits{
			MemoryBytes: 64 << 20, OutputBytes: 1 << 20, WallMs: uint64(patient.Milliseconds()),
			Gas: protocol.DefaultGas, FileBytes: 16 << 20, Files: 100,
		},
		Profile: protocol.Profile, Seed: 1, ClockUnixNs: protocol.DefaultClock.UnixNano(),
	}
	if change != nil {
		change(spec)
	}
	b, err := spec.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return Execution{
		Owner: peer.ID(owner), Spec: spec, SpecBytes: b,
		Module: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(wasm)), nil },
		Output: func(uint32, []byte) {},
		File:   func(string, uint64) {},
	}
}

// inProcess makes a guest of wasm in this very process, and an execution of it
// to be given to its run. Its output is dropped.
func inProcess(t testing.TB, e engine, wasm []byte, change func(*protocol.Spec)) (*guest, Execution) {
	t.Helper()
	x := execution(t, "a", wasm, change)
	dir := t.TempDir()
	o := orders{Dir: dir, MemoryLimit: x.Spec.Limits.MemoryBytes, Ceilings: meter.Default()}
	if err := prepare(e, wasm, o); err != nil {
		t.Fatal(err)
	}
	metered, err := readMetered(dir)
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{cost: metered.Cost, world: wasi.NewWorld(), feed: new(feed), out: newOutput(io.Discard)}
	if g.program, err = e.load(metered.Wasm, dir, x.Spec.Limits.MemoryBytes, g.world); err != nil {
		t.Fatal(err)
	}
	return g, x
}

// run returns all output in the Outcome.
func run(t testing.TB, p *Pool, x Execution) Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	var streamed [4][]byte // by descriptor; 3 is output files
	output := x.Output
	x.Output = func(fd uint32, data []byte) {
		streamed[fd] = append(streamed[fd], data...)
		output(fd, data)
	}
	o, err := p.Run(ctx, x)
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	o.Stdout, o.Stderr = append(streamed[1], o.Stdout...), append(streamed[2], o.Stderr...)
	return o
}

// inUse is how many executions run and how many wait.
func inUse(p *Pool) (running, queued int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	queued = len(p.waiting) - p.busy
	for _, g := range p.groups {
		for _, w := range g.workers {
			queued += len(w.calls)
		}
	}
	return p.busy, queued
}

func stdin(b []byte) func(*protocol.Spec) {
	return func(s *protocol.Spec) { s.Stdin = protocol.NewBlob(b) }
}

// eventually waits for something that must happen.
func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// pids are the pool's processes.
func pids(p *Pool) (list []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for proc := range p.live {
		list = append(list, proc.cmd.Process.Pid)
	}
	slices.Sort(list)
	return list
}

func kill(t testing.TB, pid int) {
	t.Helper()
	proc, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := proc.Kill(); err != nil {
		t.Fatal(err)
	}
}

// doomedNode is the environment variable that makes the test binary a node
// with a worker that spins; its value is the cache's directory.
const doomedNode = "SPARE_TEST_DOOMED_NODE"

func runDoomedNode(dir string) {
	p, err := New(context.Background(), Config{Dir: dir, Slots: 2, Key: testKey})
	if err != nil {
		panic(err)
	}
	var t testing.T
	for _, wasm := range [][]byte{copier(), hello(1, "", spin())} {
		x := execution(&t, "a", wasm, nil)
		go func() { _, _ = p.Run(context.Background(), x) }() // the second never ends
	}
	for {
		if running, _ := inUse(p); running == 1 && len(pids(p)) == 2 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for _, pid := range pids(p) {
		fmt.Println(pid)
	}
	fmt.Println("ready")
	select {}
}

// The rest builds small modules by hand.

var (
	i32 = byte(0x7f)
	i64 = byte(0x7e)
)

// hostFunctions are the functions that every built module imports, in the
// order of their indexes.
var hostFunctions = []struct {
	name            string
	params, results []byte
}{
	{"fd_read", []byte{i32, i32, i32, i32}, []byte{i32}},
	{"fd_write", []byte{i32, i32, i32, i32}, []byte{i32}},
	{"proc_exit", []byte{i32}, nil},
	{"random_get", []byte{i32, i32}, []byte{i32}},
	{"clock_time_get", []byte{i32, i64, i32}, []byte{i32}},
	{"poll_oneoff", []byte{i32, i32, i32, i32}, []byte{i32}},
	{"environ_sizes_get", []byte{i32, i32}, []byte{i32}},
	{"environ_get", []byte{i32, i32}, []byte{i32}},
}

// Sections and kinds of the WebAssembly binary format
// (https://www.w3.org/TR/wasm-core-2/#binary-format).
const (
	sectionType     = 1
	sectionImport   = 2
	sectionFunction = 3
	sectionTable    = 4
	sectionMemory   = 5
	sectionExport   = 7

	kindFunction = 0
	kindMemory   = 2
)

const (
	fdRead = iota
	fdWrite
	procExit
	randomGet
	clockTimeGet
	pollOneoff
	environSizesGet
	environGet
	startIndex // of the built module's own _start
)

// build is a module before it is encoded.
type build struct {
	extra    [][2]string // further imports of type ()->(), behind the known ones
	minPages uint64      // of memory
	data     map[uint64][]byte
	locals   uint64 // of type i32
	code     [][]byte
	tables   [][]byte // types
	body     []byte   // instead of locals and code
	noStart  bool
	noMemory bool
}

func (b build) wasm() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	types := [][]byte{{0x60, 0, 0}}
	var imports [][]byte
	for i, f := range hostFunctions {
		types = append(types, cat([]byte{0x60}, vec(f.params), vec(f.results)))
		imports = append(imports, cat(vec([]byte(wasi.Module)), vec([]byte(f.name)), []byte{kindFunction}, leb(uint64(i)+1)))
	}
	for _, e := range b.extra {
		imports = append(imports, cat(vec([]byte(e[0])), vec([]byte(e[1])), []byte{kindFunction, 0}))
	}
	start := leb(uint64(len(imports)))
	var exports [][]byte
	if !b.noMemory {
		exports = append(exports, cat(vec([]byte("memory")), []byte{kindMemory, 0}))
	}
	if !b.noStart {
		exports = append(exports, cat(vec([]byte(entryPoint)), []byte{kindFunction}, start))
	}
	body := b.body
	if body == nil {
		body = cat(leb(1), leb(b.locals), []byte{i32}, cat(b.code...), []byte{0x0b})
	}
	out = section(out, sectionType, list(types))
	out = section(out, sectionImport, list(imports))
	out = section(out, sectionFunction, []byte{1, 0})
	if len(b.tables) > 0 {
		out = section(out, sectionTable, list(b.tables))
	}
	if !b.noMemory {
		out = section(out, sectionMemory, cat([]byte{1, 0}, leb(max(b.minPages, 1))))
	}
	out = section(out, sectionExport, list(exports))
	out = section(out, 10, list([][]byte{vec(body)}))
	var data [][]byte
	for at, bytes := range b.data {
		data = append(data, cat([]byte{0}, number(int64(at)), []byte{0x0b}, vec(bytes)))
	}
	return section(out, 11, list(data))
}

func section(out []byte, id byte, body []byte) []byte { return cat(out, []byte{id}, vec(body)) }

func vec(b []byte) []byte { return cat(leb(uint64(len(b))), b) }

func list(items [][]byte) []byte { return cat(leb(uint64(len(items))), cat(items...)) }

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func leb(v uint64) []byte { return binary.AppendUvarint(nil, v) }

// number is i32.const v.
func number(v int64) []byte { return signed(0x41, v) }

// long is i64.const v.
func long(v int64) []byte { return signed(0x42, v) }

func signed(op byte, v int64) []byte {
	b := []byte{op}
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && c&0x40 == 0) || (v == -1 && c&0x40 != 0) {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// Instructions, with their operands before them where they have some.

func invoke(f uint64, args ...[]byte) []byte { return cat(cat(args...), []byte{0x10}, leb(f)) }

func drop(b []byte) []byte { return append(b, 0x1a) }

func loop(body ...[]byte) []byte { return cat([]byte{0x03, 0x40}, cat(body...), []byte{0x0b}) }

func again() []byte { return []byte{0x0c, 0} }

func again1() []byte { return []byte{0x0c, 1} }

func ifElse(condition []byte, then ...[]byte) []byte {
	return cat(condition, []byte{0x04, 0x40}, cat(then...), []byte{0x0b})
}

func load32(at int64) []byte { return cat(number(at), []byte{0x28, 2, 0}) }

func store32(at int64, v []byte) []byte { return cat(number(at), v, []byte{0x36, 2, 0}) }

func equalZero(v []byte) []byte { return append(v, 0x45) }

func get(local uint64) []byte { return cat([]byte{0x20}, leb(local)) }

func set(local uint64, v []byte) []byte { return cat(v, []byte{0x21}, leb(local)) }

func ret() []byte { return []byte{0x0f} }

// vector is an iovec at address 0 for n bytes at address at.
func vector(at, n int64) []byte { return cat(store32(0, number(at)), store32(4, number(n))) }

// show writes n bytes at address at to fd.
func show(fd, at, n int64) []byte {
	return cat(vector(at, n), drop(invoke(fdWrite, number(fd), number(0), number(1), number(8))))
}

func exit(code int64) []byte { return invoke(procExit, number(code)) }

// openTable is the type of a table of functions without a maximum.
func openTable(minimum uint64) []byte { return cat([]byte{0x70, 0}, leb(minimum)) }

func boundedTable(minimum, maximum uint64) []byte {
	return cat([]byte{0x70, 1}, leb(minimum), leb(maximum))
}

// tableGrow is what table.grow of table 0 by n yields.
func tableGrow(n int64) []byte { return cat([]byte{0xd0, 0x70}, number(n), []byte{0xfc, 0x0f, 0}) }

func spin() []byte { return loop(again()) }

// copier writes its stdin to its stdout.
func copier() []byte {
	return build{code: [][]byte{loop(
		vector(1024, 32<<10),
		drop(invoke(fdRead, number(0), number(0), number(1), number(8))),
		ifElse(equalZero(load32(8)), ret()),
		store32(4, load32(8)),
		drop(invoke(fdWrite, number(1), number(0), number(1), number(12))),
		again(),
	)}}.wasm()
}

// hello prints text to fd, then does what follows.
func hello(fd int64, text string, then ...[]byte) []byte {
	return build{
		data: map[uint64][]byte{64: []byte(text)},
		code: append([][]byte{show(fd, 64, int64(len(text)))}, then...),
	}.wasm()
}
