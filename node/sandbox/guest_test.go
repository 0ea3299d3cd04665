package sandbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spare-network/spare/node/sandbox/wasi"
	"github.com/spare-network/spare/protocol"
)

// dice prints random bytes, the clock before and after a sleep of 20 s.
func dice() []byte {
	subscription := cat(make([]byte, 16), []byte{1}, make([]byte, 7), binary.LittleEndian.AppendUint64(nil, 20e9), make([]byte, 16))
	now := func(clock, at int64) []byte {
		return drop(invoke(clockTimeGet, number(clock), long(1), number(at)))
	}
	return build{data: map[uint64][]byte{128: subscription}, code: [][]byte{
		drop(invoke(randomGet, number(1024), number(32))), now(0, 1056), now(1, 1064),
		drop(invoke(pollOneoff, number(128), number(256), number(1), number(512))), now(0, 1072), now(1, 1080),
		show(1, 1024, 64),
	}}.wasm()
}

func TestEqualRunsAreEqual(t *testing.T) {
	p, q := newPool(t, 1), newPool(t, 1)
	x := execution(t, "a", dice(), nil)
	first := run(t, p, x)
	if len(first.Stdout) != 64 || bytes.Equal(first.Stdout[:32], make([]byte, 32)) {
		t.Fatalf("%+v", first)
	}
	if again := run(t, p, x); !bytes.Equal(again.Stdout, first.Stdout) {
		t.Error("a second run differs")
	}
	x.Owner = "b"
	if elsewhere := run(t, q, x); !bytes.Equal(elsewhere.Stdout, first.Stdout) {
		t.Error("a run elsewhere differs")
	}
	other := run(t, p, execution(t, "a", dice(), func(s *protocol.Spec) { s.Seed = 2 }))
	if bytes.Equal(other.Stdout[:32], first.Stdout[:32]) || !bytes.Equal(other.Stdout[32:], first.Stdout[32:]) {
		t.Error("another seed must change the random bytes and nothing else")
	}
	for _, at := range []int{32, 40} {
		before, after := binary.LittleEndian.Uint64(first.Stdout[at:]), binary.LittleEndian.Uint64(first.Stdout[at+16:])
		if d := after - before; d < 20e9 || d > 20.001e9 {
			t.Errorf("a sleep of 20 s moved the clock by %v", time.Duration(d))
		}
	}
	if first.Wall > 10*time.Second {
		t.Errorf("it slept for %v in earnest", first.Wall)
	}
}

func TestEnvironment(t *testing.T) {
	wasm := build{minPages: 4, code: [][]byte{
		drop(invoke(environSizesGet, number(1024), number(1028))),
		drop(invoke(environGet, number(64<<10), number(128<<10))),
		show(1, 1024, 8), // how many, and how many bytes
		cat(store32(0, load32(64<<10+4)), store32(4, number(8)), drop(invoke(fdWrite, number(1), number(0), number(1), number(8)))), // the second
		prints32(invoke(environGet, number(256<<10-4), number(128<<10))),                                                            // no room for the list
		prints32(invoke(environGet, number(64<<10), number(256<<10-4))),                                                             // nor for the text
		prints32(invoke(environSizesGet, number(0), number(256<<10-3))),                                                             // nor for a size
	}}.wasm()
	x := execution(t, "a", wasm, func(s *protocol.Spec) {
		s.Env = []string{"A=1", "NAME=b=c"}
		for len(s.Env) < protocol.MaxArgs {
			s.Env = append(s.Env, fmt.Sprintf("V%d=x", len(s.Env)))
		}
	})
	p := newPool(t, 1)
	o := run(t, p, x)
	size := 0
	for _, kv := range x.Spec.Env {
		size += len(kv) + 1
	}
	want := binary.LittleEndian.AppendUint32(nil, protocol.MaxArgs)
	want = binary.LittleEndian.AppendUint32(want, uint32(size))
	want = append(want, "NAME=b=c"...)
	for range 3 {
		want = binary.LittleEndian.AppendUint32(want, uint32(wasi.EFAULT))
	}
	if !bytes.Equal(o.Stdout, want) {
		t.Errorf("%q, want %q; %+v", o.Stdout, want, o)
	}
}

