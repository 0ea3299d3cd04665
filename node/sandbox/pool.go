package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/node/sandbox/jail"
	"github.com/spare-network/spare/node/sandbox/meter"
	"github.com/spare-network/spare/protocol"
)

// Config is what a [Pool] needs to know.
type Config struct {
	Dir        string // of compiled code; the pool's own
	Slots      int    // executions at once; at least 1
	Key        []byte // authenticates compiled code on disk; at least 16 bytes, the same at each start
	CacheBytes int64  // most bytes of compiled code kept; 0 means 4 GiB
	Memory     uint64 // most bytes of all workers together, where the system can bound that; 0 means no bound
	IdleMemory uint64 // most bytes that idle workers hold together; 0 means 1 GiB
	// Ceilings are the most that this node takes of a module; the zero value
	// means all that the profile allows.
	Ceilings meter.Ceilings
	Logger   *slog.Logger // nil discards
}

// Execution is one run wanted.
type Execution struct {
	// Owner is the requester. Workers are never shared between owners.
	Owner peer.ID
	// Spec has passed its Validate; SpecBytes are the bytes it came as.
	Spec      *protocol.Spec
	SpecBytes []byte
	// Module opens the module's bytes. It is called only when the module must
	// be compiled.
	Module func() (io.ReadCloser, error)
	// Data is the bytes of the Spec's Transfers, one after another: inputs,
	// then stdin. It is nil when there are none. Its Read must not block for
	// long: it is a file's.
	Data io.Reader
	// Output gets output while the guest runs, in the order in which it was
	// written, at most [protocol.MaxOutputChunk] bytes each time, and after its
	// end, with an fd of 3, the bytes of the file last begun. It must not
	// keep data. While it blocks, so does the guest; it must return soon after
	// Run's context has ended. It is required: the node holds no more than the
	// last 64 KiB.
	Output func(fd uint32, data []byte)
	// File begins an output file, after all output. The number of files and
	// bytes is within the Spec's limits, and as many bytes follow as it says;
	// the path is the worker's word. It may be nil when the Spec allows no files.
	File func(path string, size uint64)
	// State is told of compiling and running, the latter again when the run
	// moves to another worker before it began. Of a run that is expected to be
	// over in a moment it is told at its end, or when it takes longer after
	// all. It may be nil.
	State func(protocol.State)
	// Gas is told from time to time how much the guest has used, by the worker's
	// word, while it runs. It may be nil.
	Gas func(used uint64)
	// Still is told when the guest begins to stand still, and when it goes on
	// (see [Pool.Hold]). It is called with the Pool locked, so that it must only
	// note that. It may be nil.
	Still func(still bool)
}

// Outcome is how a guest ended: by itself, or by the system when Code is set.
type Outcome struct {
	ExitCode       int32
	Source         protocol.ExitSource
	Code           protocol.Code
	Message        string
	Stdout, Stderr []byte        // what did not go to Output; at most 64 KiB
	Wall           time.Duration // guest time
	Gas            uint64
}

// Pool runs executions in worker processes. Its methods may be called from
// many goroutines.
type Pool struct {
	slots       int
	logger      *slog.Logger
	ceilings    meter.Ceilings
	cache       *cache
	failed      failures
	box         *jail.Box
	idleTime    time.Duration                         // after which a warm worker is given up
	idleMemory  uint64                                // bytes that idle workers may hold together
	prepareTime func(moduleSize uint64) time.Duration // in which an idle machine must compile or load a module

	running sync.WaitGroup // Runs
	readers sync.WaitGroup // of workers

	mu      sync.Mutex
	closed  bool
	lastID  uint64
	waiting []*call   // without a worker, oldest first
	busy    int       // workers that are being started or have calls
	idle    []*worker // longest idle first
	groups  map[groupKey]*group
	live    map[*process]struct{}
	mean    time.Duration // moving average of guest times
	counts  counts
	still   bool        // guests are to stand still
	but     peer.ID     // those of this one are not
	sweeper *time.Timer // gives up idle workers; nil while there are none
}

const (
	defaultIdleTime   = time.Minute
	defaultIdleMemory = 1 << 30
	defaultCacheBytes = 4 << 30
	minKey            = 16
)

// defaultPrepareTime allows for a module's size: wazero compiles some 1.4 MB
// of WebAssembly per second and processor.
func defaultPrepareTime(moduleSize uint64) time.Duration {
	return time.Minute + time.Duration(moduleSize>>20)*time.Second
}

