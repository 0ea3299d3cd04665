package wasi

import (
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestFunctions(t *testing.T) {
	if len(functions) != 46 {
		t.Errorf("%d functions", len(functions))
	}
	if !slices.IsSortedFunc(functions, func(a, b Function) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("they are not sorted by name")
	}
	for _, f := range functions {
		want := 1
		if f.Name == "proc_exit" {
			want = 0
		}
		if len(f.Results) != want {
			t.Errorf("%s has %d results", f.Name, len(f.Results))
		}
	}
}

// Every address is checked: with all arguments at the memory's end or at the
// largest there is, no call succeeds that would have to touch it.
func TestAddresses(t *testing.T) {
	harmless := map[string]bool{"fd_close": true, "sched_yield": true, "fd_datasync": true, "fd_sync": true, "fd_renumber": true}
	for _, f := range functions {
		for _, bad := range []uint64{beyond, math.MaxUint32, math.MaxUint32 - 7, math.MaxUint64} {
			g := newGuest(t, Config{Args: []string{"a"}, Env: []string{"b=c"}})
			args := make([]uint64, len(f.Params))
			for i := range args {
				args[i] = bad
			}
			if strings.HasPrefix(f.Name, "fd_") || strings.HasPrefix(f.Name, "path_") {
				args[0] = 3
			}
			errno, err := f.Call(g.w, g.m, args)
			if errno == Success && err == nil && !harmless[f.Name] {
				t.Errorf("%s(%#x, ...) succeeded", f.Name, bad)
			}
			if errno, err := f.Call(g.w, nil, args); errno == Success && err == nil && !harmless[f.Name] && f.Name != "fd_close" {
				t.Errorf("%s(%#x, ...) without a memory succeeded", f.Name, bad)
			}
		}
	}
}

func TestArgs(t *testing.T) {
	testStrings(t, "args_sizes_get", "args_get", func(list []string) Config { return Config{Args: list} })
}

func TestEnviron(t *testing.T) {
	testStrings(t, "environ_sizes_get", "environ_get", func(list []string) Config { return Config{Env: list} })
}

func testStrings(t *testing.T, sizes, get string, config func([]string) Config) {
	for _, list := range [][]string{nil, {""}, {"a", "", "long one", "ü"}} {
		g := newGuest(t, config(list))
		g.ok(sizes, result, result+4)
		want := strings.Join(append(slices.Clone(list), ""), "\x00")
		if g.u32(result) != uint32(len(list)) || g.u32(result+4) != uint32(len(want)) {
			t.Errorf("%q: %d strings of %d bytes", list, g.u32(result), g.u32(result+4))
		}
		g.ok(get, result, buffer)
		if got := string(g.m[buffer:][:len(want)]); got != want {
			t.Errorf("%q: got %q", list, got)
		}
		at := uint32(buffer)
		for i, s := range list {
			if p := g.u32(result + 4*uint32(i)); p != at {
				t.Errorf("%q: string %d is at %d, want %d", list, i, p, at)
			}
			at += uint32(len(s)) + 1
		}
	}
	g := newGuest(t, config([]string{"abc"}))
	g.fails(EFAULT, sizes, beyond-3, result)
	g.fails(EFAULT, sizes, result, beyond)
	g.fails(EFAULT, get, beyond-3, buffer)
	g.fails(EFAULT, get, result, beyond-3)
	g.ok(get, result, beyond-4)
}

func TestClocks(t *testing.T) {
	g := newGuest(t, Config{Clock: 5e18})
	now := func(clock int) int64 {
		g.ok("clock_time_get", clock, 0, result)
		return int64(g.u64(result))
	}
	spend := func(n int64) { g.gas -= account(n) }
	const call = priceCall
	if real, mono := now(clockRealtime), now(clockMonotonic); real != 5e18+call || mono != 2*call {
		t.Errorf("at first: %d and %d", real, mono)
	}
	spend(1000)
	if mono, cpu := now(clockMonotonic), now(clockProcess); mono != 3*call+1000 || cpu != 4*call+1000 {
		t.Errorf("after 1000 gas: %d and %d", mono, cpu)
	}
	g.w.sleep(1e9)
	if mono, cpu := now(clockMonotonic), now(clockThread); mono != 5*call+1000+1e9 || cpu != 6*call+1000 {
		t.Errorf("after a second of sleep: %d and %d", mono, cpu)
	}
	g.w.sleep(math.MaxInt64)
	if mono, real := now(clockMonotonic), now(clockRealtime); mono != math.MaxInt64 || real != math.MaxInt64 {
		t.Errorf("at the end of time: %d and %d", mono, real)
	}
	g.fails(EINVAL, "clock_time_get", 4, 0, result)
	g.fails(EFAULT, "clock_time_get", 0, 0, beyond-7)

	g = newGuest(t, Config{Clock: math.MinInt64})
	if real := now(clockRealtime); real != math.MinInt64+call {
		t.Errorf("long before 1970: %d", real)
	}
}

func TestClockResolution(t *testing.T) {
	g := newGuest(t, Config{})
	for clock := range 4 {
		g.ok("clock_res_get", clock, result)
		if g.u64(result) != clockResolution {
			t.Errorf("clock %d: %d ns", clock, g.u64(result))
		}
	}
	g.fails(EINVAL, "clock_res_get", 4, result)
	g.fails(EFAULT, "clock_res_get", 0, beyond-7)
}

func TestRandom(t *testing.T) {
	seed := [32]byte{9, 8, 7}
	g := newGuest(t, Config{Seed: seed})
	want := make([]byte, 1000)
	if _, err := rand.NewChaCha8(seed).Read(want); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		at := uint32(buffer)
		for _, n := range []uint32{1, 0, 7, 64, 900, 28} { // in pieces, the same stream
			g.ok("random_get", at, n)
			at += n
		}
		if got := g.m[buffer:at]; string(got) != string(want) {
			t.Error("the bytes are not those of the seed's stream")
		}
		g.w.Reset(Config{Seed: seed, GasLimit: plenty}) // and again from its start
		g.w.Start(&g.gas)
	}
	g.fails(EFAULT, "random_get", beyond-7, 8)
	g.fails(EFAULT, "random_get", 8, uint32(math.MaxUint32))
}

