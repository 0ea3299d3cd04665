package store

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

// SaveReceipts stores receipts, within a second or two, with the batch in which provider signed
// them, which the caller has verified. At most [protocol.MaxReceipts] are
// taken at once, and the newest 64 MiB are kept.
func (s *Store) SaveReceipts(provider peer.ID, batch *protocol.ReceiptBatch, receipts []*protocol.Receipt) error {
	if len(receipts) > protocol.MaxReceipts {
		return fmt.Errorf("save %d receipts: at most %d", len(receipts), protocol.MaxReceipts)
	}
	record, err := proto.Marshal(&protocol.Evidence{Provider: provider.String(), Batch: batch, Receipts: receipts})
	if err != nil {
		return fmt.Errorf("encode evidence: %w", err)
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	s.pending.put(change{at(evidenceBucket, binary.BigEndian.AppendUint64(nil, s.nextKey)), record})
	s.nextKey++
	return nil
}

// trimEvidence adds what b has written to *size, the bytes of all evidence, and
// deletes the oldest, so that it is at most limit.
func trimEvidence(tx *bbolt.Tx, b *batch, size *int64, limit int64) error {
	for w, record := range b.records {
		if w.bucket == string(evidenceBucket) {
			*size += int64(len(record))
		}
	}
	bucket := tx.Bucket(evidenceBucket)
	var old [][]byte
	cursor := bucket.Cursor()
	for key, record := cursor.First(); key != nil && *size > limit; key, record = cursor.Next() {
		*size -= int64(len(record))
		old = append(old, slices.Clone(key))
	}
	for _, key := range old {
		if err := bucket.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// loadEvidence counts what is kept.
func (s *Store) loadEvidence(tx *bbolt.Tx) error {
	return tx.Bucket(evidenceBucket).ForEach(func(key, record []byte) error {
		if len(key) != 8 {
			return s.db.damage(fmt.Errorf("key %.40x is no evidence's", key))
		}
		s.evidence += int64(len(record))
		s.nextKey = binary.BigEndian.Uint64(key) + 1
		return nil
	})
}