// New opens the cache of compiled code, and finds out how workers can be
// confined here, which it gives up when ctx ends. Workers are started when there
// is something to run.
func New(ctx context.Context, cfg Config) (*Pool, error) {
	if cfg.Slots < 1 || len(cfg.Key) < minKey {
		return nil, errors.New("sandbox needs at least one slot and a key of 16 bytes")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.IdleMemory == 0 {
		cfg.IdleMemory = defaultIdleMemory
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = defaultCacheBytes
	}
	if cfg.Ceilings == (meter.Ceilings{}) {
		cfg.Ceilings = meter.Default()
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open sandbox: %w", err)
	}
	box, err := jail.New(ctx, cfg.jail())
	if err != nil {
		return nil, err
	}
	c, err := openCache(cfg.Dir, cfg.Key, cfg.CacheBytes, cfg.Ceilings, cfg.Logger)
	if err != nil {
		return nil, errors.Join(err, box.Close())
	}
	return &Pool{
		slots: cfg.Slots, logger: cfg.Logger, ceilings: cfg.Ceilings, cache: c, box: box,
		idleTime: defaultIdleTime, idleMemory: cfg.IdleMemory, prepareTime: defaultPrepareTime,
		groups: make(map[groupKey]*group), live: make(map[*process]struct{}),
	}, nil
}

// Close kills every worker and waits for them and for the Runs under way,
// which return E-SHUTDOWN.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	var a actions
	for _, c := range p.waiting {
		p.finish(c, errShutdown(), &a)
	}
	p.waiting = nil
	if p.sweeper != nil {
		p.sweeper.Stop()
	}
	for proc := range p.live {
		a.kill = append(a.kill, proc)
	}
	p.unlock(&a)
	p.running.Wait()
	p.readers.Wait()
	return p.box.Close()
}

func errShutdown() error {
	return protocol.Errorf(protocol.CodeShutdown, "the node is stopping")
}

// Run runs x and returns how the guest ended. An error is this provider's
// failure, which another may not share: a [*protocol.Error], or the context's
// error once ctx has ended. It returns without waiting for a cancelled guest's
// process, which is killed within 20 ms.
func (p *Pool) Run(ctx context.Context, x Execution) (Outcome, error) {
	c, err := newCall(&x)
	if err != nil {
		return Outcome{}, err
	}
	var a actions
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return Outcome{}, errShutdown()
	}
	p.running.Add(1)
	defer p.running.Done()
	if err := p.enter(c); err != nil {
		p.mu.Unlock()
		return Outcome{}, err
	}
	p.schedule(&a)
	p.unlock(&a)
	for {
		select {
		case <-ctx.Done():
			p.abandon(c)
			return Outcome{}, context.Cause(ctx)
		case <-c.wake:
		}
		p.mu.Lock()
		step, announce, w := c.step, c.announce, c.worker
		c.step, c.announce = stepNone, false
		p.mu.Unlock()
		if announce {
			x.State(protocol.StateRunning)
		}
		switch step {
		case stepStart:
			p.start(ctx, c, w)
		case stepFeed:
			c.fed = make(chan error, 1)
			go p.feed(c, w)
		case stepDone:
			p.leave(c)
			if c.err != nil {
				return Outcome{}, c.err
			}
			return c.outcome, nil
		}
	}
}

// Resize changes how many executions run at once from now on. Those that run
// already go on.
func (p *Pool) Resize(slots int) {
	var a actions
	p.mu.Lock()
	p.slots = slots
	p.schedule(&a)
	p.unlock(&a)
}

// BoundCPU gives all workers together at most so many processors' time, or with
// 0 all of it, and reports whether this system can bound that.
func (p *Pool) BoundCPU(processors float64) bool { return p.box.BoundCPU(processors) }

// BoundCache changes the most bytes of compiled code that are kept.
func (p *Pool) BoundCache(bytes int64) { p.cache.bound(bytes) }

// Warm reports whether owner's run of module would need no compilation: its
// code is cached, or a worker of owner's has it loaded.
func (p *Pool) Warm(owner peer.ID, module protocol.Digest) bool {
	if p.cache.has(module) {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, g := range p.groups {
		if key.owner == owner && key.module == module && g.ready() > 0 {
			return true
		}
	}
	return false
}

// WarmModules lists at most n modules whose code is cached, the last used
// first.
func (p *Pool) WarmModules(n int) []protocol.Digest { return p.cache.recent(n) }

// MeanRun returns the moving average of recent run times.
func (p *Pool) MeanRun() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mean
}

// Workers returns how many worker processes hold module ready.
func (p *Pool) Workers(module protocol.Digest) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for key, g := range p.groups {
		if key.module == module {
			n += g.ready()
		}
	}
	return n
}
