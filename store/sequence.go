package store

import (
	"encoding/binary"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// reservation is how far ahead of the numbers given out the stored bound is:
// one minute of nanoseconds, so that there is at most about one commit a
// minute, and a restart is at most a minute ahead of the clock.
const reservation = uint64(time.Minute)

// sequence numbers offers. What it has given out is always below what is
// stored.
type sequence struct {
	db *database

	mu     sync.Mutex // held across the commit, for which every caller must wait
	last   uint64
	stored uint64
}

// OfferSequence returns the number of the next offer: one that is larger than
// every number before, across restarts and whatever the clock does, and at
// least now in Unix nanoseconds.
func (s *Store) OfferSequence(now time.Time) (uint64, error) { return s.sequence.next(now) }

func (q *sequence) next(now time.Time) (uint64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := max(q.last+1, uint64(max(now.UnixNano(), 0)))
	if n >= q.stored {
		bound := n + reservation
		err := q.db.update(func(tx *bbolt.Tx) error {
			return tx.Bucket(nodeBucket).Put(sequenceKey, binary.BigEndian.AppendUint64(nil, bound))
		})
		if err != nil {
			return 0, err
		}
		q.stored = bound
	}
	q.last = n
	return n, nil
}

// load continues behind everything that may have been given out.
func (q *sequence) load(tx *bbolt.Tx) {
	if v := tx.Bucket(nodeBucket).Get(sequenceKey); len(v) == 8 {
		q.stored = binary.BigEndian.Uint64(v)
		q.last = q.stored
	}
}
