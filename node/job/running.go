package job

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

// running is a job under way.
type running struct {
	j      *Jobs
	id     protocol.TaskID
	common *protocol.Spec
	only   protocol.Ranges // tasks that are to be run
	ctx    context.Context // ends when no more tasks are begun
	cancel context.CancelCauseFunc
	tasks  context.Context // ends when those under way are to end; not when the node stops: they are taken up then
	kill   context.CancelCauseFunc
	wg     sync.WaitGroup // of its tasks
	pins   []func()

	// recording gives results their numbers in the order in which the store gets
	// them, so that there are no gaps. It is held across the store's queue.
	recording sync.Mutex
	closed    bool // no more are recorded; guarded by recording

	freed    chan struct{} // a task has ended
	begun    chan turn     // tasks for whoever has ended one
	recalled chan struct{} // closed when it is known which tasks have ended

	mu      sync.Mutex
	record  *protocol.Job
	ended   set // tasks with a result that counts
	passed  set
	dropped uint64 // of those that failed: cancelled
	flying  int
	flights map[uint64]context.CancelCauseFunc // of tasks under way
	mean    time.Duration                      // of recent tasks
	halted  bool                               // no more tasks are begun
	over    bool                               // nothing changes any more, and nobody finds it here
	changed chan struct{}                      // closed at the next change, if anybody waits
}

// meanOf is the weight of the past in the mean of recent tasks.
const meanOf = 16

// lookEvery is how often a job looks whether it may have more tasks under way.
const lookEvery = 200 * time.Millisecond

func newRunning(j *Jobs, record *protocol.Job, common *protocol.Spec) *running {
	tasks, kill := context.WithCancelCause(context.Background())
	return &running{
		tasks: tasks, kill: kill,
		j: j, id: protocol.TaskID(record.Id), common: common, record: proto.CloneOf(record),
		only:  record.OnlyRanges(),
		freed: make(chan struct{}, 1), begun: make(chan turn), recalled: make(chan struct{}), flights: make(map[uint64]context.CancelCauseFunc),
		ended: newSet(record.Tasks), passed: newSet(record.Tasks),
	}
}

// conduct begins one task after another until all have ended, and records how
// the job has.
func (r *running) conduct() {
	err := r.recall()
	close(r.recalled)
	if err == nil {
		err = r.beginAll()
	}
	if err != nil {
		r.stop(err)
	}
	close(r.begun)
	r.wg.Wait()
	cause := context.Cause(r.ctx)
	r.stop(nil)
	if !errors.Is(cause, errStopping) {
		r.end(cause)
	}
	for _, release := range r.pins {
		release()
	}
	r.j.mu.Lock()
	delete(r.j.open, r.id)
	r.j.mu.Unlock()
	r.update(func(*protocol.Job) { r.over = true })
}

// stop ends the job and its tasks, for a reason of its own.
func (r *running) stop(cause error) {
	r.cancel(cause)
	r.kill(cause)
}

// recall reads which tasks have ended already, and keeps the blobs that the
// others need.
func (r *running) recall() error {
	var passed, failed, dropped, last uint64
	for {
		list, err := r.j.cfg.Store.Results(r.id, last, resultsAtOnce)
		if err != nil {
			return err
		}
		for _, one := range list {
			last = one.Number
			if r.record.Stale(one) || one.Index > r.record.Tasks {
				continue
			}
			if r.ended.add(one.Index) {
				if failed++; one.Cancelled() {
					dropped++
				}
			}
			if one.Passed() && r.passed.add(one.Index) {
				failed, passed = failed-1, passed+1
			}
		}
		if len(list) == 0 {
			break
		}
	}
	r.update(func(record *protocol.Job) {
		record.Passed, record.Failed, record.Results, r.dropped = passed, failed, last, dropped
	})
	if last == 0 && r.record.Like != "" {
		if err := r.takeOver(r.record.Like); err != nil && protocol.CodeOf(err) != protocol.CodeNotFound { // it is kept no longer
			return err
		}
	}
	return r.pin()
}

// takeOver records what has passed in another job of the same program and terms,
// for the items that both have.
func (r *running) takeOver(from string) error {
	other, err := r.j.cfg.Store.Job(from)
	if err != nil {
		return err
	}
	known, err := r.j.passed(other)
	if err != nil {
		return err
	}
	return r.j.each(r.record, func(index uint64, line []byte) error {
		number := known[protocol.DigestOf(line)]
		if number == 0 {
			return nil
		}
		list, err := r.j.cfg.Store.Results(protocol.TaskID(from), number-1, 1)
		if err != nil || len(list) == 0 {
			return err
		}
		one := list[0]
		one.Index = index
		return r.add(one, 0)
	})
}