func TestExit(t *testing.T) {
	for _, code := range []uint32{0, 1, 255, math.MaxUint32} {
		g := newGuest(t, Config{})
		_ = g.call("proc_exit", code)
		if exit, ok := errors.AsType[*Exit](g.err); !ok || exit.Code != code {
			t.Errorf("exit(%d): %v", code, g.err)
		}
	}
}

func TestRaise(t *testing.T) {
	g := newGuest(t, Config{})
	for _, signal := range []int{0, 6, 9, 99} {
		g.fails(ENOTSUP, "proc_raise", signal)
	}
}

func TestYield(t *testing.T) { newGuest(t, Config{}).ok("sched_yield") }

func TestSockets(t *testing.T) {
	g := newGuest(t, Config{})
	for fd, want := range map[int]Errno{0: ENOTSOCK, 3: ENOTSOCK, 4: EBADF, -1: EBADF} {
		g.fails(want, "sock_accept", fd, 0, result)
		g.fails(want, "sock_recv", fd, list, 1, 0, result, result)
		g.fails(want, "sock_send", fd, list, 1, 0, result)
		g.fails(want, "sock_shutdown", fd, 3)
	}
}

func TestStreams(t *testing.T) {
	g := newGuest(t, Config{Stdin: &drip{"0123456789", io.EOF}})
	g.vectors(buffer, 4, 0, 0, buffer+4, 3)
	g.ok("fd_read", 0, list, 3, result)
	if n := g.u32(result); n != 7 || string(g.m[buffer:][:7]) != "0123456" {
		t.Errorf("a read of 7 bytes that come one at a time gave %d: %q", n, g.m[buffer:][:7])
	}
	g.vector(100)
	g.ok("fd_read", 0, list, 0, result)
	if g.u32(result) != 0 {
		t.Errorf("a read without room gave %d bytes", g.u32(result))
	}
	for _, want := range []string{"789", "", ""} {
		if got := g.read(0, 100); got != want {
			t.Errorf("read %q, want %q", got, want)
		}
	}
	g.write(1, "out ")
	g.write(2, "err")
	copy(g.m[buffer:], "abcdef")
	g.vectors(buffer+3, 3, buffer, 2)
	g.ok("fd_write", 1, list, 2, result)
	if g.stdout.String() != "out defab" || g.stderr.String() != "err" || g.u32(result) != 5 {
		t.Errorf("stdout %q, stderr %q", &g.stdout, &g.stderr)
	}
	g.vector(1)
	g.fails(EBADF, "fd_read", 1, list, 1, result)
	g.fails(EBADF, "fd_write", 0, list, 1, result)
	g.fails(ESPIPE, "fd_pread", 0, list, 1, 0, result)
	g.fails(ESPIPE, "fd_pwrite", 1, list, 1, 0, result)
	g.fails(ESPIPE, "fd_seek", 1, 0, 0, result)
	g.fails(ESPIPE, "fd_tell", 1, result)
	g.fails(ESPIPE, "fd_advise", 0, 0, 0, 0)
	g.fails(ESPIPE, "fd_allocate", 1, 0, 1)
	g.fails(ESPIPE, "fd_filestat_set_size", 1, 0)
	g.fails(ENOTSUP, "fd_filestat_set_times", 1, 0, 0, 0)
	g.fails(EBADF, "fd_readdir", 0, buffer, 100, 0, result)
	g.fails(EBADF, "fd_prestat_get", 0, result)
	g.fails(ENOTDIR, "path_create_directory", 0, "x")

	g.ok("fd_fdstat_get", 1, result)
	if rights := g.u64(result + 8); g.m[result] != byte(kindStream) || rights&(1<<2|1<<5) != 0 || rights&rightWrite == 0 {
		t.Errorf("stdout has type %d, rights %#x", g.m[result], rights)
	}
	g.ok("fd_filestat_get", 0, result)
	if s := g.stat(); s != (stat{Links: 1}) {
		t.Errorf("stdin is %+v", s)
	}
	g.ok("fd_close", 1)
	g.fails(EBADF, "fd_write", 1, list, 1, result)
	if fd := g.open("out/log", openCreate, writing, 0); fd != 1 {
		t.Errorf("opened %d, want the lowest free", fd)
	}
	g.write(1, "to the file")
	if got := g.load("out/log"); got != "to the file" {
		t.Errorf("the file has %q", got)
	}
}

