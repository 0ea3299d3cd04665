package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"github.com/spare-network/spare/node/sandbox/meter"
	"github.com/spare-network/spare/node/sandbox/wasi"
	"github.com/spare-network/spare/protocol"
)

// wazeroEngine is wazero's compiler, or its interpreter, which needs no
// compiled code and gives up at 2000 nested calls.
type wazeroEngine struct{ interpret bool }

const (
	// compileWorkers is how many threads compile one module.
	compileWorkers = 2
	entryPoint     = "_start"
)

func (e wazeroEngine) name() string {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/tetratelabs/wazero" {
				version = d.Version
			}
		}
	}
	if e.interpret {
		version += " interpreter"
	}
	return "wazero " + version + " core-2"
}

func (e wazeroEngine) compile(wasm []byte, dir string) error {
	p, err := e.translate(wasm, dir, protocol.MaxMemory, wasi.NewWorld())
	if err != nil {
		return err
	}
	return p.runtime.Close(context.Background())
}

func (e wazeroEngine) load(wasm []byte, dir string, limit uint64, w *wasi.World) (program, error) {
	var before, after os.FileInfo
	var err error
	if !e.interpret {
		if before, err = compiledFile(dir); err != nil {
			return nil, err
		}
	}
	p, err := e.translate(wasm, dir, limit, w)
	var refused *protocol.Error
	switch {
	case errors.As(err, new(*fs.PathError)): // it wanted to keep what it had to compile
		return nil, errStale
	case errors.As(err, &refused): // which the compile worker did not: the host has failed, not the module
		return nil, fmt.Errorf("load compiled code: %s", refused.Message)
	case err != nil:
		return nil, err
	}
	if !e.interpret {
		if after, err = compiledFile(dir); err != nil {
			return nil, err
		}
		if !os.SameFile(before, after) {
			return nil, errStale
		}
	}
	if p.memory, err = newMemory(limit); err != nil {
		return nil, err
	}
	return p, nil
}

// compiledFile describes the one file of compiled code under dir, wherever the
// engine puts it.
func compiledFile(dir string) (os.FileInfo, error) {
	files, err := fs.Glob(os.DirFS(dir), "wazero-*/*")
	if err != nil {
		return nil, err
	}
	if len(files) != 1 {
		return nil, errStale
	}
	return os.Stat(filepath.Join(dir, files[0]))
}

func (e wazeroEngine) translate(wasm []byte, dir string, limit uint64, w *wasi.World) (*wazeroProgram, error) {
	ctx := experimental.WithCompilationWorkers(context.Background(), compileWorkers)
	config := wazero.NewRuntimeConfigInterpreter()
	if !e.interpret {
		cache, err := wazero.NewCompilationCacheWithDir(dir)
		if err != nil {
			return nil, fmt.Errorf("open compile cache: %w", err)
		}
		config = wazero.NewRuntimeConfigCompiler().WithCompilationCache(cache)
	}
	config = config.WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(uint32(limit / protocol.PageSize)).
		WithDebugInfoEnabled(false)
	p := &wazeroProgram{
		runtime: wazero.NewRuntimeWithConfig(ctx, config),
		// run calls the start functions. Nobody reads the random source; without
		// one, each instance would seed its own, which takes 10 us.
		instance: wazero.NewModuleConfig().WithName("").WithStartFunctions().WithRandSource(strings.NewReader("")),
		world:    w,
		account:  &gasAccount{hidden: e.interpret},
	}
	if err := p.giveWorld(ctx); err != nil {
		return nil, fmt.Errorf("prepare host functions: %w", err)
	}
	var err error
	p.code, err = p.runtime.CompileModule(ctx, wasm)
	var disk *fs.PathError
	switch {
	case errors.As(err, &disk):
		return nil, fmt.Errorf("keep compiled code: %w", err)
	case err != nil:
		return nil, protocol.Errorf(protocol.CodeBadModule, "not a valid WebAssembly module: %s",
			protocol.SafeText(err.Error()))
	}
	return p, nil
}

// wazeroProgram is a module in a runtime of its own.
type wazeroProgram struct {
	runtime  wazero.Runtime
	code     wazero.CompiledModule
	instance wazero.ModuleConfig
	memory   *memory
	world    *wasi.World
	account  *gasAccount
	stopped  error // what a host call ended the run with
}

