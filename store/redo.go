package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store/journal"
)

const journalDir = "journal"

var errNoChange = errors.New("record without a change")

// A record of the journal has the changes of one save, which are made together
// or not at all: of each the bucket, the key and the record, each behind its
// length as a uvarint. A record of no bytes, of which the database has none,
// is a deletion. Making a change twice is as making it once.

func appendChange(buf []byte, c change) []byte {
	for _, part := range []string{c.bucket, c.key} {
		buf = append(binary.AppendUvarint(buf, uint64(len(part))), part...)
	}
	return append(binary.AppendUvarint(buf, uint64(len(c.record))), c.record...)
}

func parseChanges(data []byte) (changes []change, err error) {
	for len(data) > 0 {
		var parts [3][]byte
		for i := range parts {
			n, head := binary.Uvarint(data)
			if head <= 0 || n > uint64(len(data)-head) {
				return nil, errNoChange
			}
			parts[i], data = data[head:head+int(n)], data[head+int(n):]
		}
		c := change{where: at(parts[0], parts[1])}
		if c.key == "" || !journaled[c.bucket] {
			return nil, errNoChange
		}
		if len(parts[2]) > 0 {
			c.record = slices.Clone(parts[2])
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// openJournal opens the journal and puts into the database what a killed node
// had not.
func (s *Store) openJournal() error {
	var id, after uint64
	err := s.db.view(func(tx *bbolt.Tx) error {
		node := tx.Bucket(nodeBucket)
		id, after = number(node.Get(journalIDKey)), number(node.Get(journalKey))
		return nil
	})
	if err != nil {
		return err
	}
	missing := newBatch()
	s.journal, err = journal.Open(s.root, journalDir, id, after, func(record []byte) error {
		changes, err := parseChanges(record)
		for _, c := range changes {
			missing.put(c)
		}
		return err
	})
	switch {
	case errors.Is(err, journal.ErrDamaged), errors.Is(err, errNoChange):
		return protocol.Errorf(protocol.CodeFile, "the journal %s cannot be used: %v", s.path(journalDir), err).
			WithHint("move it away and start again; what was saved in the last seconds before is lost")
	case err != nil:
		return fileError("open", s.path(journalDir), err)
	case missing.empty():
		return nil
	}
	last := s.journal.Last()
	err = s.db.update(func(tx *bbolt.Tx) error {
		return errors.Join(missing.write(tx), checkpoint(tx, last))
	})
	if err == nil {
		s.journal.Checkpointed(last)
	}
	return err
}

// checkpoint notes that the database has the records of the journal up to the
// number n.
func checkpoint(tx *bbolt.Tx, n uint64) error {
	return tx.Bucket(nodeBucket).Put(journalKey, binary.BigEndian.AppendUint64(nil, n))
}

// number returns what is stored in 8 bytes, or 0.
func number(v []byte) uint64 {
	if len(v) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

// save makes changes: in memory, and in the journal with the next group that is
// written. It returns their number there, or 0 when they do not fit and come
// with the next transaction. It is called with mu held.
func (s *Store) save(changes ...change) (n uint64) {
	s.redo = s.redo[:0]
	for _, c := range changes {
		s.pending.put(c)
		s.redo = appendChange(s.redo, c)
	}
	n, err := s.journal.Append(s.redo)
	if err != nil {
		s.redo = nil // too large to be kept
		s.hurry(true)
		return 0
	}
	return n
}

// pendingRecord returns what is to be at w and is not in the database yet. It
// is called with mu held.
func (s *Store) pendingRecord(w where) (record []byte, ok bool) {
	if record, ok = s.pending.records[w]; !ok && s.writing != nil {
		record, ok = s.writing.records[w]
	}
	return record, ok
}

// pendingRecords returns what is to be in a bucket and is not in the database
// yet, nil for what is to be deleted.
func (s *Store) pendingRecords(bucket []byte) map[string][]byte {
	list := make(map[string][]byte)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range []*batch{s.writing, s.pending} {
		if b == nil {
			continue
		}
		for w, record := range b.records {
			if w.bucket == string(bucket) {
				list[w.key] = record
			}
		}
	}
	return list
}

// each calls take with the records of a bucket as they are now, in no order.
func (s *Store) each(bucket []byte, take func(key, record []byte) error) error {
	newer := s.pendingRecords(bucket) // first, since from there they only move to the database
	err := s.db.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(key, record []byte) error {
			if _, ok := newer[string(key)]; ok {
				return nil
			}
			if err := take(key, record); err != nil {
				return s.db.damage(fmt.Errorf("%s %.40x: %w", bucket, key, err))
			}
			return nil
		})
	})
	for key, record := range newer {
		if err == nil && record != nil {
			err = take([]byte(key), record)
		}
	}
	return err
}