// Setting up the environment must not take time with its square.
func TestEnvironmentIsCheap(t *testing.T) {
	g, x := inProcess(t, defaultEngine(), copier(), func(s *protocol.Spec) {
		for i := range protocol.MaxArgs {
			s.Env = append(s.Env, fmt.Sprintf("V%d=x", i))
		}
	})
	g.out.begin(1, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if reply := g.run(&protocol.WorkerRequest{Spec: x.SpecBytes}, x.Spec); reply.Code != "" {
		t.Fatal(reply)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
}

// A guest must not see what another left in the worker's memory.
func TestMemoryIsFresh(t *testing.T) {
	for name, pages := range map[string]int64{"small": 1, "large": 200} {
		at := pages<<16 - 64
		wasm := build{locals: 1, minPages: 1, code: [][]byte{
			drop(cat(number(pages-1), []byte{0x40, 0})),
			prints32(load32(at)), store32(at, number(-1)), store32(600, number(-1)), prints32(load32(604)),
			store32(604, number(-1)),
			{0},
		}}.wasm()
		p := newPool(t, 1)
		for i := range 3 {
			if o := run(t, p, execution(t, "a", wasm, nil)); !bytes.Equal(o.Stdout, make([]byte, 8)) {
				t.Errorf("%s, run %d: %x", name, i, o.Stdout)
			}
		}
		if len(pids(p)) != 1 {
			t.Error("more than one worker")
		}
	}
}

// The flusher rests while a guest is silent, and must not sleep on.
func TestOutputIsFlushedAfterALongSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pipe bytes.Buffer
		o := newOutput(&pipe)
		stop := make(chan struct{})
		defer close(stop)
		go o.keepFlushing(stop)
		o.begin(1, &protocol.Limits{OutputBytes: 100})
		time.Sleep(2 * restAfter * flushTick)
		o.write(1, []byte("late"))
		time.Sleep(3 * flushTick)
		o.mu.Lock()
		if pipe.Len() == 0 {
			t.Error("what was written after a silence is held back")
		}
		o.mu.Unlock()
	})
}

// A guest that neither writes nor calls its host is seen to make progress all
// the same.
func TestGasIsToldWhileAGuestRuns(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	var told []uint64
	x := execution(t, "a", hello(0, "", spin()), nil)
	x.Gas = func(used uint64) {
		if told = append(told, used); len(told) == 3 {
			cancel()
		}
	}
	if _, err := newPool(t, 1).Run(ctx, x); len(told) < 3 {
		t.Fatalf("told of %d, then: %v", told, err)
	}
	if told[0] == 0 || told[1] <= told[0] || told[2] <= told[1] {
		t.Errorf("the gas told of does not grow: %d", told)
	}
}

func TestGasIsToldNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pipe bytes.Buffer
		o := newOutput(&pipe)
		var left atomic.Int64
		left.Store(900)
		o.left = func() (int64, bool) { return left.Load(), left.Load() != 0 }
		stop := make(chan struct{})
		defer close(stop)
		go o.keepFlushing(stop)
		told := func() (list []uint64) {
			o.mu.Lock()
			defer o.mu.Unlock()
			for in := newFrameReader(&pipe); ; {
				r := new(protocol.WorkerReply)
				if in.next(r) != nil {
					return list
				}
				list = append(list, r.Gas)
			}
		}
		o.begin(1, &protocol.Limits{Gas: 1000})
		time.Sleep(tellEvery / 2)
		if got := told(); len(got) > 0 {
			t.Errorf("a short task tells of %d", got)
		}
		time.Sleep(tellEvery)
		if got := told(); !slices.Equal(got, []uint64{100}) {
			t.Errorf("told of %d, want 100", got)
		}
		left.Store(300)
		time.Sleep(20 * tellEvery) // the flusher rests by then
		if got := told(); len(got) < 15 || got[len(got)-1] != 700 {
			t.Errorf("told of %d in 20 times its period, want 700 each time", got)
		}
		left.Store(0) // not known
		time.Sleep(4 * tellEvery)
		if got := told(); len(got) > 1 {
			t.Errorf("told of %d when nothing is known", got)
		}
		o.end(new(protocol.WorkerReply), false)
		left.Store(200)
		told()
		time.Sleep(4 * tellEvery)
		if got := told(); len(got) > 0 {
			t.Errorf("told of %d when nothing runs", got)
		}
	})
}

