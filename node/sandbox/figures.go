package sandbox

// Figures tell what a [Pool] does and has done since it was made.
type Figures struct {
	Workers int // processes that run guests, or could at once
	Busy    int // of them, with a guest, or coming up
	Waiting int // executions without a worker

	Started  uint64 // workers
	Compiled uint64 // modules
	Tasks    uint64 // executions that ended, however
	Killed   uint64 // workers, with a guest that ran for too long or that nobody waited for
	Crashed  uint64 // workers that ended by themselves

	Memory      uint64 // resident bytes of workers; 0 where the system does not tell
	Modules     int    // with cached code
	CacheBytes  int64  // of cached code
	CacheHits   uint64 // workers started without a compilation
	CacheMisses uint64
}

// counts are the part of Figures that only grows. The pool's mu guards them.
type counts struct {
	started, compiled, tasks, killed, crashed, hits, misses uint64
}

// Figures returns the figures of this moment.
func (p *Pool) Figures() Figures {
	p.mu.Lock()
	c := p.counts
	f := Figures{
		Busy: p.busy, Workers: p.busy + len(p.idle), Waiting: len(p.waiting),
		Started: c.started, Compiled: c.compiled, Tasks: c.tasks, Killed: c.killed, Crashed: c.crashed,
		CacheHits: c.hits, CacheMisses: c.misses,
	}
	var pids []int
	for proc := range p.live {
		pids = append(pids, proc.cmd.Process.Pid)
	}
	p.mu.Unlock()
	for _, pid := range pids {
		f.Memory += resident(pid)
	}
	f.Modules, f.CacheBytes = p.cache.usage()
	return f
}

// fit gives up workers that have been idle for longest until the other idle
// ones hold no more memory than they may. It asks the system about each and so
// is not for the hot path.
func (p *Pool) fit(a *actions) {
	p.mu.Lock()
	idle := make([]*worker, len(p.idle))
	copy(idle, p.idle)
	p.mu.Unlock()
	held := make([]uint64, len(idle))
	var total uint64
	for i, w := range idle {
		held[i] = resident(w.proc.cmd.Process.Pid)
		total += held[i]
	}
	p.mu.Lock()
	for i, w := range idle {
		if total <= p.idleMemory {
			break
		}
		total -= held[i]
		if len(w.calls) == 0 && !w.discarded && !p.closed {
			p.discard(w, a)
		}
	}
	p.unlock(a)
}
