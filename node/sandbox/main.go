package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

// A worker is told what it is by its argument vector alone: workerName, its
// role, the directory of compiled code, the memory limit, the module's size and
// the largest file that it may write, all in bytes. The module follows on stdin.
const (
	workerName  = "spare-worker"
	roleCompile = "compile"
	roleRun     = "run"
)

// heapRoom is what a worker's Go heap may grow by before it is collected.
const heapRoom = 64 << 20

// fillTime is less than a guest takes to fill heapRoom, in microseconds. After
// shorter runs nobody looks at the heap, which would cost them too much.
const fillTime = 2000

var errOutOfTurn = errors.New("message out of turn")

// WorkerMain runs this process as a worker, and never returns, if it was
// started as one; otherwise it returns at once. It is the first statement of
// main and of every TestMain of a program that makes a [Pool].
func WorkerMain() {
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
	if len(args) != 5 {
		return fmt.Errorf("worker with %d arguments", len(args))
	}
	role, dir := args[0], args[1]
	limit, err := strconv.ParseUint(args[2], 10, 64)
	if err != nil {
		return fmt.Errorf("memory limit: %w", err)
	}
	size, err := strconv.ParseUint(args[3], 10, 63)
	if err != nil {
		return fmt.Errorf("module size: %w", err)
	}
	largest, err := strconv.ParseUint(args[4], 10, 63)
	if err != nil {
		return fmt.Errorf("file size limit: %w", err)
	}
	runtime.GOMAXPROCS(2)
	settleIn()
	room, err := memoryRoom(role, dir, limit, size)
	if err != nil {
		return err
	}
	if err := setLimits(room, largest); err != nil {
		return fmt.Errorf("limit memory and files: %w", err)
	}
	frames := newFrameReader(os.Stdin)
	wasm := make([]byte, size)
	if _, err := io.ReadFull(frames.r, wasm); err != nil {
		return fmt.Errorf("read module: %w", err)
	}
	out := newOutput(os.Stdout)
	switch role {
	case roleCompile:
		return answer(out, compile(wasm, dir, limit))
	case roleRun:
		return serve(frames, out, wasm, dir, limit)
	default:
		return fmt.Errorf("no such role: %q", role)
	}
}

// memoryRoom is the address space that a worker may take beyond what the Go
// runtime has taken at its start: guests can fill tables and stacks, and modules
// the compiler, without a limit of WebAssembly's. Compiling clang (75 MB) took
// 1.5 GB. An executor gets room for the module and its code as they are, so
// that a padded module buys its guest nothing.
func memoryRoom(role, dir string, limit, size uint64) (uint64, error) {
	const base = 1 << 30
	if role != roleRun {
		return base + 32*size, nil
	}
	code, err := compiledFile(dir)
	if err != nil {
		return 0, err
	}
	return base + size + uint64(code.Size()) + limit, nil
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
func serve(frames *frameReader, out *output, wasm []byte, dir string, limit uint64) error {
	g := newGuest(out, frames)
	e, err := load(wasm, dir, limit, g)
	if sent := answer(out, err); sent != nil || err != nil {
		return sent
	}
	heapLimit := collectRarely()
	go out.keepFlushing() // until the process ends
	for {
		request, spec := new(protocol.WorkerRequest), new(protocol.Spec)
		if err := frames.next(request); err != nil {
			return err
		}
		if err := proto.Unmarshal(request.Spec, spec); err != nil {
			return fmt.Errorf("decode spec: %w", err)
		}
		g.reset(request, spec)
		out.begin(request.Id, spec.GetLimits().GetOutputBytes())
		reply := execute(e, g, out)
		out.end(reply, frames.more() && !g.stdin.follows)
		g.stdin.skip()
		if reply.WallUs > fillTime && heapSize() > heapLimit {
			debug.FreeOSMemory() // else an idle worker keeps what its guest left
		}
	}
}

// execute runs one task.
func execute(e *engine, g *guest, out *output) *protocol.WorkerReply {
	start := time.Now()
	code, err := e.run(g.spec.GetArgs())
	reply := &protocol.WorkerReply{ExitCode: int32(code), WallUs: uint64(time.Since(start).Microseconds())}
	switch {
	case out.exceeded():
		reply.Code = string(protocol.CodeOutputLimit)
		reply.Message = fmt.Sprintf("the program wrote more than %d bytes", g.spec.GetLimits().GetOutputBytes())
	case err != nil:
		reply.Code, reply.Message = string(protocol.CodeTrap), "the program trapped: "+err.Error()
	}
	return reply
}

// collectRarely turns off Go's periodic and proportional collections. A
// collection that begins while a guest's native code runs stops every other
// goroutine, the flusher among them, until the guest calls its host; and
// instances are short-lived garbage that is cheap to let pile up, up to the
// number of bytes returned.
func collectRarely() uint64 {
	limit := heapSize() + heapRoom
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(int64(limit))
	return limit
}

// heapSize is what Go holds of the system's memory, in bytes.
func heapSize() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Sys - m.HeapReleased
}
