package jail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config is what a [Box] needs to know.
type Config struct {
	// Dir is a directory of this process's own, where workers' directories will
	// be too. A probe gets an empty one in it, which is removed again.
	Dir string
	// Memory is what all workers together may take, in bytes, where the system
	// can bound that; with 0 it is not, and the layer for it is not in force.
	Memory uint64
	// Without names layers to leave out. Tests do, of those that are not theirs:
	// on a busy machine an idle worker may not run for minutes.
	Without []string
}

// Box starts confined processes. What this machine allows is found out once,
// by [New].
//
// All processes are started from one operating system thread that lives as
// long as the Box: on Linux the kernel kills a process when the thread that
// started it ends, and Go ends threads as it sees fit.
type Box struct {
	executable *os.File
	dir        string
	ground     ground // what this system has for it
	layers     []Layer
	requests   chan func()
	ended      chan struct{}
	once       sync.Once
}

// probeTime bounds a probe, on however busy a machine.
const probeTime = 30 * time.Second

// New finds out which layers can be put in force here. It starts a few
// children of this same executable, so [Main] must come first in main. It
// fails where no confined process can be started at all.
func New(ctx context.Context, cfg Config) (*Box, error) {
	executable, err := openExecutable()
	if err != nil {
		return nil, fmt.Errorf("open own executable: %w", err)
	}
	keepFiles()
	b := &Box{executable: executable, dir: cfg.Dir, requests: make(chan func()), ended: make(chan struct{})}
	if err := b.explore(ctx, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("find out how workers can be confined: %w", err), b.Close())
	}
	return b, nil
}

// explore decides b.ground and b.layers.
func (b *Box) explore(ctx context.Context, cfg Config) error {
	found := make(map[string]Layer)
	for _, name := range cfg.Without {
		found[name] = Layer{Name: name, Why: "it was left out"}
	}
	var plan []string
	for _, name := range Names() {
		if _, out := found[name]; !out {
			plan = append(plan, name)
		}
	}
	inside, err := b.survey(ctx, cfg, plan, found)
	if err != nil {
		return err
	}
	for _, l := range inside {
		found[l.Name] = l
	}
	for _, name := range Names() {
		l, ok := found[name]
		if !ok {
			l = Layer{Name: name, Why: "this system has none"}
		}
		b.layers = append(b.layers, l)
	}
	return nil
}

// Layers returns all layers in the order of [Names].
func (b *Box) Layers() []Layer { return slices.Clone(b.layers) }

// Plan returns the layers in force as [Limits] wants them: one word, fit for
// an argument vector.
func (b *Box) Plan() string {
	var names []string
	for _, l := range b.layers {
		if l.InForce {
			names = append(names, l.Name)
		}
	}
	return strings.Join(names, planSeparator)
}

// Command returns this executable, to be started by [Box.Start] with the
// argument vector given and without an environment.
func (b *Box) Command(args ...string) *exec.Cmd {
	cmd := &exec.Cmd{Path: executablePath(b.executable), Args: args, Env: []string{}}
	b.ground.prepare(cmd)
	return cmd
}

// Start starts what Command returned. The process ends with this one, even if
// this one is killed. Start must not be called during or after Close.
func (b *Box) Start(cmd *exec.Cmd) error {
	b.once.Do(func() { go b.run() })
	var err error
	done := make(chan struct{})
	b.requests <- func() {
		defer close(done)
		if err = cmd.Start(); err == nil {
			err = b.ground.adopt(cmd)
		}
	}
	<-done
	return err
}

func (b *Box) run() {
	defer close(b.ended)
	onMortalThread(b.serve)
}

// onMortalThread runs f on a thread that ends with it.
func onMortalThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked, so the thread ends with the goroutine
		if onMainThread() {    // which never ends, so this goroutine keeps it meanwhile
			defer runtime.UnlockOSThread()
			onMortalThread(f)
			return
		}
		f()
	}()
	<-done
}

func (b *Box) serve() {
	for start := range b.requests {
		start()
	}
}

// BoundCPU gives all processes in the box together at most so many processors'
// time, or with 0 all of it. It reports whether this system can bound that; where
// it cannot nothing has changed.
func (b *Box) BoundCPU(processors float64) bool { return b.ground.boundCPU(processors) }

// Close ends all processes that are left, and removes what New made. Processes
// should have been waited for: their control group can be removed only then.
func (b *Box) Close() error {
	b.once.Do(func() { close(b.ended) })
	close(b.requests)
	<-b.ended
	return errors.Join(b.ground.close(), b.executable.Close())
}

// Try starts a confined process that attempts what a guest must not manage:
// to read the file, which is one of the node's; to reach the node, which
// listens on the loopback for that; and more. It returns what came of each.
func (b *Box) Try(ctx context.Context, file string) ([]Attempt, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer func() { _ = listener.Close() }() // nobody was accepted
	t := target{File: file, PID: os.Getpid(), Port: listener.Addr().(*net.TCPAddr).Port}
	text, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	r, err := b.probe(ctx, b.Plan(), string(text))
	return r.Attempts, err
}

// probe starts this executable as a probe in a box of the present ground, and
// returns its report.
func (b *Box) probe(ctx context.Context, plan, aim string) (r report, err error) {
	dir, err := os.MkdirTemp(b.dir, "probe-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if dir, err = filepath.Abs(dir); err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, probeTime, fmt.Errorf("the probe took longer than %s", probeTime))
	defer cancel()
	// The thread must stay while the child runs: see Box.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := b.Command(probeName, dir, plan, aim)
	var errs strings.Builder
	cmd.Stderr = &bounded{w: &errs, left: 512}
	cmd.WaitDelay = time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := cmd.Start(); isRefusal(err) {
		return r, &startError{err}
	} else if err != nil {
		return r, err
	}
	err = b.ground.adopt(cmd)
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		Kill(cmd.Process)
	})
	if err == nil {
		err = json.NewDecoder(io.LimitReader(out, maxReport)).Decode(&r)
	}
	if stop() {
		Kill(cmd.Process)
	} else {
		<-killed // lest its number is another's by then: see Kill
	}
	how := cmd.Wait() // it was killed, unless it ended before
	switch {
	case ctx.Err() != nil:
		return r, context.Cause(ctx)
	case err != nil:
		return r, fmt.Errorf("probe: %w: %s", errors.Join(err, how), strings.TrimSpace(errs.String()))
	}
	return r, nil
}

// isRefusal reports whether an error of starting a process means that the
// system does not allow it.
func isRefusal(err error) bool {
	return errors.Is(err, os.ErrPermission) || slices.ContainsFunc(
		[]syscall.Errno{
			syscall.ENOSPC, syscall.EUSERS, syscall.ENOSYS, syscall.EINVAL,
			// Of a control group: Linux before 5.7 knows none that early, and some
			// groups take no members. Nothing else that Start does fails so.
			syscall.E2BIG, syscall.EOPNOTSUPP, syscall.EBUSY,
		},
		func(e syscall.Errno) bool { return errors.Is(err, e) })
}

// startError is the system's refusal to start a process so. Other failures, as
// of memory, may pass, and must not cost a layer for good.
type startError struct{ error }

func (e *startError) Unwrap() error { return e.error }

func isStartError(err error) bool { return errors.As(err, new(*startError)) }

// bounded drops what is more than left bytes.
type bounded struct {
	w    io.Writer
	left int
}

// Write implements [io.Writer].
func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	if _, err := b.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}
