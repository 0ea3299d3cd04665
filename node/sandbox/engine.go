package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/spare-network/spare/protocol"
)

// engine runs one module, again and again. It is all that the rest of the
// package knows of wazero; only workers make one.
type engine struct {
	runtime wazero.Runtime
	code    wazero.CompiledModule
	base    wazero.ModuleConfig
	memory  *memory
}

// compileWorkers is how many threads compile one module.
const compileWorkers = 2

// errStale means that the compiled code given is not what this engine, on this
// processor, would look for.
var errStale = errors.New("the compiled code does not fit this engine and processor")

// engineVersion names everything besides the module that decides what compiled
// code is like.
func engineVersion() string {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/tetratelabs/wazero" {
				version = d.Version
			}
		}
	}
	return "wazero " + version + " core-2"
}

// compile checks wasm and compiles it into dir.
func compile(wasm []byte, dir string, limit uint64) error {
	e, err := newEngine(wasm, dir, limit, new(guest))
	if err != nil {
		return err
	}
	return e.runtime.Close(context.Background())
}

// load makes an engine for wasm from the code that compile left in dir, and
// fails with errStale where it would have to compile.
func load(wasm []byte, dir string, limit uint64, g *guest) (*engine, error) {
	before, err := compiledFile(dir)
	if err != nil {
		return nil, err
	}
	e, err := newEngine(wasm, dir, limit, g)
	if err != nil {
		return nil, err
	}
	after, err := compiledFile(dir)
	if err != nil {
		return nil, err
	}
	if !os.SameFile(before, after) {
		return nil, errStale
	}
	if e.memory, err = newMemory(limit); err != nil {
		return nil, err
	}
	e.base = wazero.NewModuleConfig().WithName("").WithStartFunctions().
		WithStdin(g.stdin).WithStdout(g.stdout).WithStderr(g.stderr).
		WithWalltime(g.walltime, clockStep).WithNanotime(g.nanotime, clockStep).WithNanosleep(g.sleep).
		WithRandSource(g)
	return e, nil
}

// compiledFile describes the one file of compiled code under dir, wherever the
// engine puts it.
func compiledFile(dir string) (os.FileInfo, error) {
	name, err := compiledName(dir)
	if err != nil {
		return nil, err
	}
	return os.Stat(filepath.Join(dir, name))
}

// compiledName is the path below dir, with slashes, of the one file in it.
func compiledName(dir string) (string, error) {
	files, err := fs.Glob(os.DirFS(dir), "wazero-*/*")
	if err != nil {
		return "", err
	}
	if len(files) != 1 {
		return "", errStale
	}
	return files[0], nil
}

func newEngine(wasm []byte, dir string, limit uint64, g *guest) (*engine, error) {
	m, err := inspect(wasm)
	if err != nil {
		return nil, err
	}
	ctx := experimental.WithCompilationWorkers(context.Background(), compileWorkers)
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open compile cache: %w", err)
	}
	config := wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2).
		WithMemoryLimitPages(uint32(limit / protocol.PageSize)).WithDebugInfoEnabled(false).
		WithCompilationCache(cache)
	rt := wazero.NewRuntimeWithConfig(ctx, config)
	host, err := hostModule(ctx, rt, g)
	if err != nil {
		return nil, fmt.Errorf("prepare host functions: %w", err)
	}
	if err := m.admit(signatures(host), limit); err != nil {
		return nil, err
	}
	if _, err := rt.InstantiateModule(ctx, host, wazero.NewModuleConfig()); err != nil {
		return nil, fmt.Errorf("instantiate host functions: %w", err)
	}
	code, err := rt.CompileModule(ctx, m.bound(wasm))
	var disk *fs.PathError
	switch {
	case errors.As(err, &disk):
		return nil, fmt.Errorf("keep compiled code: %w", err)
	case err != nil:
		return nil, protocol.Errorf(protocol.CodeBadModule, "not a valid WebAssembly module: %s",
			protocol.SafeText(err.Error()))
	}
	return &engine{runtime: rt, code: code}, nil
}

// hostModule is WASI with some functions of our own.
func hostModule(ctx context.Context, rt wazero.Runtime, g *guest) (wazero.CompiledModule, error) {
	b := rt.NewHostModuleBuilder(wasiModule)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(b)
	poll := func(_ context.Context, instance api.Module, stack []uint64) {
		stack[0] = uint64(pollOnce(g, instance.Memory(), uint32(stack[0]), uint32(stack[1]), uint32(stack[2]), uint32(stack[3])))
	}
	sizes := func(_ context.Context, instance api.Module, stack []uint64) {
		stack[0] = uint64(environSizes(g, instance.Memory(), uint32(stack[0]), uint32(stack[1])))
	}
	environ := func(_ context.Context, instance api.Module, stack []uint64) {
		stack[0] = uint64(environ(g, instance.Memory(), uint32(stack[0]), uint32(stack[1])))
	}
	i32 := api.ValueTypeI32
	two, four, result := []api.ValueType{i32, i32}, []api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(poll), four, result).Export("poll_oneoff")
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(sizes), two, result).Export("environ_sizes_get")
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(environ), two, result).Export("environ_get")
	return b.Compile(ctx)
}

