package store

import (
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	"go.etcd.io/bbolt"
)

// maxGuestBook bounds what is kept of all guests together, in bytes.
const maxGuestBook = 128 << 10

// Guests returns what [Store.SaveGuests] has stored: of each requester, and of all
// together, or nil.
func (s *Store) Guests() (each map[peer.ID][]byte, all []byte, err error) {
	if each, err = s.peerRecords(&s.guests); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	all, ok := s.pendingRecord(at(nodeBucket, guestBookKey))
	s.mu.Unlock()
	if !ok {
		err = s.db.view(func(tx *bbolt.Tx) error {
			all = tx.Bucket(nodeBucket).Get(guestBookKey)
			all = slices.Clone(all) // which is of the transaction
			return nil
		})
	}
	return each, all, err
}

// SaveGuests stores, within a second or two and all or nothing, what is known of
// the tasks of others that have run here: of each requester, in place of what was
// stored of it before, or nil to forget it, and of all together. A requester's
// record has at most 1 KiB.
func (s *Store) SaveGuests(each map[peer.ID][]byte, all []byte) error {
	for p, record := range each {
		if err := s.guests.check(p, record); err != nil {
			return err
		}
	}
	if len(all) > maxGuestBook {
		return fmt.Errorf("save guests: %d bytes of all, at most %d", len(all), maxGuestBook)
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	for p, record := range each {
		if record == nil {
			s.guests.known.Remove(p)
			s.pending.put(change{at(s.guests.bucket, []byte(p)), nil})
			continue
		}
		s.putPeerRecord(&s.guests, p, record)
	}
	s.pending.put(change{at(nodeBucket, guestBookKey), all})
	return nil
}