// What a stream returns ends the guest.
func TestBrokenStreams(t *testing.T) {
	g := newGuest(t, Config{Stdin: &drip{"ab", errBroken}, Stdout: broken{}, Stderr: io.Discard})
	g.vector(3)
	if _ = g.call("fd_read", 0, list, 1, result); !errors.Is(g.err, errBroken) {
		t.Errorf("a failing read ended with %v", g.err)
	}
	if _ = g.call("fd_write", 1, list, 1, result); !errors.Is(g.err, errBroken) {
		t.Errorf("a failing write ended with %v", g.err)
	}
}

func TestVectors(t *testing.T) {
	g := newGuest(t, Config{Stdin: strings.NewReader("abcdefgh")})
	g.fails(EINVAL, "fd_read", 0, list, maxVectors+1, result)
	g.fails(EINVAL, "fd_write", 1, list, uint32(math.MaxUint32), result)
	g.fails(EINVAL, "fd_write", 1, list, 1<<29, result) // 8 times as much is 0
	g.fails(EFAULT, "fd_read", 0, beyond-8, 2, result)
	g.vectors(buffer, 2, beyond-1, 2)
	g.fails(EFAULT, "fd_read", 0, list, 2, result)
	g.fails(EFAULT, "fd_write", 1, list, 2, result)
	g.vectors(math.MaxUint32, 1)
	g.fails(EFAULT, "fd_write", 1, list, 1, result)
	g.vectors(math.MaxUint32, 0) // no bytes are nowhere
	g.ok("fd_write", 1, list, 1, result)
	g.vector(2)
	g.fails(EFAULT, "fd_read", 0, list, 1, beyond-3)
	if got := g.read(0, 3); got != "abc" || g.stdout.Len() > 0 {
		t.Errorf("calls that failed took input or gave output: next is %q", got)
	}
	// A read may change the list that it is told by.
	g.vectors(list+8, 4, buffer, 1)
	g.ok("fd_read", 0, list, 2, result)
	if g.u32(result) != 5 || g.m[buffer] != 'h' {
		t.Errorf("read %d, %q", g.u32(result), g.m[buffer])
	}
	// Many large vectors of the same bytes are more than a u32 counts.
	big := newGuest(t, Config{})
	big.m = make(memory, 64<<20)
	for i := range uint32(64) {
		big.put32(list+8*i, 0)
		big.put32(list+8*i+4, 64<<20)
	}
	big.fails(EINVAL, "fd_write", 1, list, 64, result)
}