// giveWorld makes the functions of package wasi importable.
func (p *wazeroProgram) giveWorld(ctx context.Context) error {
	b := p.runtime.NewHostModuleBuilder(wasi.Module)
	for _, f := range wasi.Functions() {
		n := len(f.Params)
		call := func(_ context.Context, instance api.Module, stack []uint64) {
			var m wasi.Memory // nil for a module without one
			if p.memory.live {
				m = instance.Memory()
			}
			errno, err := f.Call(p.world, m, stack[:n])
			if err != nil {
				p.stopped = err
				panic(sys.NewExitError(0)) // which the engine unwinds without a stack trace
			}
			if len(f.Results) > 0 {
				stack[0] = uint64(errno)
			}
		}
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(call), f.Params, f.Results).Export(f.Name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

func (p *wazeroProgram) run(gas int64) (end ending) {
	ctx := experimental.WithMemoryAllocator(context.Background(), p.memory)
	p.memory.Free() // an instance that failed to come up may have left bytes
	p.stopped = nil
	end.gas = gas
	instance, err := p.runtime.InstantiateModule(ctx, p.code, p.instance)
	if err == nil {
		p.account.open(instance.ExportedGlobal(meter.GasGlobal).(api.MutableGlobal))
		p.account.SetLeft(gas)
		p.world.Start(p.account)
		for _, name := range []string{meter.StartExport, entryPoint} {
			if f := instance.ExportedFunction(name); f != nil && err == nil {
				_, err = f.Call(ctx)
			}
		}
		end.gas = p.account.Left()
		p.account.close()
		end.depth = int64(instance.ExportedGlobal(meter.DepthGlobal).Get())
		_ = instance.Close(ctx) // only frees the memory, which cannot fail
	}
	switch {
	case p.stopped != nil:
		end.err = p.stopped
	case err != nil:
		end.err = errors.New(trapReason(err.Error()))
		if end.err.Error() == engineStackText && end.depth >= 0 && end.gas >= 0 {
			end.err = errEngineStack
		}
	}
	return end
}

// errEngineStack ends a run for which the engine's own stack was too small.
var errEngineStack = errors.New("the engine's stack ran out before the guest's")

// engineStackText is the engine's word for it.
const engineStackText = "stack overflow"

// trapReason is the engine's text without its stack trace.
func trapReason(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return protocol.SafeText(strings.TrimPrefix(line, "wasm error: "))
}

func (p *wazeroProgram) left() (int64, bool) { return p.account.look() }

// gasAccount is the counter that meter has put into the module. Native code
// changes it as the guest runs, in whole words, which a look from elsewhere
// may see at any time; the interpreter's is Go's own memory, which it may not.
type gasAccount struct {
	hidden bool // while the guest runs

	mu      sync.Mutex // orders a look and a host's change
	global  api.MutableGlobal
	running bool
}

func (a *gasAccount) open(global api.MutableGlobal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.global, a.running = global, true
}

func (a *gasAccount) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running = false
}

func (a *gasAccount) look() (int64, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hidden || !a.running {
		return 0, false
	}
	return int64(a.global.Get()), true
}

// Left implements [wasi.Gas].
func (a *gasAccount) Left() int64 { return int64(a.global.Get()) }

// SetLeft implements [wasi.Gas].
func (a *gasAccount) SetLeft(n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.global.Set(uint64(n))
}

// memory is the one linear memory of a worker. Each instance finds it zero;
// the address stays, so that growing copies nothing.
type memory struct {
	b         []byte // reserved, up to the limit
	committed uint64
	used      uint64 // by the instance that runs, and to be wiped after it
	live      bool   // the instance that runs has a memory
}

func newMemory(limit uint64) (*memory, error) {
	b, err := reserve(limit)
	if err != nil {
		return nil, err
	}
	return &memory{b: b}, nil
}

// Allocate implements [experimental.MemoryAllocator].
func (m *memory) Allocate(_, _ uint64) experimental.LinearMemory {
	m.live = true
	return m
}

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
	m.live = false
	if m.used == 0 {
		return
	}
	if err := wipe(m.b[:m.used]); err != nil {
		fatal(fmt.Errorf("wipe memory: %w", err))
	}
	m.used = 0
}
