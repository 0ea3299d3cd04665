package requester

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// Network is the mesh's part that a requester needs.
type Network interface {
	// Open opens a stream, dialling when there is no connection. To the node
	// itself it is a pipe.
	Open(ctx context.Context, to peer.ID, kind protocol.StreamKind) (*protocol.Conn, error)
	// RTT returns the measured round trip, or false when it is unknown.
	RTT(p peer.ID) (time.Duration, bool)
	// Vicinity returns the part of the peer's address that machines near it
	// share, or "" when it is unknown.
	Vicinity(p peer.ID) string
	// Drop closes the connections to a peer that has been found dead, so that
	// the next Open dials anew.
	Drop(p peer.ID)
	// Discover looks for providers of this much memory, for a bounded time,
	// and puts their offers into the Book.
	Discover(ctx context.Context, memoryBytes uint64) error
}

// Journal is the store's part that keeps tasks.
type Journal interface {
	SaveTask(t *protocol.Task) error
	SaveTaskNow(ctx context.Context, t *protocol.Task) error
	// SavePart keeps a task of a job as long as it is open.
	SavePart(t *protocol.Task) error
	Task(prefix string) (*protocol.Task, error)
	// Tasks leaves out the lists of output files, which Task has.
	Tasks(limit int, before protocol.TaskID) ([]*protocol.Task, error)
	Unfinished() ([]*protocol.Task, error)
	// Sync returns when all that was saved before outlasts a power cut.
	Sync(ctx context.Context) error
	SaveReceipts(provider peer.ID, batch *protocol.ReceiptBatch, receipts []*protocol.Receipt) error
}

// Blobs is the store's part for content-addressed bytes.
type Blobs interface {
	Has(d protocol.Digest) bool
	Open(d protocol.Digest) (*os.File, int64, error)
	Pin(d protocol.Digest) (release func())
	NewSpool(max int64) *store.Spool
	// Drop forgets a blob whose bytes were found not to be d's.
	Drop(d protocol.Digest)
}

// Ledger is what the node and others have done for each other.
type Ledger interface {
	// Received notes gas that a provider has used for this node.
	Received(provider peer.ID, gas uint64)
}

// Config is what a Requester is made of.
type Config struct {
	Self      peer.ID
	Key       crypto.PrivKey
	NetworkID protocol.NetworkID
	Book      *market.Book
	Network   Network
	Journal   Journal
	Blobs     Blobs
	Standings Standings
	Ledger    Ledger
	// Verify is how answers are verified that a task's terms leave open; off
	// when it is the default itself.
	Verify protocol.Verify
	// Blocked says whether this node's owner wants nothing to do with a peer; nil:
	// with none. It is asked for every placement.
	Blocked func(p peer.ID) bool
	// Begun is told of each task that begins, or is taken up again, under a lock; nil:
	// nobody is told.
	Begun  func()
	Logger *slog.Logger
}

const (
	// maxOpen bounds the tasks that are under way at once.
	maxOpen = 1 << 17
	// maxWarm bounds the pairs of provider and module known to be warm.
	maxWarm = 1 << 14
	// maxPaid bounds the attempts known to be credited to their providers.
	maxPaid = 1 << 16
	// saveEvery is how often open tasks are journaled while they change.
	saveEvery = 100 * time.Millisecond
	// restEvery is how often it is looked at what is left to do when none is open.
	restEvery = 5 * time.Second
	// While a node that has just started meets its peers, a task for which
	// there is nobody waits: a new one for so long after the start, one taken
	// up again for longer, since nobody may be there to submit it once more.
	settleNew     = 3 * time.Second
	settleResumed = time.Minute
	// settleLost is how long a task waits for peers after it has lost one.
	settleLost = time.Minute
)

