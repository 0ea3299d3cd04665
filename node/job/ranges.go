package job

import (
	"context"
	"fmt"
	"time"

	"github.com/spare-network/spare/protocol"
)

// takeOff notes that a task is under way, and returns its context and what is to
// be called at its end. Both are nil when it has been cancelled meanwhile.
func (r *running) takeOff(index uint64) (context.Context, func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended.has(index) {
		return nil, nil
	}
	ctx, cancel := context.WithCancelCause(r.tasks)
	r.flights[index] = cancel
	r.j.note(r.id)
	return ctx, func() {
		r.mu.Lock()
		delete(r.flights, index)
		r.mu.Unlock()
		cancel(nil)
	}
}

// drop cancels tasks: those under way, and those that have not begun, which have
// a result from then on that says so.
func (r *running) drop(which protocol.Ranges) error {
	select {
	case <-r.recalled:
	case <-r.ctx.Done():
		return nil // all of them end
	}
	r.recording.Lock() // the job does not end between a claim and its result
	defer r.recording.Unlock()
	if r.closed {
		return nil
	}
	var waiting []uint64
	r.mu.Lock()
	for _, one := range which {
		for i := one.First; i <= one.Last; i++ {
			if cancel := r.flights[i]; cancel != nil {
				cancel(errCancelled)
			} else if r.only.Has(i) && r.ended.add(i) {
				waiting = append(waiting, i)
			}
		}
	}
	r.mu.Unlock()
	now := time.Now().UnixMilli()
	for n, i := range waiting {
		if r.ctx.Err() != nil {
			r.release(waiting[n:]) // they are not run either
			return nil
		}
		if err := r.note(&protocol.JobResult{Index: i, Result: failed(errCancelled), StartedUnixMs: now, EndedUnixMs: now}, 0); err != nil {
			r.release(waiting[n:])
			r.stop(err) // their turn may have passed
			return err
		}
	}
	return nil
}

// release takes back that tasks have ended, which have got no result.
func (r *running) release(waiting []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range waiting {
		r.ended.remove(i)
	}
}

// endedOf is how many of these tasks have ended. It is called with mu held.
func (r *running) endedOf(which protocol.Ranges) (n uint64) {
	for _, one := range which {
		for i := one.First; i <= one.Last; i++ {
			if r.ended.has(i) {
				n++
			}
		}
	}
	return n
}

// endOnly ends a job of which some tasks were run again, and others never: it is
// what it was before. It is called with mu held.
func (r *running) endOnly(record *protocol.Job) {
	if record.Rules.GetHalt().Due(record.Tasks, record.Passed, record.Failed) {
		record.State, record.Reason = protocol.StateDone, "halted by its rule"
		return
	}
	record.State, record.Reason = protocol.StateCancelled, protocol.SafeText("only these tasks were to be run: "+r.only.String())
}

// Cancel ends tasks of a job, or the whole job when none is named. What has ended
// stays as it is.
func (j *Jobs) Cancel(id protocol.TaskID, which protocol.Ranges) error {
	r := j.running(id)
	if r == nil {
		record, err := j.cfg.Store.Job(string(id))
		if err == nil {
			_, err = which.Of(record.Tasks)
		}
		return err
	}
	if len(which) == 0 {
		r.stop(errCancelled)
		return nil
	}
	which, err := which.Of(r.snapshot().Tasks)
	if err != nil {
		return err
	}
	return r.drop(which)
}

