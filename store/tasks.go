package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/spare-network/spare/protocol"
)

// SaveTask stores t as it is now, soon: it is in the journal some 50 ms later, and
// seen by [Store.Task] and [Store.Tasks] at once. The caller may go on changing
// t. The first save of a task is its submission. SaveTask waits when the disk
// is slower than the saves, and returns an error when the disk fails.
func (s *Store) SaveTask(t *protocol.Task) error {
	_, err := s.saveTask(t)
	return err
}

// SaveTaskNow stores t and returns when it outlasts a power cut. When ctx ends
// first, t may or may not be stored.
func (s *Store) SaveTaskNow(ctx context.Context, t *protocol.Task) error {
	n, err := s.saveTask(t)
	if err != nil {
		return err
	}
	return s.wait(ctx, n)
}

func (s *Store) saveTask(t *protocol.Task) (n uint64, err error) {
	id := protocol.TaskID(t.GetId())
	if len(id) != protocol.TaskIDLen || !protocol.ValidIDPrefix(string(id)) {
		return 0, protocol.Errorf(protocol.CodeBadRequest, "the task ID %.20q cannot be", id)
	}
	record, files, err := encodeTask(t)
	if err != nil {
		return 0, err
	}
	outputs := outputsOf(t)
	if err := s.begin(); err != nil {
		return 0, err
	}
	defer s.end()
	e, before := s.tasks.save(id, t.State.Ended(), outputs)
	if !slices.Equal(before, outputs) {
		s.blobs.keep(outputs)
		s.blobs.unkeep(before)
	}
	key := e.key()
	return s.save(change{at(tasksBucket, key), record}, change{at(filesBucket, key), files}), nil
}

// Task returns the task whose ID begins with prefix. It returns a
// [*protocol.Error] with [protocol.CodeNotFound] or [protocol.CodeAmbiguous]
// when not exactly one does.
func (s *Store) Task(prefix string) (*protocol.Task, error) {
	s.mu.Lock()
	e, err := s.tasks.find(prefix)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	tasks, err := s.read([]*entry{e}, true)
	if err != nil {
		return nil, err
	}
	if len(tasks) == 0 {
		return nil, protocol.Errorf(protocol.CodeNotFound, "the task %s is kept no longer", e.id)
	}
	return tasks[0], nil
}

// Tasks returns up to limit tasks, the last submitted first: those submitted
// before the task with the ID before, or the newest when before is empty. Their
// output files are counted, not listed: only [Store.Task] reads the list.
func (s *Store) Tasks(limit int, before protocol.TaskID) ([]*protocol.Task, error) {
	s.mu.Lock()
	list, err := s.tasks.newest(limit, before)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return s.read(list, false)
}

// Unfinished returns the tasks that have not ended, the first submitted first.
func (s *Store) Unfinished() ([]*protocol.Task, error) {
	s.mu.Lock()
	list := s.tasks.unfinished()
	s.mu.Unlock()
	return s.read(list, false)
}

// read returns the tasks of entries, without those pruned meanwhile, and their
// lists of files if wanted.
func (s *Store) read(entries []*entry, files bool) ([]*protocol.Task, error) {
	// What is not in memory now is in the database, and stays there.
	type saved struct{ record, files []byte }
	list := make([]saved, len(entries))
	s.mu.Lock()
	for i, e := range entries {
		key := e.key()
		list[i].record, _ = s.pendingRecord(at(tasksBucket, key))
		list[i].files, _ = s.pendingRecord(at(filesBucket, key))
	}
	s.mu.Unlock()

	tasks := make([]*protocol.Task, 0, len(entries))
	err := s.db.view(func(tx *bbolt.Tx) error {
		records, lists := tx.Bucket(tasksBucket), tx.Bucket(filesBucket)
		for i, e := range entries {
			saved := list[i]
			if saved.record == nil {
				key := e.key()
				saved.record = records.Get(key)
				if files {
					saved.files = lists.Get(key)
				}
			}
			if saved.record == nil {
				continue
			}
			t, err := decodeTask(saved.record)
			if err == nil && files {
				err = decodeFiles(t, saved.files)
			}
			if err != nil {
				return s.db.damage(fmt.Errorf("task %s: %w", e.id, err))
			}
			tasks = append(tasks, t)
		}
		return nil
	})
	return tasks, err
}

// deleteTasks deletes the tasks of entries, which are in the order of keys.
func deleteTasks(tx *bbolt.Tx, entries []*entry) error {
	records, lists := tx.Bucket(tasksBucket), tx.Bucket(filesBucket)
	for _, e := range slices.Backward(entries) { // whose removal moves fewer of a page's keys
		key := e.key()
		if err := errors.Join(records.Delete(key), lists.Delete(key)); err != nil {
			return err
		}
	}
	return nil
}

// loadTasks reads the index from keys and the beginnings of records.
func (s *Store) loadTasks(tx *bbolt.Tx) error {
	return tx.Bucket(tasksBucket).ForEach(func(key, record []byte) error {
		seq, id, err := parseTaskKey(key)
		if err != nil {
			return s.db.damage(err)
		}
		state, outputs, _, err := parseHeader(record)
		if err != nil {
			return s.db.damage(fmt.Errorf("task %s: %w", id, err))
		}
		s.tasks.add(&entry{seq: seq, id: id, ended: state.Ended(), outputs: outputs})
		s.blobs.keep(outputs)
		return nil
	})
}
