package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store/journal"
)

const (
	// journalDelay is how long a save that nobody waits for is in memory only.
	journalDelay = 50 * time.Millisecond
	// commitDelay is how long changes are in the journal only. The longer, the
	// more of them replace each other or lie on the same page.
	commitDelay = time.Second
	// maxCommitDelay bounds the delay that doubles while commits fail.
	maxCommitDelay = 10 * time.Second
	// maxPending bounds the bytes that wait for a commit; saves wait beyond.
	// At half of it they are committed at once.
	maxPending = 16 << 20
	// maxBuffered bounds the bytes that wait for the journal.
	maxBuffered = 4 << 20
)

// begin waits until pending has room, and returns with mu held unless it
// returns an error.
func (s *Store) begin() error {
	if known := s.db.damaged.Load(); known != nil {
		signal(s.dirty) // Run is to end
		signal(s.urgent)
		return known // rather than fill a journal that nothing can take over
	}
	if s.journal.Buffered() >= maxBuffered {
		if err := s.wait(context.Background(), s.journal.Last()); err != nil {
			return err
		}
	}
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
	s.hurry(s.pending.bytes >= maxPending/2 || s.journal.HalfFull())
	s.mu.Unlock()
	signal(s.dirty)
	signal(s.unwritten)
}

// wait returns when what was saved as the number n outlasts a power cut. When
// the journal is full or cannot be written, a commit does as well.
func (s *Store) wait(ctx context.Context, n uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if n > 0 {
		if err := s.journal.Commit(ctx, n); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return s.commit()
}

// Sync returns when all that was saved before outlasts a power cut.
func (s *Store) Sync(ctx context.Context) error { return s.wait(ctx, s.journal.Last()) }

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
			if known := s.db.damaged.Load(); known != nil {
				s.setRunning(false)
				return known
			}
			delay = s.afterCommit(err, delay)
		}
	}
	s.setRunning(false)
	return s.commit()
}

// collect waits for more to be saved, unless there is much already.
func (s *Store) collect(ctx context.Context, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.urgent:
	case <-timer.C:
	}
}

// runJournal writes to the journal what nobody waits for, until ctx is done.
// What it cannot write is committed at once, unless that fails, too.
func (s *Store) runJournal(ctx context.Context) {
	told := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.unwritten:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(journalDelay):
		}
		err := s.journal.Commit(ctx, s.journal.Last())
		if ctx.Err() != nil {
			return
		}
		failed := err != nil && !errors.Is(err, journal.ErrFull)
		if failed && !told {
			s.log.Warn("journal cannot be written, all goes to the database at once", "error", err)
		}
		told = failed
		if err != nil {
			s.mu.Lock()
			s.hurry(true)
			s.mu.Unlock()
		}
	}
}

// hurry makes a commit due, if one is wanted and the last one has not failed.
// It is called with mu held.
func (s *Store) hurry(wanted bool) {
	if wanted && s.failure == nil {
		signal(s.urgent)
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
// again. Of the journal nothing is needed any more that was saved before.
func (s *Store) commit() error {
	s.commits.Lock()
	defer s.commits.Unlock()

	s.mu.Lock()
	b, old, oldJobs := s.pending, s.tasks.surplus(s.keepTasks), s.jobs.surplus(s.keepJobs)
	if b.empty() && len(old) == 0 && len(oldJobs) == 0 {
		s.mu.Unlock()
		return nil
	}
	for _, e := range oldJobs {
		e.going = true
	}
	s.pending, s.writing = newBatch(), b
	last := s.journal.Last()
	s.room.Broadcast()
	s.mu.Unlock()

	evidence := s.evidence
	var gone []protocol.Digest // outputs of old jobs
	err := s.db.update(func(tx *bbolt.Tx) (err error) {
		if err := b.write(tx); err != nil {
			return err
		}
		if gone, err = deleteJobs(tx, oldJobs); err != nil {
			return err
		}
		return errors.Join(deleteTasks(tx, old), trimEvidence(tx, b, &evidence, s.keepEvidence), checkpoint(tx, last))
	})
	if err == nil {
		s.evidence = evidence
		s.journal.Checkpointed(last)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing, s.failure = nil, err
	if err != nil {
		s.pending.takeBack(b)
		for _, e := range oldJobs {
			e.going = false
		}
		s.room.Broadcast()
	} else {
		s.forget(old)
		s.jobs.remove(oldJobs)
		s.blobs.unkeep(gone)
	}
	return err
}

// forget drops pruned tasks from memory, but for those that were saved again
// meanwhile: they come back with the next commit.
func (s *Store) forget(pruned []*entry) {
	pruned = slices.DeleteFunc(pruned, func(e *entry) bool {
		_, again := s.pending.records[at(tasksBucket, e.key())]
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
