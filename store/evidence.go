package store

import (
	"encoding/binary"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

// SaveReceipts stores receipts, soon, with the batch in which provider signed
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
	s.pending.putEvidence(s.nextKey, record)
	s.nextKey++
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
