package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"
)

// perRecord is what a pending record costs beside its bytes, about.
const perRecord = 128

// where is the place of a record in the database.
type where struct{ bucket, key string }

func at(bucket, key []byte) where { return where{string(bucket), string(key)} }

func (w where) compare(other where) int {
	return cmp.Or(cmp.Compare(w.bucket, other.bucket), cmp.Compare(w.key, other.key))
}

// change puts a record to its place, or deletes what is there when the record
// is nil.
type change struct {
	where
	record []byte
}

func (c change) cost() int { return len(c.key) + len(c.record) + perRecord }

// batch is what one transaction writes: the last change of every place. The
// Store's mu guards it until it is being written; from then on it does not
// change.
type batch struct {
	records map[where][]byte
	bytes   int
}

func newBatch() *batch { return &batch{records: make(map[where][]byte)} }

func (b *batch) empty() bool { return len(b.records) == 0 }

func (b *batch) put(c change) {
	if old, ok := b.records[c.where]; ok {
		b.bytes -= change{c.where, old}.cost()
	}
	b.records[c.where] = c.record
	b.bytes += c.cost()
}

// takeBack adds what an older batch failed to write, where b has nothing newer.
func (b *batch) takeBack(older *batch) {
	for w, record := range older.records {
		if _, ok := b.records[w]; !ok {
			b.put(change{w, record})
		}
	}
}

// write is done in the order of keys, which touches fewest pages.
func (b *batch) write(tx *bbolt.Tx) error {
	for _, w := range slices.SortedFunc(maps.Keys(b.records), where.compare) {
		bucket := tx.Bucket([]byte(w.bucket))
		if bucket == nil {
			return fmt.Errorf("no bucket %.20q", w.bucket)
		}
		if numbered[w.bucket] {
			bucket.FillPercent = 0.9 // keys only grow
		}
		var err error
		if record := b.records[w]; record == nil {
			err = bucket.Delete([]byte(w.key))
		} else {
			err = bucket.Put([]byte(w.key), record)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