// Requester conducts its user's tasks.
type Requester struct {
	cfg     Config
	self    string          // the peer ID in text, which takes a while to make
	ctx     context.Context // its lifetime, ended by Run
	stop    context.CancelCauseFunc
	started time.Time
	pairs   pairs
	warm    *lru.Cache[warmKey, struct{}]
	paid    *lru.Cache[protocol.Nonce, struct{}] // attempts whose gas the Ledger has
	wg      sync.WaitGroup

	unsettled *settlements
	trust     *trust
	refusers  *refusers
	tempos    *tempos
	moves     gate
	pool      pool
	begun     chan struct{} // wakes Run when a task is open
	watcher   atomic.Pointer[func(protocol.TaskID)]
	figures   figures

	mu       sync.Mutex
	tasks    map[protocol.TaskID]*task
	attempts map[protocol.Nonce]*attempt // those that peers may open streams for
}

type warmKey struct {
	provider peer.ID
	module   protocol.Digest
}

var errStopping = protocol.Errorf(protocol.CodeShutdown, "the node is stopping")

// New returns a Requester that accepts tasks until Run ends.
func New(cfg Config) (*Requester, error) {
	warm, err := lru.New[warmKey, struct{}](maxWarm)
	if err != nil {
		return nil, fmt.Errorf("remember warm providers: %w", err)
	}
	paid, err := lru.New[protocol.Nonce, struct{}](maxPaid)
	if err != nil {
		return nil, fmt.Errorf("remember what is paid: %w", err)
	}
	unsettled, err := newSettlements()
	if err != nil {
		return nil, fmt.Errorf("remember what to settle: %w", err)
	}
	known, err := openTrust(cfg.Standings, cfg.Logger)
	if err != nil {
		return nil, err
	}
	refusers, err := newRefusers()
	if err != nil {
		return nil, err
	}
	tempos, err := newTempos()
	if err != nil {
		return nil, fmt.Errorf("remember tempos: %w", err)
	}
	r := &Requester{
		cfg:       cfg,
		trust:     known,
		refusers:  refusers,
		tempos:    tempos,
		started:   time.Now(),
		self:      cfg.Self.String(),
		warm:      warm,
		paid:      paid,
		unsettled: unsettled,
		begun:     make(chan struct{}, 1),
		tasks:     make(map[protocol.TaskID]*task),
		attempts:  make(map[protocol.Nonce]*attempt),
	}
	r.ctx, r.stop = context.WithCancelCause(context.Background())
	r.pairs = pairs{r: r, byPeer: make(map[peer.ID]*pairSlot)}
	return r, nil
}

// Run takes up the tasks that an earlier run of the node left unfinished and
// journals open ones, until ctx ends. Tasks that are open then stay in the
// journal for the next run.
func (r *Requester) Run(ctx context.Context) error {
	defer func() {
		r.mu.Lock() // no task is opened while, or after, the others are told
		r.stop(errStopping)
		r.mu.Unlock()
		r.wg.Wait()
	}()
	unfinished, err := r.cfg.Journal.Unfinished()
	if err != nil {
		return fmt.Errorf("read unfinished tasks: %w", err)
	}
	for _, record := range unfinished {
		r.resume(record)
	}
	timer := time.NewTimer(saveEvery)
	defer timer.Stop()
	soon := true // the timer is set for open tasks
	for {
		select {
		case <-ctx.Done():
			return r.saveOpen()
		case <-r.begun:
			if !soon {
				soon = true
				timer.Reset(saveEvery)
			}
			continue
		case <-timer.C:
		}
		soon = r.Busy() // before what the last to end has left behind is seen to
		if err := r.saveOpen(); err != nil {
			return err
		}
		if err := r.settleAll(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("journal results: %w", err)
		}
		r.pairs.closeIdle(time.Now())
		if soon {
			timer.Reset(saveEvery)
		} else {
			timer.Reset(restEvery)
		}
	}
}

