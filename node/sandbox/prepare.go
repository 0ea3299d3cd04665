package sandbox

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spare-network/spare/protocol"
)

// bringUp starts an executor for x and waits until it is ready. The module is
// compiled first if it has to be.
func (p *Pool) bringUp(ctx context.Context, x *Execution) (*process, error) {
	if size := x.Spec.Module.Size; size > protocol.MaxModule {
		return nil, protocol.Errorf(protocol.CodeBadModule, "the module has %d MiB, no sandbox takes more than %d MiB",
			size>>20, protocol.MaxModule>>20)
	}
	digest := x.Spec.Module.Sum()
	for first := true; ; first = false {
		e, err := p.compiled(ctx, x)
		if err != nil {
			return nil, err
		}
		proc, err := p.prepare(ctx, roleRun, e.code(), x)
		p.cache.release(e)
		if !errors.Is(err, errStale) {
			return proc, err
		}
		p.cache.drop(digest, e)
		if !first {
			return nil, protocol.Errorf(protocol.CodeWorker, "freshly compiled code does not fit the engine")
		}
	}
}

// compiled returns the cache's entry for x's module, which the caller releases.
// However many want a module, it is compiled once at a time.
func (p *Pool) compiled(ctx context.Context, x *Execution) (*entry, error) {
	told := false
	for {
		e, wait := p.cache.claim(x.Spec.Module.Sum())
		if e != nil {
			if !told {
				p.count(&p.counts.hits)
			}
			return e, nil
		}
		if !told && x.State != nil {
			x.State(protocol.StateCompiling)
		}
		told = true
		if wait == nil {
			p.count(&p.counts.misses)
			if err := p.compile(ctx, x); err != nil {
				return nil, err
			}
			continue
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// compile has x's module compiled into the cache.
func (p *Pool) compile(ctx context.Context, x *Execution) error {
	digest := x.Spec.Module.Sum()
	defer p.cache.settle(digest)
	start := time.Now()
	if err := p.failed.look(digest, start); err != nil {
		return err
	}
	dir, err := p.cache.scratch()
	if err != nil {
		return err
	}
	proc, err := p.prepare(ctx, roleCompile, filepath.Join(dir, codeDir), x)
	p.failed.note(digest, err, start, time.Now())
	if err == nil {
		p.retire(proc)
		err = p.cache.adopt(dir, digest)
	}
	if err == nil {
		p.count(&p.counts.compiled)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}

func (p *Pool) count(n *uint64) {
	p.mu.Lock()
	*n++
	p.mu.Unlock()
}

// busyTimes is how many times longer than on an idle machine a preparation may
// take: workers get what processor time is left over. What it takes of that is
// bounded by the system.
const busyTimes = 5

// prepare starts a worker, feeds it x's module if it is to compile it, and
// waits for its answer.
func (p *Pool) prepare(ctx context.Context, role, dir string, x *Execution) (*process, error) {
	size := x.Spec.Module.Size
	limit := p.prepareTime(size)
	wall := busyTimes * limit
	ctx, cancel := context.WithTimeoutCause(ctx, wall,
		protocol.Errorf(protocol.CodeBusy, "this machine was too busy to prepare the module within %s", wall))
	defer cancel()
	o := orders{
		Dir: dir, MemoryLimit: x.Spec.Limits.MemoryBytes, FileLimit: x.Spec.Limits.FileBytes,
		Ceilings: p.ceilings, Engine: defaultEngineName,
	}
	var module io.Reader
	if role == roleCompile {
		f, err := x.Module()
		if errors.As(err, new(*protocol.Error)) {
			return nil, err
		}
		if err != nil {
			return nil, protocol.Errorf(protocol.CodeBlob, "the module cannot be opened: %v", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		module, o.ModuleSize = f, size
		// Code takes 2 to 5 times a module's size.
		o.Largest, o.CPUSeconds = min(uint64(p.cache.most.Load()), 64<<20+64*size), uint64(compileWorkers*limit/time.Second)
	}
	proc, err := p.spawn(role, o)
	if err != nil {
		return nil, err
	}
	if err := proc.prepare(ctx, module, x.Spec.Module); err != nil {
		p.forget(proc)
		return nil, err
	}
	return proc, nil
}

// spawn starts a worker that Close will kill.
func (p *Pool) spawn(role string, o orders) (*process, error) {
	proc, err := launch(p.box, role, o)
	if err != nil {
		return nil, protocol.Errorf(protocol.CodeWorker, "%v", err)
	}
	p.mu.Lock()
	closed := p.closed
	p.live[proc] = struct{}{}
	p.mu.Unlock()
	if closed {
		p.retire(proc)
		return nil, errShutdown()
	}
	return proc, nil
}

// retire ends a worker that has no reader.
func (p *Pool) retire(proc *process) {
	proc.reap()
	p.forget(proc)
}

// forget notes that a process has been reaped.
func (p *Pool) forget(proc *process) {
	p.mu.Lock()
	delete(p.live, proc)
	p.mu.Unlock()
}