func TestOutputOfEachStreamKeepsItsOrder(t *testing.T) {
	roomy := &protocol.Limits{OutputBytes: 1000}
	var pipe bytes.Buffer
	o := newOutput(&pipe)
	o.begin(1, roomy)
	o.write(1, []byte("a"))
	o.write(2, []byte("b"))
	if o.tick(time.Now()); pipe.Len() > 0 {
		t.Error("output was not held for a tick")
	}
	o.tick(time.Now())
	o.write(1, []byte("c"))
	o.write(2, []byte("d"))
	o.write(1, []byte("e"))
	o.end(new(protocol.WorkerReply), false)
	o.begin(2, roomy)
	o.write(2, []byte("f"))
	o.write(1, []byte("g"))
	o.end(new(protocol.WorkerReply), true)
	o.begin(3, roomy)
	o.end(new(protocol.WorkerReply), true)
	held := pipe.Len()
	for range 2 {
		o.tick(time.Now())
	}
	if pipe.Len() == held {
		t.Error("finished replies were held for more than two ticks")
	}
	var got strings.Builder
	for frames := newFrameReader(&pipe); ; {
		r := new(protocol.WorkerReply)
		if err := frames.next(r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got.WriteString(string(rune('0'+r.Id)) + string(r.Stdout) + "|" + string(r.Stderr))
		if r.End {
			got.WriteString(".")
		}
		got.WriteString(" ")
	}
	if want := "1a| 1|b 1ce|d. 2g|f. 3|. "; got.String() != want {
		t.Errorf("%q, want %q", got.String(), want)
	}
}

// A guest that writes to both streams by turns costs no frame for each write.
func TestWritesByTurnsShareFrames(t *testing.T) {
	const writes = 1 << 18
	var pipe bytes.Buffer
	o := newOutput(&pipe)
	o.begin(1, &protocol.Limits{OutputBytes: writes})
	for n := range writes {
		if !o.write(uint32(1+n%2), []byte{'x'}) {
			t.Fatal("it may write so much")
		}
	}
	o.end(new(protocol.WorkerReply), false)
	frames, sizes := 0, [2]int{}
	for in := newFrameReader(&pipe); ; frames++ {
		r := new(protocol.WorkerReply)
		if err := in.next(r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		sizes[0] += len(r.Stdout)
		sizes[1] += len(r.Stderr)
	}
	if most := 2*writes/protocol.MaxInline + 2; frames > most || sizes != [2]int{writes / 2, writes / 2} {
		t.Errorf("%d frames with %v bytes, want at most %d frames", frames, sizes, most)
	}
}

const goGuest = `package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"time"
)

func main() {
	in, err := io.ReadAll(os.Stdin)
	start := time.Now()
	time.Sleep(time.Hour)
	n, randomErr := rand.Read(make([]byte, 8))
	_, fileErr := os.ReadFile("/etc/hostname")
	_, dirErr := os.ReadDir(".")
	fmt.Println(os.Args, os.Environ(), string(in), err, time.Since(start) >= time.Hour,
		start.UTC().Format(time.DateTime), n, randomErr, fileErr != nil, dirErr == nil)
	fmt.Fprintln(os.Stderr, "on stderr")
	os.Exit(3)
}
`

// underRace is set by the race detector's build.
var underRace bool

func TestGoProgram(t *testing.T) {
	if underRace {
		t.Skip("compiling 2 MB of WebAssembly takes a race-detecting worker too long")
	}
	wasm := buildGo(t, goGuest)
	p := newPool(t, 1)
	x := execution(t, "a", wasm, func(s *protocol.Spec) {
		s.Args, s.Env = []string{"prog", "one", "two"}, []string{"A=1", "B=x=y"}
		s.Stdin = protocol.NewBlob([]byte("input"))
	})
	for range 2 {
		o := run(t, p, x)
		want := "[prog one two] [A=1 B=x=y] input <nil> true 2025-01-01 00:00:00 8 <nil> true true\n"
		if string(o.Stdout) != want || string(o.Stderr) != "on stderr\n" || o.ExitCode != 3 || o.Source != protocol.FromGuest {
			t.Errorf("%+v\n%s%s", o, o.Stdout, o.Stderr)
		}
	}
}

// buildGo builds a program for WASI.
func buildGo(t *testing.T, program string) []byte {
	t.Helper()
	dir := t.TempDir()
	source, target := filepath.Join(dir, "main.go"), filepath.Join(dir, "main.wasm")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", target, source)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	wasm, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// unpaid is a program that must not run.
type unpaid struct {
	program
	t *testing.T
}

func (p unpaid) run(int64) (end ending) {
	p.t.Error("an instance is made that is not paid for")
	return end
}

func TestInstancesArePaidFor(t *testing.T) {
	g, x := inProcess(t, defaultEngine(), copier(), nil)
	x.Spec.Limits.Gas = uint64(g.cost) - 1
	g.program = unpaid{g.program, t}
	g.out.begin(1, x.Spec.Limits)
	if r := g.run(&protocol.WorkerRequest{Spec: x.SpecBytes}, x.Spec); r.Code != string(protocol.CodeGasLimit) || r.Gas != x.Spec.Limits.Gas {
		t.Errorf("less gas than it costs: %v", r)
	}
	outside := build{data: map[uint64][]byte{1 << 30: make([]byte, 1000)}}.wasm()
	for name, e := range engines() {
		g, x := inProcess(t, e, outside, nil)
		g.out.begin(1, x.Spec.Limits)
		if r := g.run(&protocol.WorkerRequest{Spec: x.SpecBytes}, x.Spec); r.Code != string(protocol.CodeTrap) || r.Gas != uint64(g.cost) || g.cost < 1000/8 {
			t.Errorf("%s: data beyond the memory, cost %d: %v", name, g.cost, r)
		}
	}
}