// Submit accepts a task: from here on it is seen through, whether or not ctx
// lives on. A detached task is on disk when Submit returns.
func (r *Requester) Submit(ctx context.Context, spec *protocol.Spec, terms *protocol.Terms, name string) (protocol.TaskID, error) {
	t, err := r.newTask(protocol.NewTaskID(), spec, terms, name)
	if err != nil {
		return "", err
	}
	if err := r.open(t); err != nil {
		return "", err
	}
	if terms.Detached {
		if err := r.cfg.Journal.SaveTaskNow(ctx, t.record); err != nil {
			// It may be on disk all the same, and nobody knows its ID.
			t.cancel(errCancelled)
			r.conduct(t)
			return "", fmt.Errorf("journal the task: %w", err)
		}
	}
	go r.conduct(t)
	return t.id, nil
}

// Do runs a task to its end in the calling goroutine, or fails when the
// Requester ends before. When ctx ends before, the task is cancelled.
func (r *Requester) Do(ctx context.Context, spec *protocol.Spec, terms *protocol.Terms, name string) (*protocol.Task, error) {
	t, err := r.newTask(protocol.NewTaskID(), spec, terms, name)
	if err != nil {
		return nil, err
	}
	return r.do(ctx, t)
}

// Part is [Requester.Do] for a task of a job, whose result the job keeps: here
// it is journaled only while it is open. A record that an earlier run of the node
// has left, or nil, is taken up if it is of the same spec.
func (r *Requester) Part(ctx context.Context, id protocol.TaskID, spec *protocol.Spec, terms *protocol.Terms, name string, left *protocol.Task) (*protocol.Task, error) {
	t, err := r.newTask(id, spec, proto.CloneOf(terms), name)
	if err != nil {
		return nil, err
	}
	if left != nil && bytes.Equal(left.Spec, t.raw) && left.Terms != nil {
		t = r.takenUp(spec, left)
	}
	t.part = true
	return r.do(ctx, t)
}

func (r *Requester) do(ctx context.Context, t *task) (*protocol.Task, error) {
	if err := r.open(t); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { t.cancel(errCancelled) })()
	r.conduct(t)
	record := t.snapshot()
	if record.Result == nil {
		return nil, errStopping
	}
	return record, nil
}

// open makes t known and keeps what it needs. It must be conducted then.
func (r *Requester) open(t *task) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return errStopping
	}
	if len(r.tasks) >= maxOpen {
		return protocol.Errorf(protocol.CodeBusy, "%d tasks are open already", len(r.tasks)).WithHint("wait for some of them to end")
	}
	t.ctx, t.cancel = context.WithCancelCause(r.ctx)
	for _, b := range t.blobs {
		t.unpin = append(t.unpin, r.cfg.Blobs.Pin(b.Sum()))
	}
	r.tasks[t.id] = t
	if r.cfg.Begun != nil {
		r.cfg.Begun()
	}
	select {
	case r.begun <- struct{}{}:
	default:
	}
	r.wg.Add(1) // conduct ends it
	t.note()
	return nil
}

// resume takes up a task of an earlier run, and what providers have done for it
// meanwhile.
func (r *Requester) resume(record *protocol.Task) {
	spec, err := protocol.ParseSpec(record.Spec)
	if spec != nil && spec.Profile != 0 && spec.Profile != protocol.Profile {
		err = protocol.Errorf(protocol.CodeRefused, "it was submitted to another version of spare, whose sandbox no peer has any more").
			WithHint("submit it again")
	}
	if err != nil || record.Terms == nil {
		r.cfg.Logger.Error("cannot take up a task", "task", record.Id, "err", err)
		var known *protocol.Error
		if !errors.As(err, &known) {
			err = protocol.Errorf(protocol.CodeInternal, "its record is damaged: %v", err)
		}
		record.Result = failed(err)
		record.State, record.Reason = protocol.StateDone, record.Result.Message
		if err := r.cfg.Journal.SaveTask(record); err != nil {
			r.cfg.Logger.Error("cannot journal a result", "task", record.Id, "err", err)
		}
		return
	}
	t := r.takenUp(spec, record)
	if err := r.open(t); err != nil {
		r.cfg.Logger.Error("cannot take up a task", "task", record.Id, "err", err)
		return
	}
	go r.conduct(t)
}