// Again opens a job that has ended: for those of its tasks that were not run and,
// if wanted, those that have failed; or for the tasks named and no others, passed
// or not. One that is open, or has nothing left to do, stays as it is.
func (j *Jobs) Again(ctx context.Context, id protocol.TaskID, which protocol.Ranges, failed bool) (*protocol.Job, error) {
	j.opening.Lock()
	defer j.opening.Unlock()
	if r := j.running(id); r != nil {
		if len(which) > 0 {
			return nil, protocol.Errorf(protocol.CodeBusy, "job %s is still running, and a task of it runs once until its end", id).
				WithHint("'spare wait %s' waits for that", id)
		}
		return r.snapshot(), nil
	}
	record, err := j.cfg.Store.Job(string(id))
	if err != nil {
		return nil, err
	}
	if which, err = which.Of(record.Tasks); err != nil {
		return nil, err
	}
	if len(which) == 0 {
		if err := j.forgive(record); err != nil {
			return nil, err
		}
	}
	switch {
	case len(which) > 0:
		if err := record.RunAgain(which); err != nil {
			return nil, err
		}
	case record.Passed+record.Failed >= record.Tasks && (!failed || record.Failed == 0):
		return record, nil
	default:
		record.Only = nil
		if failed {
			record.RetryAfter = record.Results
		}
	}
	record.State, record.Reason, record.EndedUnixMs = protocol.StateRunning, "", 0
	if err := j.cfg.Store.SaveJobNow(ctx, record); err != nil {
		return nil, fmt.Errorf("journal the job: %w", err)
	}
	return j.begin(record)
}

// forgive makes tasks of a job that has ended ones that were not run again, if
// they were cancelled before they began.
func (j *Jobs) forgive(record *protocol.Job) error {
	if record.Failed == 0 {
		return nil
	}
	var which protocol.Ranges
	err := j.results(record, func(one *protocol.JobResult) {
		switch n := len(which); {
		case !one.Unbegun() || record.Stale(one):
		case n > 0 && which[n-1].Last+1 == one.Index:
			which[n-1].Last++
		default:
			which = append(which, protocol.Range{First: one.Index, Last: one.Index})
		}
	})
	if err != nil || len(which) == 0 {
		return err
	}
	which = which.Merged()
	record.Failed -= min(record.Failed, which.Count(record.Tasks))
	return record.RunAgain(which)
}

// listBytes is about how much of specs is held for one list of tasks.
const listBytes = 16 << 20

// Tasks returns up to limit tasks of a job in their order, those after a number,
// as if each stood alone; fewer if they are large. Of what they have written it
// has the sizes alone.
func (j *Jobs) Tasks(prefix string, which protocol.Ranges, after uint64, limit int) ([]*protocol.Task, error) {
	record, err := j.Job(prefix)
	if err != nil {
		return nil, err
	}
	if which, err = which.Of(record.Tasks); err != nil {
		return nil, err
	}
	var list []*protocol.Task
	var indexes []uint64
	bytes := 0
	wanted := func(index uint64) (this, more bool) {
		more = len(list) < limit && bytes < listBytes
		return more && index > after && which.Has(index), more
	}
	first := after
	if len(which) > 0 {
		first = max(first, which[0].First-1)
	}
	err = j.parts(record, first, wanted, func(index uint64, t *protocol.Task) {
		list, indexes = append(list, t), append(indexes, index)
		bytes += len(t.Spec)
	})
	if err != nil {
		return nil, err
	}
	results, err := j.resultsOf(record, indexes...)
	if err != nil {
		return nil, err
	}
	r := j.running(protocol.TaskID(record.Id))
	for i, t := range list {
		one := results[indexes[i]]
		if one != nil {
			one.Result.Stdout, one.Result.Stderr, one.Result.Files = named(one.Result.Stdout), named(one.Result.Stderr), nil
		}
		settle(t, record, one)
		if r != nil && one == nil && r.flies(indexes[i]) {
			t.State, t.Reason = protocol.StateRunning, "under way"
		}
	}
	return list, nil
}

func (r *running) flies(index uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flights[index] != nil
}

// named is a blob without its bytes.
func named(b *protocol.Blob) *protocol.Blob {
	if b == nil {
		return nil
	}
	return &protocol.Blob{Digest: b.GetDigest(), Size: b.GetSize()}
}

// set is a set of numbers from 1 to as many as it was made for, a bit each.
type set []uint64

func newSet(n uint64) set { return make(set, n/64+1) }

func (s set) has(i uint64) bool { return s[i/64]&(1<<(i%64)) != 0 }

// add reports whether i is new.
func (s set) add(i uint64) bool {
	if s.has(i) {
		return false
	}
	s[i/64] |= 1 << (i % 64)
	return true
}

func (s set) remove(i uint64) { s[i/64] &^= 1 << (i % 64) }
