package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// commitDelay is how long a save waits for company. At 20,000 tasks a
	// second it makes 1,000 of them share an fsync.
	commitDelay = 50 * time.Millisecond
	// maxCommitDelay bounds the delay that doubles while commits fail.
	maxCommitDelay = 10 * time.Second
	// maxPending bounds the bytes that wait for a commit; saves wait beyond.
	maxPending = 16 << 20
)

// begin waits until pending has room, and returns with mu held unless it
// returns an error.
func (s *Store) begin() error {
	s.mu.Lock()
	for s.pending.bytes >= maxPending && !s.closed {
		switch {
		case !s.running:
			s.mu.Unlock()
			if err := s.commit(); err != nil {
				return err
			}
			s.mu.Lock()
		case s.failure != nil:
			defer s.mu.Unlock()
			return s.failure
		default:
			signal(s.urgent)
			s.room.Wait()
		}
	}
	if s.closed {
		defer s.mu.Unlock()
		return ErrClosed
	}
	return nil
}

// end releases mu after pending got more.
func (s *Store) end() {
	s.mu.Unlock()
	signal(s.dirty)
}

// wait returns when b is committed.
func (s *Store) wait(ctx context.Context, b *batch) error {
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if running {
		signal(s.urgent)
	} else {
		_ = s.commit() // b has the error
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runCommits commits until ctx is done, and then all that is pending.
func (s *Store) runCommits(ctx context.Context) error {
	s.setRunning(true)
	delay := commitDelay
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-s.dirty:
			s.collect(ctx, delay)
			err := s.commit()
			if s.db.damaged.Load() != nil {
				s.setRunning(false)
				return err
			}
			delay = s.afterCommit(err, delay)
		}
	}
	s.setRunning(false)
	return s.commit()
}

// collect waits for more to be saved, unless somebody waits for it already.
func (s *Store) collect(ctx context.Context, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.urgent:
	case <-timer.C:
	}
}

// afterCommit returns the delay before the next commit: longer and longer
// while they fail.
func (s *Store) afterCommit(err error, delay time.Duration) time.Duration {
	switch {
	case err != nil:
		if delay == commitDelay {
			s.log.Error("state cannot be saved, trying again", "error", err)
		}
		signal(s.dirty)
		return min(2*delay, maxCommitDelay)
	case delay != commitDelay:
		s.log.Info("state is saved again")
	}
	return commitDelay
}

func (s *Store) setRunning(running bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = running
	s.room.Broadcast()
}

// commit writes all that is pending in one transaction, together with the
// deletion of what is kept no longer. What could not be written is pending
// again.
func (s *Store) commit() error {
	s.commits.Lock()
	defer s.commits.Unlock()

	s.mu.Lock()
	b := s.pending
	if b.empty() {
		s.mu.Unlock()
		return nil
	}
	s.pending, s.writing = newBatch(), b
	old := s.tasks.surplus(s.keepTasks)
	s.room.Broadcast()
	s.mu.Unlock()

	evidence := s.evidence
	err := s.db.update(func(tx *bbolt.Tx) error {
		return errors.Join(b.writeTasks(tx, old), b.writeEvidence(tx, &evidence, s.keepEvidence), b.writePeers(tx))
	})
	if err == nil {
		s.evidence = evidence
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing, s.failure = nil, err
	if err != nil {
		s.pending.takeBack(b)
		s.room.Broadcast()
	} else {
		s.forget(old)
	}
	b.err = err
	close(b.done)
	return err
}

// forget drops pruned tasks from memory, but for those that were saved again
// meanwhile: they come back with the next commit.
func (s *Store) forget(pruned []*entry) {
	pruned = slices.DeleteFunc(pruned, func(e *entry) bool {
		_, again := s.pending.tasks[e.id]
		return again
	})
	s.tasks.remove(pruned)
	for _, e := range pruned {
		s.blobs.unkeep(e.outputs)
	}
}

// signal says something to whoever listens on c, if it is not said already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
