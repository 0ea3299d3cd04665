package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

// Pruning says which of the tasks and jobs that have ended are to go now. What has
// not ended stays.
type Pruning struct {
	IDs    []string  // their beginnings; none: what the rest says
	Tasks  bool      // those that stand alone
	Jobs   bool      // with their results
	Before time.Time // ended before; zero: whenever
	Keep   int       // of the newest of either
	Dry    bool      // only count them
}

// Pruned is what has gone.
type Pruned struct {
	Tasks, Jobs int
	// Bytes are those of records, whose room in the database is used again, and of
	// files that hold what only they have written.
	Bytes int64
}

// Prune deletes tasks and jobs that have ended. It returns a [*protocol.Error] when
// an ID is of none, of several, or of one that has not ended; nothing is deleted
// then.
func (s *Store) Prune(p Pruning) (Pruned, error) {
	if err := s.commit(); err != nil { // so that all is in the database
		return Pruned{}, err
	}
	tasks, jobs, err := s.prunable(p)
	if err != nil {
		return Pruned{}, err
	}
	gone := Pruned{Tasks: len(tasks), Jobs: len(jobs)}
	outputs := make(map[protocol.Digest]int)
	if gone.Bytes, err = s.weigh(tasks, jobs, outputs); err != nil {
		return Pruned{}, err
	}
	if p.Dry {
		gone.Bytes += s.blobs.unkept(outputs)
		return gone, nil
	}
	s.mu.Lock()
	s.tasks.doom(tasks)
	s.jobs.doom(jobs)
	s.mu.Unlock()
	if err := s.commit(); err != nil {
		return Pruned{}, err
	}
	freed, err := s.blobs.dropUnkept(outputs)
	gone.Bytes += freed
	return gone, err
}

// prunable returns what is to go, the oldest first.
func (s *Store) prunable(p Pruning) (tasks, jobs []*entry, err error) {
	if len(p.IDs) > 0 {
		return s.named(p.IDs)
	}
	s.mu.Lock()
	if p.Tasks {
		tasks = s.tasks.endedBut(p.Keep)
	}
	if p.Jobs {
		jobs = s.jobs.endedBut(p.Keep)
	}
	s.mu.Unlock()
	if tasks, err = s.endedBefore(tasks, tasksBucket, p.Before); err != nil {
		return nil, nil, err
	}
	jobs, err = s.endedBefore(jobs, jobsBucket, p.Before)
	return tasks, jobs, err
}

// named returns the tasks and jobs of these IDs, which have ended.
func (s *Store) named(ids []string) (tasks, jobs []*entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		list, noun := &tasks, "task"
		e, err := s.tasks.find(id)
		if other, bad := s.jobs.find(id); protocol.CodeOf(bad) != protocol.CodeNotFound {
			if protocol.CodeOf(err) != protocol.CodeNotFound {
				return nil, nil, protocol.Errorf(protocol.CodeAmbiguous, "tasks and jobs have an ID that begins with %s", id).
					WithHint("add characters; 'spare ps' lists both")
			}
			e, err, list, noun = other, bad, &jobs, "job"
		}
		if err != nil {
			return nil, nil, err
		}
		if !e.ended {
			return nil, nil, protocol.Errorf(protocol.CodeBusy, "the %s %s has not ended", noun, e.id).WithHint("'spare cancel %s' ends it", e.id)
		}
		*list = append(*list, e)
	}
	return inOrder(tasks), inOrder(jobs), nil
}

// endedBefore leaves away what ended at the time or later.
func (s *Store) endedBefore(entries []*entry, bucket []byte, before time.Time) (list []*entry, err error) {
	if before.IsZero() || len(entries) == 0 {
		return entries, nil
	}
	err = s.db.view(func(tx *bbolt.Tx) error {
		for _, e := range entries {
			record := tx.Bucket(bucket).Get(e.key())
			if record == nil {
				continue // pruned meanwhile
			}
			ended, err := endOf(bucket, record)
			if err != nil {
				return s.db.damage(fmt.Errorf("%s: %w", e.id, err))
			}
			if ended < before.UnixMilli() {
				list = append(list, e)
			}
		}
		return nil
	})
	return list, err
}

func endOf(bucket, record []byte) (unixMS int64, err error) {
	if bytes.Equal(bucket, jobsBucket) {
		j := new(protocol.Job)
		err = proto.Unmarshal(record, j)
		return j.EndedUnixMs, err
	}
	t, err := decodeTask(record)
	return t.GetEndedUnixMs(), err
}

// weigh counts the bytes of records, and how often each blob is kept for them.
func (s *Store) weigh(tasks, jobs []*entry, outputs map[protocol.Digest]int) (n int64, err error) {
	keep := func(list []protocol.Digest) {
		for _, d := range list {
			outputs[d]++
		}
	}
	err = s.db.view(func(tx *bbolt.Tx) error {
		for _, e := range tasks {
			key := e.key()
			n += int64(len(tx.Bucket(tasksBucket).Get(key)) + len(tx.Bucket(filesBucket).Get(key)))
			keep(e.outputs)
		}
		for _, e := range jobs {
			n += int64(len(tx.Bucket(jobsBucket).Get(e.key())))
			keep(e.outputs)
			first := resultKey(e.seq, 0)
			c := tx.Bucket(resultsBucket).Cursor()
			for key, record := c.Seek(first); key != nil && bytes.HasPrefix(key, first[:8]); key, record = c.Next() {
				list, _, err := parseOutputs(record)
				if err != nil {
					return s.db.damage(fmt.Errorf("result of job %s: %w", e.id, err))
				}
				n += int64(len(record))
				keep(list)
			}
		}
		return nil
	})
	return n, err
}

// unkept is how many bytes come free when digests are kept so often less.
func (b *Blobs) unkept(digests map[protocol.Digest]int) (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for d, times := range digests {
		if e := b.entries[d]; e != nil && b.kept[d] <= times && b.pins[d] == 0 {
			n += e.size
		}
	}
	return n
}

// dropUnkept removes those that nothing keeps or pins, and returns their bytes.
func (b *Blobs) dropUnkept(digests map[protocol.Digest]int) (n int64, err error) {
	var errs []error
	for d := range digests {
		b.files.Lock()
		b.mu.Lock()
		e := b.entries[d]
		if e == nil || b.kept[d] > 0 || b.pins[d] > 0 {
			b.mu.Unlock()
			b.files.Unlock()
			continue
		}
		n += e.size
		b.drop(d)
		b.mu.Unlock()
		if err := b.root.Remove(blobName(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fileError("remove", blobName(d), err))
		}
		b.files.Unlock()
	}
	return n, errors.Join(errs...)
}
