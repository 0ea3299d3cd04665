package job

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// Tasks is the requester's part that runs one task of a job to its end. It takes
// up a record that an earlier run of the node has left of it, if there is one.
type Tasks interface {
	Part(ctx context.Context, id protocol.TaskID, spec *protocol.Spec, terms *protocol.Terms, name string, left *protocol.Task) (*protocol.Task, error)
}

// Config is what [New] needs.
type Config struct {
	Tasks Tasks
	Store *store.Store
	// Slots returns how many tasks the providers that are known, and whose labels
	// are as the terms wish, run at once.
	Slots  func(labels []string) int
	Logger *slog.Logger
}

// Jobs conducts the jobs of this node's user.
type Jobs struct {
	cfg  Config
	ctx  context.Context // its lifetime, ended by Run
	stop context.CancelCauseFunc
	wg   sync.WaitGroup

	ready chan struct{} // closed when jobs of an earlier run are taken up

	lookup  lookup
	watcher atomic.Pointer[func(protocol.TaskID)]

	// opening is held from reading the record of an ended job until the job is open
	// again, so that no other that is to be run again is forgotten.
	opening sync.Mutex

	mu   sync.Mutex
	open map[protocol.TaskID]*running
	left map[protocol.TaskID]*protocol.Task // open tasks of the last run, to be taken up
}

var (
	errStopping  = protocol.Errorf(protocol.CodeShutdown, "the node is stopping")
	errCancelled = protocol.Errorf(protocol.CodeCancelled, "the user cancelled it")
	errHalted    = protocol.Errorf(protocol.CodeCancelled, "its job was halted")
)

// maxOpen bounds the jobs that are conducted at once.
const maxOpen = 1000

// New returns Jobs that accept jobs until Run ends.
func New(cfg Config) *Jobs {
	j := &Jobs{cfg: cfg, ready: make(chan struct{}), open: make(map[protocol.TaskID]*running), left: make(map[protocol.TaskID]*protocol.Task)}
	j.ctx, j.stop = context.WithCancelCause(context.Background())
	return j
}

// Run takes up the jobs that an earlier run of the node left unfinished. When ctx
// ends, those that are open stay in the store for the next run.
func (j *Jobs) Run(ctx context.Context) error {
	defer func() {
		j.mu.Lock() // no job is opened while, or after, the others are told
		j.stop(errStopping)
		j.mu.Unlock()
		j.wg.Wait()
	}()
	parts, err := j.cfg.Store.Parts()
	if err != nil {
		return fmt.Errorf("read open tasks of jobs: %w", err)
	}
	unfinished, err := j.cfg.Store.UnfinishedJobs()
	if err != nil {
		return fmt.Errorf("read unfinished jobs: %w", err)
	}
	known := make(map[protocol.TaskID]bool, len(unfinished))
	for _, record := range unfinished {
		known[protocol.TaskID(record.Id)] = true
	}
	var lost []protocol.TaskID
	for _, t := range parts {
		id := protocol.TaskID(t.Id)
		if of, _ := id.Split(); known[of] {
			j.left[id] = t
		} else {
			lost = append(lost, id)
		}
	}
	if err := j.cfg.Store.DropParts(lost...); err != nil {
		return fmt.Errorf("forget open tasks of jobs: %w", err)
	}
	for _, record := range unfinished {
		if _, err := j.begin(record); err != nil {
			j.cfg.Logger.Error("cannot take up a job", "job", record.Id, "err", err)
			record.State, record.Reason, record.EndedUnixMs = protocol.StateLost, err.Error(), time.Now().UnixMilli()
			if err := j.cfg.Store.SaveJob(record); err != nil {
				return err
			}
		}
	}
	close(j.ready)
	<-ctx.Done()
	return nil
}

// takeLeft returns what the last run of the node has left of a task, once.
func (j *Jobs) takeLeft(id protocol.TaskID) *protocol.Task {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.left[id]
	delete(j.left, id)
	return t
}

