package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spare-network/spare/node/sandbox/wasi"
	"github.com/spare-network/spare/protocol"
)

// guest is one worker's program and the world that it sees. It serves one task
// at a time; nothing but what may be shared is left of one when the next begins.
type guest struct {
	program program
	cost    int64 // of an instance, in gas
	world   *wasi.World
	feed    *feed
	out     *output
	seed    []byte // scratch of randomSeed
}

// errOutput ends a guest at its output limit.
var errOutput = errors.New("output limit")

// run runs the task of request, whose spec is given, up to the answer's last
// field but output and files.
func (g *guest) run(request *protocol.WorkerRequest, spec *protocol.Spec) *protocol.WorkerReply {
	g.feed.begin(request)
	inputs := g.feed.inputs(spec)
	var stdin io.Reader = g.feed
	if spec.Stdin.IsInline() {
		stdin = bytes.NewReader(spec.Stdin.Inline)
	}
	limits := spec.GetLimits()
	g.world.Reset(wasi.Config{
		Args: spec.Args, Env: spec.Env, Clock: spec.ClockUnixNs, Seed: g.randomSeed(request.Spec),
		Stdin: stdin, Stdout: writer{g.out, 1}, Stderr: writer{g.out, 2},
		Inputs: inputs, FileBytes: limits.GetFileBytes(), Files: limits.GetFiles(),
		GasLimit: limits.GetGas(),
	})
	start := time.Now()
	end := ending{gas: int64(limits.GetGas()) - g.cost}
	if end.gas >= 0 { // or it could not pay for the instance
		end = g.program.run(end.gas)
	}
	reply := &protocol.WorkerReply{
		WallUs: uint64(time.Since(start).Microseconds()),
		Gas:    limits.GetGas() - uint64(max(end.gas, 0)),
	}
	var exit *wasi.Exit
	switch {
	case errors.As(end.err, &exit):
		reply.ExitCode = int32(exit.Code)
	case errors.Is(end.err, errOutput):
		reply.Code = string(protocol.CodeOutputLimit)
		reply.Message = "the program wrote more than " + protocol.SizeText(limits.GetOutputBytes())
	case end.gas < 0:
		reply.Code = string(protocol.CodeGasLimit)
		reply.Message = "the program used all of its gas, " + protocol.GasText(limits.GetGas())
	case end.depth < 0:
		reply.Code = string(protocol.CodeDepthLimit)
		reply.Message = "the program's calls were nested too deeply"
	case errors.Is(end.err, errEngineStack):
		fatal(end.err) // where it comes differs between machines: nobody's result
	case end.err != nil:
		reply.Code, reply.Message = string(protocol.CodeTrap), "the program trapped: "+end.err.Error()
	}
	return reply
}

// outputs returns the files that a guest has left which ended with reply. If
// they are not what a task may hand on, that becomes its end instead.
func (g *guest) outputs(reply *protocol.WorkerReply, spec *protocol.Spec) []wasi.Output {
	if reply.Code != "" {
		return nil
	}
	list := g.world.Outputs()
	if len(list) == 0 {
		return nil
	}
	fits := spec.NewOutputs()
	for _, f := range list {
		if err := fits.Begin(&protocol.FileHeader{Path: f.Path, Size: f.Size}); err != nil {
			reply.Code, reply.ExitCode = string(protocol.CodeFileLimit), 0
			reply.Message = "the program's files cannot be handed on: " + strings.TrimPrefix(err.Error(), protocol.ErrMalformed.Error()+": ")
			return nil
		}
		fits.Skip()
	}
	return list
}

// randomSeed is what a task's random bytes come from: a digest of its Spec,
// the seed included.
func (g *guest) randomSeed(spec []byte) [32]byte {
	g.seed = append(append(g.seed[:0], "spare/random/2\x00"...), spec...)
	return protocol.DigestOf(g.seed)
}

// feed is what a task is given besides its Spec: inputs that the Spec does not
// hold, then stdin. Bytes are read from the pipe only as they are needed, so
// that the pipe holds back who writes too fast.
type feed struct {
	frames  *frameReader
	id      uint64
	rest    bytes.Reader
	follows bool
}

func (f *feed) begin(request *protocol.WorkerRequest) {
	f.id, f.follows = request.Id, request.DataFollows
	f.rest.Reset(request.Data)
}

// inputs reads the task's inputs.
func (f *feed) inputs(spec *protocol.Spec) []wasi.Input {
	list := make([]wasi.Input, 0, len(spec.Inputs))
	for _, i := range spec.Inputs {
		data := i.Blob.Inline
		if !i.Blob.IsInline() {
			data = make([]byte, i.Blob.Size)
			if _, err := io.ReadFull(f, data); err != nil {
				fatal(fmt.Errorf("read input: %w", err))
			}
		}
		list = append(list, wasi.Input{Path: i.Path, Data: data})
	}
	return list
}

// Read implements [io.Reader].
func (f *feed) Read(p []byte) (int, error) {
	for f.rest.Len() == 0 {
		if !f.follows {
			return 0, io.EOF
		}
		f.receive()
	}
	return f.rest.Read(p)
}

// skip reads to the end what the guest left unread.
func (f *feed) skip() {
	for f.follows {
		f.receive()
	}
}

func (f *feed) receive() {
	m := new(protocol.WorkerRequest)
	if err := f.frames.next(m); err != nil {
		fatal(err) // the node is gone, and so is everybody who waits
	}
	if m.Id != f.id || len(m.Spec) > 0 {
		fatal(errOutOfTurn)
	}
	f.follows = m.DataFollows
	f.rest.Reset(m.Data)
}

// writer is the guest's stdout or stderr.
type writer struct {
	out *output
	fd  uint32
}

// Write implements [io.Writer]. It ends the guest at the output limit.
func (w writer) Write(p []byte) (int, error) {
	if !w.out.write(w.fd, p) {
		return 0, errOutput
	}
	return len(p), nil
}
