package store

import (
	"cmp"
	"container/list"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"go.etcd.io/bbolt"

	"github.com/spare-network/spare/protocol"
)

const (
	// heldFor bounds how long a result is held.
	heldFor = 24 * time.Hour
	// heldQuota bounds the bytes of the records of all held results.
	heldQuota = 64 << 20
	// maxHeld bounds one record. It fits the journal with all that it names.
	maxHeld      = 512 << 10
	maxHeldBlobs = 64
	// minHeldCost is what a result counts at least, so that heldQuota bounds
	// their number, too.
	minHeldCost = 1 << 10
)

// Held is the result of a replica that its requester has not acknowledged.
type Held struct {
	Requester peer.ID
	Nonce     protocol.Nonce
	Record    []byte            // as the provider encoded it
	Blobs     []protocol.Digest // without which the result is not whole
	Expires   time.Time
}

// heldEntry is what is kept in memory of a held result.
type heldEntry struct {
	number  uint64 // the order in which they are held
	nonce   protocol.Nonce
	cost    int64
	blobs   []protocol.Digest
	expires time.Time
}

func (e *heldEntry) where() where {
	return at(heldBucket, append(binary.BigEndian.AppendUint64(nil, e.number), e.nonce[:]...))
}

// heldIndex knows every held result. The Store's mu guards it.
type heldIndex struct {
	byNonce map[protocol.Nonce]*list.Element
	order   list.List // of *heldEntry, by number
	bytes   int64
	limit   int64
	last    uint64
}

func (x *heldIndex) add(e *heldEntry) {
	x.byNonce[e.nonce] = x.order.PushBack(e)
	x.bytes += e.cost
	x.last = e.number
}

// remove forgets the result held under a nonce and returns its entry, nil when
// there is none.
func (x *heldIndex) remove(n protocol.Nonce) *heldEntry {
	element := x.byNonce[n]
	if element == nil {
		return nil
	}
	delete(x.byNonce, n)
	e, _ := x.order.Remove(element).(*heldEntry)
	x.bytes -= e.cost
	return e
}

// surplus returns the nonce of the oldest result, when that has expired or
// exceeds the limit.
func (x *heldIndex) surplus(now time.Time) (n protocol.Nonce, ok bool) {
	front := x.order.Front()
	if front == nil {
		return n, false
	}
	e, _ := front.Value.(*heldEntry)
	return e.nonce, x.bytes > x.limit || !e.expires.After(now)
}

// HoldResult stores, as soon as [Store.SaveTask], the result of the replica
// with this nonce until it is released or expires, which it does after 24 h at
// the latest. A result held before under the nonce is replaced. Of the results
// that are held for longest those are forgotten that exceed 64 MiB. The blobs
// are kept as those of a task: they are evicted when nothing else is left.
// The record has at most 512 KiB and names at most 64 blobs.
func (s *Store) HoldResult(requester peer.ID, nonce protocol.Nonce, record []byte, blobs []protocol.Digest, expires time.Time) error {
	if err := validPeer(requester); err != nil {
		return fmt.Errorf("hold result: %w", err)
	}
	if len(record) > maxHeld || len(blobs) > maxHeldBlobs {
		return fmt.Errorf("hold result: %d bytes and %d blobs, at most %d and %d", len(record), len(blobs), maxHeld, maxHeldBlobs)
	}
	now := time.Now()
	if last := now.Add(heldFor); expires.After(last) {
		expires = last
	}
	h := Held{Requester: requester, Nonce: nonce, Record: record, Blobs: blobs, Expires: expires}
	encoded := encodeHeld(h)
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	e := &heldEntry{number: s.held.last + 1, nonce: nonce, cost: heldCost(encoded), blobs: slices.Clone(blobs), expires: expires}
	changes := s.letGo(s.held.remove(nonce))
	s.held.add(e)
	s.blobs.keep(e.blobs)
	changes = append(changes, change{e.where(), encoded})
	for n, ok := s.held.surplus(now); ok; n, ok = s.held.surplus(now) {
		changes = append(changes, s.letGo(s.held.remove(n))...)
	}
	s.save(changes...)
	return nil
}

