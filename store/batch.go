package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	"go.etcd.io/bbolt"

	"github.com/spare-network/spare/protocol"
)

// perRecord is what a pending record costs beside its bytes, about.
const perRecord = 128

// batch is what one transaction writes. The Store's mu guards it until it is
// being written; from then on it does not change.
type batch struct {
	tasks    map[protocol.TaskID]savedTask
	evidence []savedEvidence
	peers    map[peer.ID][]byte // nil: forgotten
	bytes    int

	done chan struct{} // closed when the commit has ended with err
	err  error
}

type savedTask struct {
	*entry
	record []byte
	files  []byte // the list of its output files, or nil
}

func (s savedTask) cost() int { return len(s.record) + len(s.files) + perRecord }

type savedEvidence struct {
	key    uint64
	record []byte
}

func newBatch() *batch {
	return &batch{
		tasks: make(map[protocol.TaskID]savedTask),
		peers: make(map[peer.ID][]byte),
		done:  make(chan struct{}),
	}
}

func (b *batch) empty() bool { return len(b.tasks)+len(b.evidence)+len(b.peers) == 0 }

func (b *batch) putTask(saved savedTask) {
	if old, ok := b.tasks[saved.id]; ok {
		b.bytes -= old.cost()
	}
	b.tasks[saved.id] = saved
	b.bytes += saved.cost()
}

func (b *batch) putEvidence(key uint64, record []byte) {
	b.evidence = append(b.evidence, savedEvidence{key, record})
	b.bytes += len(record) + perRecord
}

func (b *batch) putPeer(id peer.ID, record []byte) {
	b.peers[id] = record // bounded by the number of peers kept
}

// takeBack adds what an older batch failed to write, where b has nothing newer.
func (b *batch) takeBack(older *batch) {
	for id, saved := range older.tasks {
		if _, ok := b.tasks[id]; !ok {
			b.putTask(saved)
		}
	}
	newer := b.evidence
	b.evidence = older.evidence
	for _, saved := range older.evidence {
		b.bytes += len(saved.record) + perRecord
	}
	b.evidence = append(b.evidence, newer...)
	for id, record := range older.peers {
		if _, ok := b.peers[id]; !ok {
			b.peers[id] = record
		}
	}
}

func (b *batch) writeTasks(tx *bbolt.Tx, old []*entry) error {
	records, lists := tx.Bucket(tasksBucket), tx.Bucket(filesBucket)
	records.FillPercent, lists.FillPercent = 0.9, 0.9 // keys only grow
	sorted := make([]savedTask, 0, len(b.tasks))
	for _, saved := range b.tasks {
		sorted = append(sorted, saved)
	}
	slices.SortFunc(sorted, func(a, b savedTask) int { return cmp.Compare(a.seq, b.seq) })
	for _, saved := range sorted {
		key := taskKey(saved.seq, saved.id)
		err := records.Put(key, saved.record)
		if err == nil && saved.files != nil {
			err = lists.Put(key, saved.files)
		}
		if err == nil && saved.files == nil {
			err = lists.Delete(key) // of an earlier save; hardly ever there
		}
		if err != nil {
			return err
		}
	}
	for _, e := range slices.Backward(old) { // whose removal moves fewer of a page's keys
		key := taskKey(e.seq, e.id)
		if err := errors.Join(records.Delete(key), lists.Delete(key)); err != nil {
			return err
		}
	}
	return nil
}

// writeEvidence also deletes the oldest evidence, so that *size, the bytes of
// all of it, is at most limit.
func (b *batch) writeEvidence(tx *bbolt.Tx, size *int64, limit int64) error {
	bucket := tx.Bucket(evidenceBucket)
	bucket.FillPercent = 0.9 // keys only grow
	for _, saved := range b.evidence {
		if err := bucket.Put(binary.BigEndian.AppendUint64(nil, saved.key), saved.record); err != nil {
			return err
		}
		*size += int64(len(saved.record))
	}
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

func (b *batch) writePeers(tx *bbolt.Tx) error {
	bucket := tx.Bucket(peersBucket)
	for id, record := range b.peers {
		var err error
		if record == nil {
			err = bucket.Delete([]byte(id))
		} else {
			err = bucket.Put([]byte(id), record)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
