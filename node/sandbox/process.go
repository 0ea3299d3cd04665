package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/spare-network/spare/node/sandbox/jail"
	"github.com/spare-network/spare/protocol"
)

// process is a worker as its node holds it: a child and the two pipes to it.
type process struct {
	cmd    *exec.Cmd
	in     pipe
	out    io.ReadCloser
	frames *frameReader
	stderr *head
	killed sync.Once
}

// launch starts a worker in the box. It must not be called during or after the
// box's Close.
func launch(box *jail.Box, role string, o orders) (*process, error) {
	o.Plan = box.Plan()
	told, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	p, err := newProcess(box.Command(workerName, role, string(told)))
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	if err := box.Start(p.cmd); err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	return p, nil
}

// pipe is the way to a worker.
type pipe struct{ io.WriteCloser }

// WriteWithin writes b, and fails with [os.ErrDeadlineExceeded] if the pipe has
// not taken it in time.
func (p pipe) WriteWithin(b []byte, d time.Duration) (int, error) {
	if f, ok := p.WriteCloser.(interface{ SetWriteDeadline(time.Time) error }); ok {
		if f.SetWriteDeadline(time.Now().Add(d)) == nil {
			defer func() { _ = f.SetWriteDeadline(time.Time{}) }() // it has been possible before
		}
	}
	return p.Write(b)
}

// newProcess prepares cmd, which is yet to be started.
func newProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, stderr: new(head)}
	cmd.Stderr = p.stderr
	cmd.WaitDelay = time.Second // a child of the worker's may hold stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.in = pipe{in}
	if p.out, err = cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	p.frames = newFrameReader(p.out)
	return p, nil
}

// kill ends the process at once, and the node's use of its pipes: a child of a
// worker that was broken out of may hold their other ends. It does so once, so
// that nobody is killed who got the process's number after it.
func (p *process) kill() {
	p.killed.Do(func() {
		jail.Kill(p.cmd.Process)
		_ = p.in.Close()  // what was unwritten stays so
		_ = p.out.Close() // and what was unread
	})
}

// reap waits for the process to be gone and describes how it went. Nobody may
// be reading from it.
func (p *process) reap() string {
	p.kill()
	err := p.cmd.Wait()
	how := "it ended"
	if err != nil {
		how = err.Error()
	}
	if text := p.stderr.String(); text != "" {
		how += ": " + text
	}
	return protocol.SafeText(how)
}

// prepare feeds the module wanted to a worker that has just been started, if
// it needs one, and waits for its answer. An answer about the module is a
// [*protocol.Error]. Unless it returns nil, the process has been reaped.
func (p *process) prepare(ctx context.Context, module io.Reader, want *protocol.Blob) error {
	stop := context.AfterFunc(ctx, p.kill)
	var err error
	if module != nil {
		err = p.feed(module, want)
	}
	reply := new(protocol.WorkerReply)
	if err == nil {
		err = p.frames.next(reply)
	}
	if !stop() {
		err = errors.Join(ctx.Err(), err)
	}
	if err == nil && reply.Code == "" {
		return nil
	}
	how := p.reap()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, new(*protocol.Error)):
		return err
	case err != nil:
		return protocol.Errorf(protocol.CodeWorker, "the sandbox process failed while it prepared the module: %s", how)
	}
	return preparationError(reply)
}

// feed copies the module into the pipe and checks that it is the one wanted.
func (p *process) feed(module io.Reader, want *protocol.Blob) error {
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(p.in, sum), io.LimitReader(module, int64(want.Size)))
	var path *os.PathError
	switch {
	case errors.As(err, &path) && path.Op == "write":
		return fmt.Errorf("feed module: %w", err) // the worker died
	case err != nil:
		return protocol.Errorf(protocol.CodeBlob, "the module cannot be read: %v", err)
	case uint64(n) != want.Size || protocol.Digest(sum.Sum(nil)) != want.Sum():
		return protocol.Errorf(protocol.CodeBlob, "the module's bytes are not what its digest says")
	}
	return nil
}

// preparationError is what a worker says of a module, made safe: the worker
// read a stranger's bytes.
func preparationError(reply *protocol.WorkerReply) error {
	message, hint, _ := strings.Cut(protocol.SafeText(reply.Message), "; ")
	switch code := protocol.Code(reply.Code); code {
	case protocol.CodeBadModule, protocol.CodeImport, protocol.CodeMemoryLimit, protocol.CodeRefused:
		return &protocol.Error{Code: code, Message: message, Hint: hint}
	case protocol.CodeInternal:
		return errStale
	default:
		return protocol.Errorf(protocol.CodeWorker, "the sandbox process gave an impossible answer")
	}
}

// head keeps the first bytes that a dying worker writes to stderr, where the
// Go runtime names the reason.
type head struct {
	mu sync.Mutex
	b  []byte
}

// Write implements [io.Writer].
func (t *head) Write(p []byte) (int, error) {
	const most = 256
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p[:min(len(p), most-len(t.b))]...)
	return len(p), nil
}

func (t *head) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
