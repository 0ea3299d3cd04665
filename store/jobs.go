package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

// SaveJob stores j as it is now, as [Store.SaveTask] does a task. The results of
// its tasks are stored apart, so that no save grows with their number.
func (s *Store) SaveJob(j *protocol.Job) error {
	_, err := s.saveJob(j)
	return err
}

// SaveJobNow stores j and returns when it outlasts a power cut. When ctx ends
// first, j may or may not be stored.
func (s *Store) SaveJobNow(ctx context.Context, j *protocol.Job) error {
	n, err := s.saveJob(j)
	if err != nil {
		return err
	}
	return s.wait(ctx, n)
}

func (s *Store) saveJob(j *protocol.Job) (n uint64, err error) {
	id := protocol.TaskID(j.GetId())
	items, bad := protocol.DigestFrom(j.GetItems())
	if bad != nil || len(id) != protocol.TaskIDLen || !protocol.ValidIDPrefix(string(id)) {
		return 0, protocol.Errorf(protocol.CodeBadRequest, "the job ID %.20q cannot be", id)
	}
	record, err := proto.Marshal(j)
	if err != nil {
		return 0, fmt.Errorf("encode job: %w", err)
	}
	if err := s.begin(); err != nil {
		return 0, err
	}
	defer s.end()
	if e := s.jobs.byID[id]; e != nil && e.going {
		return 0, keptNoLonger(id) // its results are going as well
	}
	e, before := s.jobs.save(id, j.Ended(), []protocol.Digest{items})
	if len(before) == 0 {
		s.blobs.keep(e.outputs)
	}
	return s.save(change{at(jobsBucket, e.key()), record}), nil
}

func keptNoLonger(id protocol.TaskID) error {
	return protocol.Errorf(protocol.CodeNotFound, "the job %s is kept no longer", id)
}

// Job returns the job whose ID begins with prefix. It returns a
// [*protocol.Error] with [protocol.CodeNotFound] or [protocol.CodeAmbiguous]
// when not exactly one does.
func (s *Store) Job(prefix string) (*protocol.Job, error) {
	s.mu.Lock()
	e, err := s.jobs.find(prefix)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	jobs, err := s.readJobs([]*entry{e})
	if err == nil && len(jobs) == 0 {
		err = keptNoLonger(e.id)
	}
	if err != nil {
		return nil, err
	}
	return jobs[0], nil
}

// Jobs returns up to limit jobs, the last submitted first: those submitted
// before the job with the ID before, or the newest when before is empty.
func (s *Store) Jobs(limit int, before protocol.TaskID) ([]*protocol.Job, error) {
	s.mu.Lock()
	list, err := s.jobs.newest(limit, before)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return s.readJobs(list)
}

// UnfinishedJobs returns the jobs that have not ended, the first submitted first.
func (s *Store) UnfinishedJobs() ([]*protocol.Job, error) {
	s.mu.Lock()
	list := s.jobs.unfinished()
	s.mu.Unlock()
	return s.readJobs(list)
}

func (s *Store) readJobs(entries []*entry) ([]*protocol.Job, error) {
	records := s.recent(jobsBucket, keysOf(entries))
	jobs := make([]*protocol.Job, 0, len(entries))
	err := s.db.view(func(tx *bbolt.Tx) error {
		for i, e := range entries {
			if records[i] == nil {
				records[i] = tx.Bucket(jobsBucket).Get(e.key())
			}
			if records[i] == nil {
				continue // pruned meanwhile
			}
			j := new(protocol.Job)
			if err := proto.Unmarshal(records[i], j); err != nil {
				return s.db.damage(fmt.Errorf("job %s: %w", e.id, err))
			}
			jobs = append(jobs, j)
		}
		return nil
	})
	return jobs, err
}

func keysOf(entries []*entry) [][]byte {
	keys := make([][]byte, len(entries))
	for i, e := range entries {
		keys[i] = e.key()
	}
	return keys
}

// recent returns what is to be at keys of a bucket and is perhaps not in the
// database yet, nil where nothing is known. What is in the database stays there.
func (s *Store) recent(bucket []byte, keys [][]byte) [][]byte {
	records := make([][]byte, len(keys))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, key := range keys {
		records[i], _ = s.pendingRecord(at(bucket, key))
	}
	return records
}

// resultKey is the job's submission number and the result's own, so that the
// results of a job lie together, in the order of their coming.
func resultKey(job, number uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 0, 16), job), number)
}

// AddResult stores how a task of a job has ended, and forgets the open task, all
// or nothing. Results of a job are numbered from 1 without gaps.
func (s *Store) AddResult(job protocol.TaskID, r *protocol.JobResult) error {
	outputs := outputsIn(r.Result)
	record := appendOutputs(make([]byte, 0, 1+len(outputs)*len(protocol.Digest{})+proto.Size(r)), outputs)
	record, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(record, r)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	part := protocol.Part(job, r.Index)
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	e := s.jobs.there(job)
	if e == nil {
		return keptNoLonger(job)
	}
	changes := []change{{at(resultsBucket, resultKey(e.seq, r.Number)), record}}
	if _, open := s.parts[part]; open {
		delete(s.parts, part)
		changes = append(changes, change{at(partsBucket, []byte(part)), nil})
	}
	s.blobs.keep(outputs)
	s.save(changes...)
	return nil
}