// environSizes is environ_sizes_get: the number of entries to count, and of
// their bytes to size.
//
// It and environ replace the engine's, whose configuration takes time with the
// square of the number of entries: a second for 4096.
func environSizes(g *guest, m api.Memory, count, size uint32) errno {
	n := 0
	for _, kv := range g.spec.GetEnv() {
		n += len(kv) + 1
	}
	if !m.WriteUint32Le(count, uint32(len(g.spec.GetEnv()))) || !m.WriteUint32Le(size, uint32(n)) {
		return eFault
	}
	return success
}

// environ is environ_get: the entries, each ended by a zero, to text, and where
// each is to list.
func environ(g *guest, m api.Memory, list, text uint32) errno {
	for _, kv := range g.spec.GetEnv() {
		if !m.WriteUint32Le(list, text) || !m.WriteString(text, kv+"\x00") {
			return eFault
		}
		list += 4
		text += uint32(len(kv)) + 1
	}
	return success
}

// pollOnce is poll_oneoff: n subscriptions at in, events to out, their number
// to count.
func pollOnce(g *guest, m api.Memory, in, out, n, count uint32) errno {
	if n == 0 || n > maxSubscriptions {
		return eInval
	}
	subscriptions, ok := m.Read(in, n*subscriptionSize)
	if !ok {
		return eFault
	}
	events, ok := m.Read(out, n*eventSize)
	if !ok {
		return eFault
	}
	// The guest may have them overlap.
	done, e := g.poll(bytes.Clone(subscriptions), events)
	if e == success && !m.WriteUint32Le(count, uint32(done)) {
		return eFault
	}
	return e
}

func signatures(host wazero.CompiledModule) map[string]signature {
	list := make(map[string]signature)
	for name, f := range host.ExportedFunctions() {
		list[name] = signature{params: string(f.ParamTypes()), results: string(f.ResultTypes())}
	}
	return list
}

// run runs a fresh instance with args to its end. It returns the exit code that
// the guest gave, or an error with the reason of its trap.
func (e *engine) run(args []string) (uint32, error) {
	config := e.base
	if len(args) > 0 {
		config = config.WithArgs(args...)
	}
	ctx := experimental.WithMemoryAllocator(context.Background(), e.memory)
	e.memory.Free() // an instance that failed to come up may have left bytes
	instance, err := e.runtime.InstantiateModule(ctx, e.code, config)
	if err == nil {
		_, err = instance.ExportedFunction(entryPoint).Call(ctx)
		_ = instance.Close(ctx) // only frees the memory, which cannot fail
	}
	var exit *sys.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode(), nil
	case err != nil:
		return 0, errors.New(trapReason(err.Error()))
	}
	return 0, nil
}

// stopGuest ends the guest from within one of its host calls.
func stopGuest() { panic(sys.NewExitError(0)) }

// trapReason is the engine's text without its stack trace.
func trapReason(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return protocol.SafeText(strings.TrimPrefix(line, "wasm error: "))
}

// memory is the one linear memory of a worker. Each instance finds it zero;
// the address stays, so that growing copies nothing.
type memory struct {
	b         []byte // reserved, up to the limit
	committed uint64
	used      uint64 // by the instance that runs, and to be wiped after it
}

func newMemory(limit uint64) (*memory, error) {
	b, err := reserve(limit)
	if err != nil {
		return nil, err
	}
	return &memory{b: b}, nil
}

// Allocate implements [experimental.MemoryAllocator].
func (m *memory) Allocate(_, _ uint64) experimental.LinearMemory { return m }

// Reallocate implements [experimental.LinearMemory]. The engine never asks for
// more than the limit. A host that is out of memory must not become an answer
// to the guest, so it ends the worker.
func (m *memory) Reallocate(size uint64) []byte {
	if size > m.committed {
		if err := commit(m.b[m.committed:size]); err != nil {
			fatal(fmt.Errorf("commit %d bytes of memory: %w", size, err))
		}
		m.committed = size
	}
	m.used = max(m.used, size)
	return m.b[:size:size]
}

// Free implements [experimental.LinearMemory].
func (m *memory) Free() {
	if m.used == 0 {
		return
	}
	if err := wipe(m.b[:m.used]); err != nil {
		fatal(fmt.Errorf("wipe memory: %w", err))
	}
	m.used = 0
}