// Submit accepts a job: when it returns, the job is on disk, and seen through
// from there on. The record has what its user wants; the rest is filled in. With
// resume, the last job of the same program, terms and items goes on instead, if
// there is one; with retryFailed, what has failed in it is run again. If only some
// items are the same, the new job takes over what has passed of them.
func (j *Jobs) Submit(ctx context.Context, record *protocol.Job, resume, retryFailed bool) (*protocol.Job, error) {
	var like []*protocol.Job // of the same program and terms, the latest first
	if resume || retryFailed {
		old, others, err := j.same(record)
		if err != nil {
			return nil, err
		}
		if old != nil {
			return j.Again(ctx, protocol.TaskID(old.Id), nil, retryFailed)
		}
		like = others
	}
	n, err := j.check(record)
	if err != nil {
		return nil, err
	}
	for _, other := range like {
		some, err := j.hasPassed(other, record)
		if err != nil {
			return nil, err
		}
		if some {
			record.Like = other.Id
			break
		}
	}
	record.Id, record.Tasks = string(protocol.NewTaskID()), n
	record.SubmittedUnixMs, record.State = time.Now().UnixMilli(), protocol.StateRunning
	if err := j.cfg.Store.SaveJobNow(ctx, record); err != nil {
		return nil, fmt.Errorf("journal the job: %w", err)
	}
	return j.begin(record)
}

// maxLike bounds the jobs whose items are compared with those of a new one.
const maxLike = 8

// same returns the last job of the same program, terms and items, or else the last
// few of the same program and terms alone.
func (j *Jobs) same(record *protocol.Job) (same *protocol.Job, like []*protocol.Job, err error) {
	for before := protocol.TaskID(""); ; {
		page, err := j.cfg.Store.Jobs(100, before)
		if err != nil || len(page) == 0 {
			return nil, like, err
		}
		for _, old := range page {
			if !bytes.Equal(old.Spec, record.Spec) || !proto.Equal(old.Terms, record.Terms) {
				continue
			}
			if bytes.Equal(old.Items, record.Items) {
				return old, nil, nil
			}
			if len(like) < maxLike {
				like = append(like, old)
			}
		}
		before = protocol.TaskID(page[len(page)-1].Id)
	}
}

// hasPassed reports whether a job has passed one of another's items.
func (j *Jobs) hasPassed(job, other *protocol.Job) (bool, error) {
	known, err := j.passed(job)
	if err == nil && len(known) > 0 {
		err = j.each(other, func(_ uint64, line []byte) error {
			if known[protocol.DigestOf(line)] > 0 {
				return errEnough
			}
			return nil
		})
	}
	switch {
	case errors.Is(err, errEnough):
		return true, nil
	case protocol.CodeOf(err) == protocol.CodeNotFound: // it is kept no longer
		return false, nil
	default:
		return false, err
	}
}

// passed returns the numbers of a job's results that have passed, by the items that
// they are of.
func (j *Jobs) passed(job *protocol.Job) (map[protocol.Digest]uint64, error) {
	numbers := make(map[uint64]uint64) // by task
	err := j.results(job, func(one *protocol.JobResult) {
		if one.Passed() && !job.Stale(one) {
			numbers[one.Index] = one.Number
		}
	})
	if err != nil {
		return nil, err
	}
	known := make(map[protocol.Digest]uint64, len(numbers))
	return known, j.each(job, func(index uint64, line []byte) error {
		if number := numbers[index]; number > 0 {
			known[protocol.DigestOf(line)] = number
		}
		return nil
	})
}

// check reads all items once and returns how many there are.
func (j *Jobs) check(record *protocol.Job) (n uint64, err error) {
	common, err := protocol.ParseSpec(record.Spec)
	if err != nil {
		return 0, err
	}
	err = j.each(record, func(index uint64, line []byte) error {
		if n = index; n > protocol.MaxJobTasks {
			return protocol.Errorf(protocol.CodeBadRequest, "more than %d items", protocol.MaxJobTasks).
				WithHint("give each task several of them, or submit several jobs")
		}
		item, err := parseItem(line, index)
		if err != nil {
			return err
		}
		if _, err := specOf(item, common, j.cfg.Store.Blobs()); err != nil {
			return protocol.About(fmt.Sprintf("item %d", index), err)
		}
		return nil
	})
	if err == nil && n == 0 {
		err = protocol.Errorf(protocol.CodeBadRequest, "there is no item")
	}
	return n, err
}