// Results returns up to limit results of a job with numbers above after, in
// their order.
func (s *Store) Results(job protocol.TaskID, after uint64, limit int) ([]*protocol.JobResult, error) {
	s.mu.Lock()
	e := s.jobs.there(job)
	s.mu.Unlock()
	if e == nil {
		return nil, keptNoLonger(job)
	}
	keys := make([][]byte, limit)
	for i := range keys {
		keys[i] = resultKey(e.seq, after+1+uint64(i))
	}
	records := s.recent(resultsBucket, keys)
	list := make([]*protocol.JobResult, 0, limit)
	err := s.db.view(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(resultsBucket)
		for i, record := range records {
			if record == nil {
				record = bucket.Get(keys[i])
			}
			if record == nil {
				return nil // there are no gaps
			}
			_, body, err := parseOutputs(record)
			r := new(protocol.JobResult)
			if err == nil {
				err = proto.Unmarshal(body, r)
			}
			if err != nil {
				return s.db.damage(fmt.Errorf("result %d of job %s: %w", after+1+uint64(i), job, err))
			}
			list = append(list, r)
		}
		return nil
	})
	return list, err
}

// SavePart stores an open task of a job, so that a restart can take it up.
// [Store.AddResult] ends that.
func (s *Store) SavePart(t *protocol.Task) error {
	record, err := proto.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode task: %w", err)
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	s.parts[protocol.TaskID(t.Id)] = struct{}{}
	s.save(change{at(partsBucket, []byte(t.Id)), record})
	return nil
}

// DropParts forgets open tasks of jobs that are not to be taken up.
func (s *Store) DropParts(ids ...protocol.TaskID) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	for _, id := range ids {
		if _, open := s.parts[id]; open {
			delete(s.parts, id)
			s.save(change{at(partsBucket, []byte(id)), nil})
		}
	}
	return nil
}

// Parts returns the open tasks of jobs that are stored, in no order.
func (s *Store) Parts() (list []*protocol.Task, err error) {
	err = s.each(partsBucket, func(key, record []byte) error {
		t := new(protocol.Task)
		if err := proto.Unmarshal(record, t); err != nil {
			return err
		}
		if t.Id != string(key) {
			return protocol.ErrMalformed
		}
		list = append(list, t)
		return nil
	})
	return list, err
}

// A result's record is the number of blobs that hold its output, their digests,
// and the JobResult in protobuf.

func appendOutputs(record []byte, outputs []protocol.Digest) []byte {
	record = append(record, byte(len(outputs)))
	for _, d := range outputs {
		record = append(record, d[:]...)
	}
	return record
}

func parseOutputs(record []byte) (outputs []protocol.Digest, body []byte, err error) {
	const digest = len(protocol.Digest{})
	if len(record) < 1 || record[0] > maxOutputs || len(record) < 1+int(record[0])*digest {
		return nil, nil, fmt.Errorf("record of %d bytes without a header", len(record))
	}
	body = record[1:]
	for range record[0] {
		outputs = append(outputs, protocol.Digest(body[:digest]))
		body = body[digest:]
	}
	return outputs, body, nil
}

// deleteJobs deletes jobs with their results, and returns the blobs that these
// have needed.
func deleteJobs(tx *bbolt.Tx, entries []*entry) (outputs []protocol.Digest, err error) {
	for _, e := range entries {
		outputs = append(outputs, e.outputs...)
		if err := tx.Bucket(jobsBucket).Delete(e.key()); err != nil {
			return nil, err
		}
		first := resultKey(e.seq, 0)
		c := tx.Bucket(resultsBucket).Cursor()
		for key, record := c.Seek(first); key != nil && bytes.HasPrefix(key, first[:8]); key, record = c.Seek(first) {
			more, _, err := parseOutputs(record)
			if err != nil {
				return nil, err
			}
			outputs = append(outputs, more...)
			if err := c.Delete(); err != nil {
				return nil, err
			}
		}
	}
	return outputs, nil
}

// loadJobs reads the index from keys and the beginnings of records.
func (s *Store) loadJobs(tx *bbolt.Tx) error {
	err := tx.Bucket(jobsBucket).ForEach(func(key, record []byte) error {
		seq, id, err := parseTaskKey(key)
		j := new(protocol.Job)
		if err == nil {
			err = proto.Unmarshal(record, j)
		}
		var items protocol.Digest
		if err == nil {
			items, err = protocol.DigestFrom(j.Items)
		}
		if err != nil {
			return s.db.damage(fmt.Errorf("job %.40x: %w", key, err))
		}
		e := &entry{seq: seq, id: id, ended: j.Ended(), outputs: []protocol.Digest{items}}
		s.jobs.add(e)
		s.blobs.keep(e.outputs)
		return nil
	})
	if err != nil {
		return err
	}
	err = tx.Bucket(resultsBucket).ForEach(func(key, record []byte) error {
		outputs, _, err := parseOutputs(record)
		if err != nil {
			return s.db.damage(fmt.Errorf("result %.40x: %w", key, err))
		}
		s.blobs.keep(outputs)
		return nil
	})
	if err != nil {
		return err
	}
	return tx.Bucket(partsBucket).ForEach(func(key, _ []byte) error {
		s.parts[protocol.TaskID(slices.Clone(key))] = struct{}{}
		return nil
	})
}
