package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/node/sandbox/jail"
	"github.com/spare-network/spare/node/sandbox/meter"
	"github.com/spare-network/spare/node/sandbox/wasi"
	"github.com/spare-network/spare/protocol"
)

// A worker is told what it is by its argument vector alone: workerName, its
// role, and its orders as JSON. For a compile worker the module follows on stdin.
const (
	workerName  = "spare-worker"
	roleCompile = "compile"
	roleRun     = "run"
)

// orders are what a worker must know before it meets a stranger's bytes. Sizes
// are in bytes.
type orders struct {
	Dir         string         // of the metered module and its compiled code
	MemoryLimit uint64         // of a guest
	FileLimit   uint64         // of a guest's files
	ModuleSize  uint64         // that follows on stdin
	Largest     uint64         // file that may be written
	CPUSeconds  uint64         // that a compilation may take
	Ceilings    meter.Ceilings // of a module
	Engine      string
	Plan        string // layers of the jail to put in force
}

// heapRoom is what a worker's Go heap may grow by before it is collected.
const heapRoom = 64 << 20

// fillTime is less than a guest takes to fill heapRoom, in microseconds. After
// shorter runs nobody looks at the heap, which would cost them too much.
const fillTime = 2000

var errOutOfTurn = errors.New("message out of turn")

// WorkerMain runs this process as a worker or a probe of the jail, and never
// returns, if it was started as one; otherwise it returns at once. It is the first statement of
// main and of every TestMain of a program that makes a [Pool].
func WorkerMain() {
	jail.Main()
	if len(os.Args) == 0 || os.Args[0] != workerName {
		return
	}
	if err := workerMain(os.Args[1:]); err != nil {
		fatal(err)
	}
	os.Exit(0)
}

// fatal ends the worker. Its node tells whoever waits that it has failed.
func fatal(err error) {
	if !errors.Is(err, io.EOF) {
		_, _ = fmt.Fprintln(os.Stderr, err) // there is nobody else to tell
	}
	os.Exit(1)
}

func workerMain(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("worker with %d arguments", len(args))
	}
	role, o := args[0], orders{}
	if err := json.Unmarshal([]byte(args[1]), &o); err != nil {
		return fmt.Errorf("orders: %w", err)
	}
	e, ok := engines()[o.Engine]
	if !ok {
		return fmt.Errorf("no such engine: %q", o.Engine)
	}
	runtime.GOMAXPROCS(2)
	room, err := memoryRoom(role, o)
	if err != nil {
		return err
	}
	cell, err := jail.Enter(jail.Limits{
		Plan: o.Plan, Dir: o.Dir, Writable: role == roleCompile,
		AddressSpace: room, FileSize: o.Largest, CPUSeconds: o.CPUSeconds,
	})
	if err != nil {
		return err
	}
	o.Dir = cell.Dir
	frames, out := newFrameReader(os.Stdin), newOutput(os.Stdout)
	switch role {
	case roleCompile:
		wasm := make([]byte, o.ModuleSize)
		if _, err := io.ReadFull(frames.r, wasm); err != nil {
			return fmt.Errorf("read module: %w", err)
		}
		return answer(out, prepare(e, wasm, o))
	case roleRun:
		return serve(e, frames, out, cell, o)
	default:
		return fmt.Errorf("no such role: %q", role)
	}
}

// memoryRoom is the address space that a worker may take beyond what the Go
// runtime has taken at its start: guests can fill tables and stacks, and modules
// the compiler, without a limit of WebAssembly's. Compiling clang (75 MB) took
// 1.5 GB. An executor gets room for the module and its code as they are, so
// that a padded module buys its guest nothing, and twice that of its guest's
// files, which grow by copying.
func memoryRoom(role string, o orders) (uint64, error) {
	const base = 1 << 30
	if role != roleRun {
		return base + 32*o.ModuleSize, nil
	}
	size, err := dirSize(o.Dir)
	if err != nil {
		return 0, err
	}
	return base + size + o.MemoryLimit + 2*o.FileLimit, nil
}

// dirSize is how many bytes the files below dir have.
func dirSize(dir string) (size uint64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += uint64(info.Size())
		}
		return err
	})
	return size, err
}

// prepare turns a module into what executors load.
func prepare(e engine, wasm []byte, o orders) error {
	m, err := admit(wasm, o.Ceilings)
	if err == nil {
		err = checkMemory(m.MemoryBytes, o.MemoryLimit)
	}
	if err == nil {
		err = e.compile(m.Wasm, o.Dir)
	}
	if err == nil {
		err = writeMetered(o.Dir, m)
	}
	return err
}

// answer tells the node how the preparation went. An err that is about the
// module is an answer too, and no failure of the worker.
func answer(out *output, err error) error {
	reply := new(protocol.WorkerReply)
	var known *protocol.Error
	switch {
	case errors.Is(err, errStale):
		reply.Code, reply.Message = string(protocol.CodeInternal), err.Error()
	case errors.As(err, &known):
		reply.Code, reply.Message = string(known.Code), known.Message
		if known.Hint != "" {
			reply.Message += "; " + known.Hint
		}
	case err != nil:
		return err
	}
	out.end(reply, false)
	return nil
}

// serve runs tasks until the node closes the pipe.
func serve(e engine, frames *frameReader, out *output, cell *jail.Cell, o orders) error {
	g := &guest{world: wasi.NewWorld(), feed: &feed{frames: frames}, out: out}
	m, err := readMetered(o.Dir)
	if err == nil {
		err = checkMemory(m.MemoryBytes, o.MemoryLimit)
	}
	if err == nil {
		g.cost = m.Cost
		g.program, err = e.load(m.Wasm, o.Dir, o.MemoryLimit, g.world)
	}
	if err == nil {
		if err := cell.Seal(); err != nil { // nothing hostile has run yet
			return err
		}
	}
	if sent := answer(out, err); sent != nil || err != nil {
		return sent
	}
	heapLimit := collectRarely(o.FileLimit)
	out.left = g.program.left
	go out.keepFlushing(nil) // until the process ends
	for {
		request, spec := new(protocol.WorkerRequest), new(protocol.Spec)
		if err := frames.next(request); err != nil {
			return err
		}
		if err := proto.Unmarshal(request.Spec, spec); err != nil {
			return fmt.Errorf("decode spec: %w", err)
		}
		out.begin(request.Id, spec.GetLimits())
		reply := g.run(request, spec)
		for _, f := range g.outputs(reply, spec) {
			if err := out.file(f.Path, f.Size, f.Open()); err != nil {
				return err
			}
		}
		out.end(reply, frames.more() && !g.feed.follows)
		g.feed.skip()
		if reply.WallUs > fillTime && heapSize() > heapLimit {
			g.world.Reset(wasi.Config{}) // lets go of its files
			debug.FreeOSMemory()         // else an idle worker keeps what its guest left
		}
	}
}

// collectRarely turns off Go's periodic and proportional collections. A
// collection that begins while a guest's native code runs stops every other
// goroutine, the flusher among them, until the guest calls its host; and
// instances are short-lived garbage that is cheap to let pile up, up to the
// number of bytes returned and, while files are held, by those.
func collectRarely(files uint64) uint64 {
	limit := heapSize() + heapRoom
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(int64(limit + files))
	return limit
}

// heapSize is what Go holds of the system's memory, in bytes.
func heapSize() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Sys - m.HeapReleased
}