// each calls take with the items of a job, until it returns an error.
func (j *Jobs) each(record *protocol.Job, take func(index uint64, line []byte) error) error {
	d, err := protocol.DigestFrom(record.Items)
	if err != nil {
		return err
	}
	list, err := openItems(j.cfg.Store.Blobs(), d, 0, 0)
	if err != nil {
		return err
	}
	defer list.close()
	for {
		line, err := list.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := take(list.index, line); err != nil {
			return err
		}
	}
}

// begin conducts a job that is stored.
func (j *Jobs) begin(record *protocol.Job) (*protocol.Job, error) {
	common, err := protocol.ParseSpec(record.Spec)
	if err != nil {
		return nil, err
	}
	r := newRunning(j, record, common)
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.ctx.Err() != nil:
		return nil, errStopping
	case len(j.open) >= maxOpen:
		return nil, protocol.Errorf(protocol.CodeBusy, "%d jobs are open already", len(j.open)).WithHint("wait for some of them to end")
	case j.open[r.id] != nil:
		return j.open[r.id].snapshot(), nil
	}
	r.ctx, r.cancel = context.WithCancelCause(j.ctx)
	j.open[r.id] = r
	j.note(r.id)
	j.wg.Go(r.conduct)
	return r.snapshot(), nil
}

// Open is how many jobs are under way.
func (j *Jobs) Open() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.open)
}

// running returns a job that is under way, or nil.
func (j *Jobs) running(id protocol.TaskID) *running {
	select {
	case <-j.ready:
	case <-j.ctx.Done():
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.open[id]
}

// share is how many tasks one job may have under way: what keeps the providers
// busy, in equal parts. Each slot has a task that runs and some that follow it,
// more of them the shorter they are, so that none waits for our answer.
func (j *Jobs) share(mean time.Duration, labels []string) int {
	ahead := 1
	if mean > 0 {
		ahead = int(min(max(prefetch/mean, 1), maxAhead))
	}
	j.mu.Lock()
	jobs := max(1, len(j.open))
	j.mu.Unlock()
	return max(1, j.cfg.Slots(labels)*(1+ahead)/jobs)
}

const (
	// prefetch is how much work waits at a provider for each of its slots, and
	// maxAhead how many tasks that may be.
	prefetch = 50 * time.Millisecond
	maxAhead = 24
)

// Job returns the one job whose ID begins with prefix, as it is now.
func (j *Jobs) Job(prefix string) (*protocol.Job, error) {
	if r := j.running(protocol.TaskID(prefix)); r != nil {
		return r.snapshot(), nil
	}
	record, err := j.cfg.Store.Job(prefix)
	if err != nil {
		return nil, err
	}
	return j.freshest(record), nil
}

// Jobs returns at most limit jobs, newest first, that were submitted before the
// one named; an empty ID is later than all.
func (j *Jobs) Jobs(limit int, before protocol.TaskID) ([]*protocol.Job, error) {
	list, err := j.cfg.Store.Jobs(limit, before)
	for i, record := range list {
		list[i] = j.freshest(record)
	}
	return list, err
}

func (j *Jobs) freshest(record *protocol.Job) *protocol.Job {
	if r := j.running(protocol.TaskID(record.Id)); r != nil {
		return r.snapshot()
	}
	return record
}

// Watch has the ID of each job that has changed, or of which a task has begun,
// told to note, until stop is called. note is called in the way of the job, under
// locks, and must be quick. One watches at a time.
func (j *Jobs) Watch(note func(protocol.TaskID)) (stop func()) {
	j.watcher.Store(&note)
	return func() { j.watcher.CompareAndSwap(&note, nil) }
}

func (j *Jobs) note(id protocol.TaskID) {
	if note := j.watcher.Load(); note != nil {
		(*note)(id)
	}
}