func (r *running) pin() error {
	pinned := make(map[protocol.Digest]bool)
	pin := func(d protocol.Digest) {
		if !pinned[d] {
			pinned[d] = true
			r.pins = append(r.pins, r.j.cfg.Store.Blobs().Pin(d))
		}
	}
	items, err := protocol.DigestFrom(r.record.Items)
	if err != nil {
		return err
	}
	pin(items)
	for _, b := range append(r.common.Transfers(), r.common.Module) {
		pin(b.Sum())
	}
	return r.j.each(r.record, func(index uint64, line []byte) error {
		if !bytes.Contains(line, []byte("digest")) {
			return nil // it names no blob, and need not be read
		}
		item, err := parseItem(line, index)
		if err != nil {
			return err
		}
		for _, digest := range item.Needs() {
			d, err := protocol.ParseDigest(digest)
			if err != nil {
				return err
			}
			pin(d)
		}
		return nil
	})
}

var errEnough = errors.New("no more items are wanted")

// beginAll begins each task that has not ended, as there is room for it.
func (r *running) beginAll() error {
	err := r.j.each(r.record, func(index uint64, line []byte) error {
		if r.has(index) || !r.only.Has(index) {
			return nil
		}
		if !r.room() {
			return errEnough
		}
		next := turn{index, slices.Clone(line)}
		select {
		case r.begun <- next:
		default:
			r.wg.Go(func() { r.runAll(next) })
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func (r *running) has(index uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended.has(index)
}

// room waits until one more task may be under way. It returns false when none is
// to be begun any more.
func (r *running) room() bool {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		limit := int(r.record.Rules.GetInFlight()) // nothing changes the rules
		r.mu.Lock()
		mean := r.mean
		r.mu.Unlock()
		if limit == 0 {
			limit = r.j.share(mean, r.record.Terms.GetLabels()) // nor the terms
		}
		r.mu.Lock()
		halted, room := r.halted || r.ctx.Err() != nil, r.flying < limit
		if !halted && room {
			r.flying++
		}
		r.mu.Unlock()
		if halted || room {
			return !halted
		}
		select {
		case <-r.freed:
		case <-look.C:
		case <-r.ctx.Done():
		}
	}
}

// turn is a task that is to be run.
type turn struct {
	index uint64
	line  []byte // its item
}

// runAll runs one task and then others as they are begun: a goroutine that has
// run one has the stack for it.
func (r *running) runAll(next turn) {
	r.run(next.index, next.line)
	for next := range r.begun {
		r.run(next.index, next.line)
	}
}

// run runs one task to its end and records that.
func (r *running) run(index uint64, line []byte) {
	defer func() {
		r.mu.Lock()
		r.flying--
		r.mu.Unlock()
		select {
		case r.freed <- struct{}{}:
		default:
		}
	}()
	ctx, land := r.takeOff(index)
	if ctx == nil {
		return // it has ended before it began
	}
	defer land()
	began := time.Now()
	var t *protocol.Task
	item, err := parseItem(line, index)
	if err == nil {
		t, err = r.try(ctx, index, item)
	}
	if r.tasks.Err() != nil && (err != nil || t.Result.Code != "") {
		return // that is why; the task is run when the job goes on
	}
	if protocol.CodeOf(err) == protocol.CodeShutdown {
		r.cancel(errStopping)
		return
	}
	one := &protocol.JobResult{Index: index, StartedUnixMs: began.UnixMilli(), EndedUnixMs: time.Now().UnixMilli()}
	if err != nil {
		one.Result = failed(err)
	} else {
		one.Result, one.Attempts, one.Provider = plain(t.Result), uint32(len(t.Replicas)), answered(t)
	}
	if err := r.add(one, time.Since(began)); err != nil {
		r.j.cfg.Logger.Error("cannot keep a result", "job", r.id, "task", index, "err", err)
		r.stop(err)
	}
}

// try runs a task, and again when spare failed it, as often as the rules say. The
// program's own failures are the same each time. It waits while this node has as many
// tasks under way as it can.
func (r *running) try(ctx context.Context, index uint64, item *protocol.Item) (t *protocol.Task, err error) {
	id := protocol.Part(r.id, index)
	record := r.j.takeLeft(id)
	for left := r.record.Rules.GetRetries(); ; {
		spec, bad := specOf(item, r.common, r.j.cfg.Store.Blobs())
		if bad != nil {
			return nil, bad
		}
		t, err = r.j.cfg.Tasks.Part(ctx, id, spec, r.record.Terms, r.record.Name, record)
		if protocol.CodeOf(err) == protocol.CodeBusy { // with other jobs' tasks, and that passes
			select {
			case <-time.After(lookEvery):
				continue
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			case <-r.ctx.Done():
				return nil, errStopping
			}
		}
		ours := err != nil || t.Result.ExitSource == protocol.FromSystem && !protocol.Code(t.Result.Code).EndsGuest()
		if !ours || left == 0 || r.ctx.Err() != nil || ctx.Err() != nil {
			return t, err
		}
		left, record = left-1, nil
	}
}

// add records a result, which counts from then on.
func (r *running) add(one *protocol.JobResult, took time.Duration) error {
	r.recording.Lock()
	defer r.recording.Unlock()
	return r.note(one, took)
}

// note is add for who holds recording.
func (r *running) note(one *protocol.JobResult, took time.Duration) error {
	one.Number = r.record.Results + 1 // only who records changes it
	if err := r.j.cfg.Store.AddResult(r.id, one); err != nil {
		return err
	}
	now := false
	r.update(func(record *protocol.Job) {
		record.Results = one.Number
		if r.mean == 0 {
			r.mean = took
		}
		if took > 0 { // or it was not run here
			r.mean += (took - r.mean) / meanOf
		}
		r.ended.add(one.Index)
		if one.Passed() {
			r.passed.add(one.Index)
			record.Passed++
		} else {
			record.Failed++
		}
		if one.Cancelled() {
			r.dropped++
		}
		if halt := record.Rules.GetHalt(); !r.halted && len(r.only) == 0 && halt.Counts(one) && halt.Due(record.Tasks, record.Passed, record.Failed-r.dropped) {
			r.halted, now = true, record.Rules.Halt.Now
		}
	})
	if now {
		r.stop(errHalted)
	}
	return nil
}

// end records how the job has ended.
func (r *running) end(cause error) {
	r.recording.Lock()
	defer r.recording.Unlock()
	r.closed = true
	r.update(func(record *protocol.Job) {
		record.EndedUnixMs = time.Now().UnixMilli()
		whole := record.Passed+record.Failed >= record.Tasks
		switch {
		case whole:
			record.State, record.Reason = protocol.StateDone, ""
		case r.halted:
			record.State, record.Reason = protocol.StateDone, "halted by its rule"
		case len(r.only) > 0 && r.endedOf(r.only) == r.only.Count(record.Tasks):
			r.endOnly(record)
		case errors.Is(cause, errCancelled):
			record.State, record.Reason = protocol.StateCancelled, errCancelled.Message
		default:
			record.State, record.Reason = protocol.StateLost, "it cannot go on"
			if cause != nil {
				record.Reason = protocol.SafeText(cause.Error())
			}
		}
	})
	if err := r.j.cfg.Store.SaveJob(r.snapshot()); err != nil {
		r.j.cfg.Logger.Error("cannot journal the end of a job", "job", r.id, "err", err)
	}
}

// update changes the record under the lock and wakes whoever waits for a change.
func (r *running) update(change func(*protocol.Job)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r.record)
	r.j.note(r.id)
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

func (r *running) snapshot() *protocol.Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return proto.CloneOf(r.record)
}

// next returns a channel that is closed at the next change, or when none comes.
func (r *running) next() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return closed
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed
}

// plain is a result without the receipts that justify it: who gave it stands
// beside it, and what was signed is kept as evidence.
func plain(r *protocol.Result) *protocol.Result {
	return &protocol.Result{
		ExitCode: r.ExitCode, ExitSource: r.ExitSource, Code: r.Code, Message: r.Message, Hint: r.Hint,
		Stdout: r.Stdout, Stderr: r.Stderr, Digest: r.Digest, WallUs: r.WallUs, Gas: r.Gas,
		Files: r.Files, Pack: r.Pack, FileCount: r.FileCount,
	}
}

// answered names the provider whose answer was taken.
func answered(t *protocol.Task) string {
	for _, a := range t.Replicas {
		if a.State == protocol.StateDone && slices.Equal(a.ResultDigest, t.Result.Digest) {
			return a.Provider
		}
	}
	return ""
}

// failed is the result of a task that could not even be begun.
func failed(err error) *protocol.Result {
	var e *protocol.Error
	if !errors.As(err, &e) {
		e = protocol.Errorf(protocol.CodeInternal, "%v", err)
	}
	return &protocol.Result{
		ExitCode: int32(e.Code.ExitStatus()), ExitSource: protocol.FromSystem,
		Code: string(e.Code), Message: e.Message, Hint: e.Hint,
		Stdout: protocol.NewBlob(nil), Stderr: protocol.NewBlob(nil),
	}
}
