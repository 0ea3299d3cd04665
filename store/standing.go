package store

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.etcd.io/bbolt"

	"github.com/spare-network/spare/protocol"
)

const (
	// maxPeerRecords bounds of how many peers a record is kept, each of at most
	// maxPeerRecord bytes: 100 MB.
	maxPeerRecords = 100_000
	maxPeerRecord  = 1 << 10
	// maxPeerID is more than the bytes of any peer ID.
	maxPeerID = 128
)

// peerRecords are small records that others keep of peers. The Store's mu
// guards them. In memory is only who was saved when.
type peerRecords struct {
	bucket []byte
	limit  int
	known  *simplelru.LRU[peer.ID, struct{}]
	last   uint64 // number of the last save
}

func newPeerRecords(bucket []byte) peerRecords {
	known, err := simplelru.NewLRU[peer.ID, struct{}](maxPeerRecords, nil)
	if err != nil {
		panic(err) // the size is not positive
	}
	return peerRecords{bucket: bucket, limit: maxPeerRecords, known: known}
}

// SaveStanding stores, within a second or two, what is known of how p behaves,
// in place of what was stored before. The record has at most 1 KiB; those of
// the 100,000 peers saved last are kept.
func (s *Store) SaveStanding(p peer.ID, record []byte) error {
	return s.savePeerRecord(&s.standings, p, record)
}

// Standings returns what [Store.SaveStanding] has stored.
func (s *Store) Standings() (map[peer.ID][]byte, error) { return s.peerRecords(&s.standings) }

// SaveCredit stores, within a second or two, what this node and p owe each
// other, in place of what was stored before. The record has at most 1 KiB;
// those of the 100,000 peers saved last are kept.
func (s *Store) SaveCredit(p peer.ID, record []byte) error {
	return s.savePeerRecord(&s.credits, p, record)
}

// Credits returns what [Store.SaveCredit] has stored.
func (s *Store) Credits() (map[peer.ID][]byte, error) { return s.peerRecords(&s.credits) }

func (s *Store) savePeerRecord(r *peerRecords, p peer.ID, record []byte) error {
	if err := r.check(p, record); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	s.putPeerRecord(r, p, record)
	return nil
}

func (r *peerRecords) check(p peer.ID, record []byte) error {
	if err := validPeer(p); err != nil {
		return fmt.Errorf("save %s: %w", r.bucket, err)
	}
	if len(record) > maxPeerRecord {
		return fmt.Errorf("save %s of %d bytes: at most %d", r.bucket, len(record), maxPeerRecord)
	}
	return nil
}

// putPeerRecord is called between begin and end.
func (s *Store) putPeerRecord(r *peerRecords, p peer.ID, record []byte) {
	for r.known.Len() >= r.limit && !r.known.Contains(p) {
		oldest, _, _ := r.known.RemoveOldest()
		s.pending.put(change{at(r.bucket, []byte(oldest)), nil})
	}
	r.last++
	r.known.Add(p, struct{}{})
	s.pending.put(change{at(r.bucket, []byte(p)), append(binary.BigEndian.AppendUint64(nil, r.last), record...)})
}

// validPeer returns an error for a peer ID that cannot be one.
func validPeer(p peer.ID) error {
	if len(p) > maxPeerID {
		return protocol.ErrMalformed
	}
	return p.Validate()
}

func (s *Store) peerRecords(r *peerRecords) (map[peer.ID][]byte, error) {
	list := make(map[peer.ID][]byte)
	err := s.each(r.bucket, func(key, record []byte) error {
		p, _, err := parsePeerRecord(key, record)
		if err == nil {
			list[p] = slices.Clone(record[8:])
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

func parsePeerRecord(key, record []byte) (p peer.ID, saved uint64, err error) {
	p = peer.ID(key)
	if err := validPeer(p); err != nil {
		return "", 0, err
	}
	if len(record) < 8 || len(record) > 8+maxPeerRecord {
		return "", 0, protocol.ErrMalformed
	}
	return p, binary.BigEndian.Uint64(record), nil
}

// load reads who was saved when.
func (r *peerRecords) load(tx *bbolt.Tx) error {
	type save struct {
		peer   peer.ID
		number uint64
	}
	var saves []save
	err := tx.Bucket(r.bucket).ForEach(func(key, record []byte) error {
		p, number, err := parsePeerRecord(key, record)
		if err != nil {
			return fmt.Errorf("%s of %.40x: %w", r.bucket, key, err)
		}
		saves = append(saves, save{p, number})
		return nil
	})
	slices.SortFunc(saves, func(a, b save) int { return cmp.Compare(a.number, b.number) })
	for _, s := range saves {
		r.known.Add(s.peer, struct{}{})
		r.last = s.number
	}
	return err
}
