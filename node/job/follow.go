package job

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// resultsAtOnce is how many results are read from the store in one go.
const resultsAtOnce = 256

// followEvery is the least time between two looks at a job that changes all the
// time: hundreds of results at once cost little more than one.
const followEvery = 20 * time.Millisecond

// tellEvery is how often a follower is told of a job in which nothing changes.
const tellEvery = time.Second

// Follow tells of a job's results from the one after the given number on, as
// they come, and of its changes between them, and returns the job when it has
// ended, or those of its tasks that are named. It ends early with the error of a
// function, or of ctx.
func (j *Jobs) Follow(ctx context.Context, id protocol.TaskID, which protocol.Ranges, after uint64, result func(*protocol.JobResult) error, changed func(*protocol.Job) error) (*protocol.Job, error) {
	known, left := after, uint64(0) // tasks of those named that have not ended
	if len(which) > 0 {
		record, err := j.Job(string(id))
		if err == nil {
			which, err = which.Of(record.Tasks)
		}
		if err != nil {
			return nil, err
		}
		left, after = which.Count(record.Tasks), 0 // which have ended, only all results tell
	}
	pace := time.NewTicker(followEvery)
	defer pace.Stop()
	tell := time.NewTicker(tellEvery)
	defer tell.Stop()
	for {
		// In this order, so that nothing comes between unseen.
		r := j.running(id)
		record, err := j.Job(string(id))
		if err != nil {
			return nil, err
		}
		var next <-chan struct{}
		if r != nil {
			next = r.next()
		}
		for {
			list, err := j.cfg.Store.Results(id, after, resultsAtOnce)
			if err != nil {
				return nil, err
			}
			for _, one := range list {
				after = one.Number
				if !which.Has(one.Index) {
					continue
				}
				if after > known {
					if err := result(one); err != nil {
						return nil, err
					}
				}
				if left > 0 && !record.Stale(one) {
					if left--; left == 0 {
						return j.Job(string(id))
					}
				}
			}
			if len(list) < resultsAtOnce {
				break
			}
		}
		if r == nil {
			if record.Ended() {
				return record, nil
			}
			if j.running(id) == nil {
				return nil, errStopping // it is open, and nobody conducts it
			}
			continue
		}
		if err := changed(r.snapshot()); err != nil {
			return nil, err
		}
		select {
		case <-next:
		case <-tell.C: // nothing has come: whoever watches may want to see that
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if r.isOver() {
			continue // there is nothing to gather
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (r *running) isOver() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

// Task returns a task of a job that has ended, or waits to be begun, as if it
// stood alone.
func (j *Jobs) Task(id protocol.TaskID) (*protocol.Task, error) {
	of, index := id.Split()
	record, err := j.Job(string(of))
	if err != nil {
		return nil, err
	}
	if index == 0 || index > record.Tasks {
		return nil, protocol.Errorf(protocol.CodeNotFound, "the job %s has tasks 1 to %d, not %s", record.Id, record.Tasks, protocol.SafeText(string(id)))
	}
	var t *protocol.Task
	err = j.parts(record, index-1, func(i uint64) (bool, bool) { return i == index, i < index }, func(_ uint64, found *protocol.Task) { t = found })
	if err == nil && t == nil {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	results, err := j.resultsOf(record, index)
	if err != nil {
		return nil, err
	}
	settle(t, record, results[index])
	return t, nil
}

// settle makes a task what its result says, or what its job says of one without.
func settle(t *protocol.Task, record *protocol.Job, one *protocol.JobResult) {
	if one == nil {
		if record.Ended() {
			unrun(t, record)
		}
		return
	}
	t.Result, t.State, t.Reason, t.EndedUnixMs = one.Result, protocol.StateDone, one.Result.Message, one.EndedUnixMs
	if one.Result.Code == string(protocol.CodeCancelled) {
		t.State = protocol.StateCancelled
	}
	if one.Provider != "" {
		t.Replicas = []*protocol.Replica{{
			Attempt: one.Attempts, Provider: one.Provider, State: protocol.StateDone, RttUs: -1, ResultDigest: one.Result.Digest,
			StartedUnixMs: one.StartedUnixMs, EndedUnixMs: one.EndedUnixMs, Gas: one.Result.Gas,
		}}
	}
}

// unrun gives a task that its ended job has not run an end: whoever waits for it
// is told so, and how to have it run.
func unrun(t *protocol.Task, record *protocol.Job) {
	why := "its job ended before its turn"
	if record.State == protocol.StateCancelled {
		why = "its job was cancelled before its turn"
	}
	t.State, t.Reason, t.EndedUnixMs = protocol.StateCancelled, why, record.EndedUnixMs
	t.Result = failed(protocol.Errorf(protocol.CodeCancelled, "%s", why).WithHint("'spare rerun %s' runs it", t.Id))
}

// parts calls take with the tasks of a job, after a number, that are wanted, as they
// are before their turn. No more are read when none is.
func (j *Jobs) parts(record *protocol.Job, after uint64, wanted func(index uint64) (this, more bool), take func(index uint64, t *protocol.Task)) error {
	common, err := protocol.ParseSpec(record.Spec)
	if err != nil {
		return err
	}
	d, err := protocol.DigestFrom(record.Items)
	if err != nil {
		return err
	}
	index, end := j.lookup.placeBefore(record, after)
	list, err := openItems(j.cfg.Store.Blobs(), d, index, end)
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
		if list.index%everyPlace == 0 {
			j.lookup.learn(record, list.index, list.end)
		}
		this, more := wanted(list.index)
		switch {
		case !this && !more:
			return nil
		case !this:
			continue
		}
		item, err := parseItem(line, list.index)
		if err != nil {
			return err
		}
		spec, err := specOf(item, common, j.cfg.Store.Blobs())
		if err != nil {
			return err
		}
		raw, err := spec.Marshal()
		if err != nil {
			return err
		}
		take(list.index, &protocol.Task{
			Id: string(protocol.Part(protocol.TaskID(record.Id), list.index)), Spec: raw, Terms: record.Terms, Name: record.Name,
			SubmittedUnixMs: record.SubmittedUnixMs, State: protocol.StateQueued, Reason: "its turn has not come",
		})
	}
}

// lookup knows the last result of each task of one job, the one asked about last,
// and how it was, and where items are, so that no page of tasks reads all that
// come before it.
type lookup struct {
	mu      sync.Mutex // held across reads: what one has read serves the others
	job     protocol.TaskID
	read    uint64   // results up to this one
	numbers []uint32 // of results, by task
	cells   []cell   // how those were
	places  []int64  // where the items 0, everyPlace, 2*everyPlace, ... end
}

// everyPlace is of so many items how often it is known where one is.
const everyPlace = 1024

// turnTo forgets another job. It is called with mu held.
func (l *lookup) turnTo(record *protocol.Job) {
	if id := protocol.TaskID(record.Id); l.job != id {
		l.job, l.read, l.places = id, 0, []int64{0}
		l.numbers, l.cells = make([]uint32, record.Tasks+1), make([]cell, record.Tasks+1)
	}
}

// placeBefore returns the last item up to one of which it is known where it ends.
func (l *lookup) placeBefore(record *protocol.Job, index uint64) (before uint64, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turnTo(record)
	n := min(index/everyPlace, uint64(len(l.places)-1))
	return n * everyPlace, l.places[n]
}

// learn takes where an item ends.
func (l *lookup) learn(record *protocol.Job, index uint64, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.job == protocol.TaskID(record.Id) && index == uint64(len(l.places))*everyPlace {
		l.places = append(l.places, end)
	}
}

// readOn reads the results that have come since. It is called with mu held.
func (l *lookup) readOn(record *protocol.Job, from *store.Store) error {
	l.turnTo(record)
	for more := true; more; {
		list, err := from.Results(l.job, l.read, resultsAtOnce)
		if err != nil {
			return err
		}
		for _, one := range list {
			if l.read = one.Number; one.Index < uint64(len(l.numbers)) {
				l.numbers[one.Index], l.cells[one.Index] = uint32(one.Number), cellOf(one)
			}
		}
		more = len(list) == resultsAtOnce
	}
	return nil
}

// resultsOf returns the last results of tasks, of those that have one that counts.
func (j *Jobs) resultsOf(record *protocol.Job, indexes ...uint64) (map[uint64]*protocol.JobResult, error) {
	l, id := &j.lookup, protocol.TaskID(record.Id)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.readOn(record, j.cfg.Store); err != nil {
		return nil, err
	}
	results := make(map[uint64]*protocol.JobResult, len(indexes))
	for _, index := range indexes {
		number := uint64(l.numbers[index])
		if number == 0 {
			continue
		}
		list, err := j.cfg.Store.Results(id, number-1, 1)
		if err != nil {
			return nil, err
		}
		if len(list) > 0 && !record.Stale(list[0]) {
			results[index] = list[0]
		}
	}
	return results, nil
}

// results calls take with each result of a job that there is by now.
func (j *Jobs) results(record *protocol.Job, take func(*protocol.JobResult)) error {
	for after := uint64(0); ; {
		list, err := j.cfg.Store.Results(protocol.TaskID(record.Id), after, resultsAtOnce)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, one := range list {
			after = one.Number
			take(one)
		}
	}
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
