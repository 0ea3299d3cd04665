package job

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spare-network/spare/protocol"
)

// resultsAtOnce is how many results are read from the store in one go.
const resultsAtOnce = 256

// followEvery is the least time between two looks at a job that changes all the
// time: hundreds of results at once cost little more than one.
const followEvery = 20 * time.Millisecond

// Follow tells of a job's results from the one after the given number on, as
// they come, and of its changes between them, and returns the job when it has
// ended. It ends early with the error of a function, or of ctx.
func (j *Jobs) Follow(ctx context.Context, id protocol.TaskID, after uint64, result func(*protocol.JobResult) error, changed func(*protocol.Job) error) (*protocol.Job, error) {
	pace := time.NewTicker(followEvery)
	defer pace.Stop()
	for {
		// In this order, so that nothing comes between unseen.
		r := j.running(id)
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
				if err := result(one); err != nil {
					return nil, err
				}
				after = one.Number
			}
			if len(list) < resultsAtOnce {
				break
			}
		}
		if r == nil {
			record, err := j.cfg.Store.Job(string(id))
			if err != nil || record.Ended() {
				return record, err
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
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		select {
		case <-pace.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
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
	spec, err := j.specOf(record, index)
	if err != nil {
		return nil, err
	}
	raw, err := spec.Marshal()
	if err != nil {
		return nil, err
	}
	t := &protocol.Task{
		Id: string(protocol.Part(protocol.TaskID(record.Id), index)), Spec: raw, Terms: record.Terms, Name: record.Name,
		SubmittedUnixMs: record.SubmittedUnixMs, State: protocol.StateQueued, Reason: "its turn has not come",
	}
	one, err := j.resultOf(record, index)
	if err != nil {
		return nil, err
	}
	if one == nil {
		if record.Ended() {
			t.State, t.Reason = protocol.StateCancelled, "its job ended before its turn"
		}
		return t, nil
	}
	t.Result, t.State, t.Reason, t.EndedUnixMs = one.Result, protocol.StateDone, one.Result.Message, one.EndedUnixMs
	if one.Provider != "" {
		t.Replicas = []*protocol.Replica{{
			Attempt: one.Attempts, Provider: one.Provider, State: protocol.StateDone, RttUs: -1, ResultDigest: one.Result.Digest,
			StartedUnixMs: one.StartedUnixMs, EndedUnixMs: one.EndedUnixMs, Gas: one.Result.Gas,
		}}
	}
	return t, nil
}

var errFound = errors.New("found")

func (j *Jobs) specOf(record *protocol.Job, index uint64) (spec *protocol.Spec, err error) {
	common, err := protocol.ParseSpec(record.Spec)
	if err != nil {
		return nil, err
	}
	err = j.each(record, func(i uint64, line []byte) error {
		if i != index {
			return nil
		}
		item, err := parseItem(line, i)
		if err == nil {
			spec, err = specOf(item, common, j.cfg.Store.Blobs())
		}
		if err == nil {
			err = errFound
		}
		return err
	})
	if errors.Is(err, errFound) {
		return spec, nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return nil, err
}

// resultOf returns the last result of a task, or nil.
func (j *Jobs) resultOf(record *protocol.Job, index uint64) (last *protocol.JobResult, err error) {
	err = j.results(record, func(one *protocol.JobResult) {
		if one.Index == index {
			last = one
		}
	})
	return last, err
}

// results calls take with each result of a job that there is by now.
func (j *Jobs) results(record *protocol.Job, take func(*protocol.JobResult)) error {
	for after := uint64(0); ; after += resultsAtOnce {
		list, err := j.cfg.Store.Results(protocol.TaskID(record.Id), after, resultsAtOnce)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, one := range list {
			take(one)
		}
	}
}