func (r *Requester) takenUp(spec *protocol.Spec, record *protocol.Task) *task {
	record.State, record.Reason = protocol.StateQueued, "taken up after a restart"
	t := r.makeTask(spec, record)
	t.settled = time.Now().Add(settleResumed)
	return t
}

// Busy reports whether a task is under way.
func (r *Requester) Busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.tasks) > 0
}

func (r *Requester) saveOpen() error {
	r.mu.Lock()
	open := make([]*task, 0, len(r.tasks))
	for _, t := range r.tasks {
		open = append(open, t)
	}
	r.mu.Unlock()
	for _, t := range open {
		if err := t.saveIfChanged(r.cfg.Journal); err != nil {
			return fmt.Errorf("journal a task: %w", err)
		}
	}
	return nil
}

// Task returns a snapshot of the one task whose ID begins with prefix.
func (r *Requester) Task(prefix string) (*protocol.Task, error) {
	if t := r.openTask(protocol.TaskID(prefix)); t != nil {
		return t.snapshot(), nil
	}
	if len(prefix) < protocol.TaskIDLen { // looked up among all
		if err := r.saveOpen(); err != nil {
			return nil, err
		}
	}
	record, err := r.cfg.Journal.Task(prefix)
	if err != nil {
		return nil, err
	}
	return r.freshest(record), nil
}

// Tasks returns at most limit tasks, newest first, that were submitted before
// the one named; an empty ID is later than all. Output files are counted, not
// listed.
func (r *Requester) Tasks(limit int, before protocol.TaskID) ([]*protocol.Task, error) {
	if err := r.saveOpen(); err != nil {
		return nil, err
	}
	list, err := r.cfg.Journal.Tasks(limit, before)
	for i, record := range list {
		list[i] = r.freshest(record)
	}
	return list, err
}

// Watch has the ID of each task that has changed told to note, until stop is
// called; not those of jobs, which tell of theirs. note is called in the way of
// the task, under locks, and must be quick. One watches at a time.
func (r *Requester) Watch(note func(protocol.TaskID)) (stop func()) {
	r.watcher.Store(&note)
	return func() { r.watcher.CompareAndSwap(&note, nil) }
}

func (r *Requester) openTask(id protocol.TaskID) *task {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tasks[id]
}

// freshest prefers what an open task knows of itself to its record.
func (r *Requester) freshest(record *protocol.Task) *protocol.Task {
	if t := r.openTask(protocol.TaskID(record.Id)); t != nil {
		return t.snapshot()
	}
	return record
}

// Cancel ends a task. One that has ended stays as it is.
func (r *Requester) Cancel(id protocol.TaskID) error {
	if t := r.openTask(id); t != nil {
		t.cancel(errCancelled)
		return nil
	}
	_, err := r.cfg.Journal.Task(string(id))
	return err
}

// Follow replays a task's output from its start and goes on with it live. It
// calls out and changed from the calling goroutine, changed with a snapshot at
// each change of state, and returns the task when it has ended, or the error
// of out, or of ctx. Either function may be nil.
func (r *Requester) Follow(ctx context.Context, id protocol.TaskID, out func(fd int, p []byte) error, changed func(*protocol.Task)) (*protocol.Task, error) {
	if t := r.openTask(id); t != nil {
		return t.follow(ctx, out, changed)
	}
	record, err := r.cfg.Journal.Task(string(id))
	if err != nil {
		return nil, err
	}
	return record, r.replay(record.Result, [2]int64{}, out)
}

// Output opens what a task has written to stdout (1) or stderr (2) so far.
func (r *Requester) Output(id protocol.TaskID, fd int) (io.ReadCloser, error) {
	if t := r.openTask(id); t != nil {
		if rc := t.openOutput(fd); rc != nil {
			return rc, nil
		}
	}
	record, err := r.cfg.Journal.Task(string(id))
	if err != nil {
		return nil, err
	}
	if fd == 1 {
		return r.openBlob(record.Result.GetStdout())
	}
	return r.openBlob(record.Result.GetStderr())
}