// letGo returns the deletion of a result that is held no longer, nothing when
// there was none. It is called with mu held.
func (s *Store) letGo(e *heldEntry) []change {
	if e == nil {
		return nil
	}
	s.blobs.unkeep(e.blobs)
	return []change{{e.where(), nil}}
}

// HeldResults returns the results that are held, the first held first.
func (s *Store) HeldResults() ([]Held, error) {
	now := time.Now()
	s.mu.Lock()
	numbers := make(map[protocol.Nonce]uint64, len(s.held.byNonce))
	for e := s.held.order.Front(); e != nil; e = e.Next() {
		if e, ok := e.Value.(*heldEntry); ok {
			numbers[e.nonce] = e.number
		}
	}
	s.mu.Unlock()
	held := make([]Held, 0, len(numbers))
	err := s.each(heldBucket, func(key, record []byte) error {
		h, err := decodeHeld(key, record)
		if _, known := numbers[h.Nonce]; known && h.Expires.After(now) {
			held = append(held, h)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(held, func(a, b Held) int { return cmp.Compare(numbers[a.Nonce], numbers[b.Nonce]) })
	return held, nil
}

// ReleaseResults forgets, soon, the results held under nonces. Those that are
// not held are passed over.
func (s *Store) ReleaseResults(nonces []protocol.Nonce) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	var changes []change
	for _, n := range nonces {
		changes = append(changes, s.letGo(s.held.remove(n))...)
	}
	if len(changes) > 0 {
		s.save(changes...)
	}
	return nil
}

// A held result is stored as its time of expiry in Unix nanoseconds, the
// requester behind its length, the number of blobs and their digests, and the
// record.
func encodeHeld(h Held) []byte {
	data := binary.BigEndian.AppendUint64(nil, uint64(h.Expires.UnixNano()))
	data = append(binary.AppendUvarint(data, uint64(len(h.Requester))), h.Requester...)
	data = append(data, byte(len(h.Blobs)))
	for _, d := range h.Blobs {
		data = append(data, d[:]...)
	}
	return append(data, h.Record...)
}

var errNoHeld = errors.New("no held result")

func decodeHeld(key, data []byte) (h Held, err error) {
	const digest = len(protocol.Digest{})
	if len(key) != 8+len(h.Nonce) || len(data) < 8 {
		return Held{}, errNoHeld
	}
	h.Nonce = protocol.Nonce(key[8:])
	h.Expires = time.Unix(0, int64(binary.BigEndian.Uint64(data)))
	n, head := binary.Uvarint(data[8:])
	if data = data[8:]; head <= 0 || n >= uint64(len(data)-head) {
		return Held{}, errNoHeld
	}
	h.Requester = peer.ID(data[head : head+int(n)])
	data = data[head+int(n):]
	count := int(data[0])
	if data = data[1:]; count > maxHeldBlobs || len(data) < count*digest {
		return Held{}, errNoHeld
	}
	for range count {
		h.Blobs = append(h.Blobs, protocol.Digest(data[:digest]))
		data = data[digest:]
	}
	h.Record = slices.Clone(data)
	return h, validPeer(h.Requester)
}

func heldCost(encoded []byte) int64 { return max(int64(len(encoded)), minHeldCost) }

func (s *Store) loadHeld(tx *bbolt.Tx) error {
	return tx.Bucket(heldBucket).ForEach(func(key, record []byte) error {
		h, err := decodeHeld(key, record)
		if err != nil {
			return s.db.damage(fmt.Errorf("held result %.40x: %w", key, err))
		}
		s.held.add(&heldEntry{
			number: binary.BigEndian.Uint64(key), nonce: h.Nonce, cost: heldCost(record), blobs: h.Blobs, expires: h.Expires,
		})
		s.blobs.keep(h.Blobs)
		return nil
	})
}
