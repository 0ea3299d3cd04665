package journal

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// BenchmarkCommit has waiters commit records of 600 bytes, about a submitted
// task, each of them one after the other, to a journal and to bbolt in a
// transaction of its own. It reports how many times faster the journal is, and
// its syncs per record.
func BenchmarkCommit(b *testing.B) {
	record := make([]byte, 600)
	for _, waiters := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("waiters %d", waiters), func(b *testing.B) {
			const records = 512
			dir := b.TempDir()
			db, err := bbolt.Open(filepath.Join(dir, "db"), 0o600, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			each := func(save func(i int) error) time.Duration {
				start := time.Now()
				var wg sync.WaitGroup
				for w := range waiters {
					wg.Go(func() {
						for i := w; i < records; i += waiters {
							if err := save(i); err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
				return time.Since(start)
			}
			var log, bolt time.Duration
			syncs, rounds := 0, 0
			for b.Loop() {
				rounds++
				home := b.TempDir()
				j, _ := open(b, home, 0)
				commit(b, j, add(b, j, "first")) // makes the segment
				log += each(func(int) error {
					n, err := j.Append(record)
					if err != nil {
						return err
					}
					return j.Commit(context.Background(), n)
				})
				closeJournal(b, j)
				syncs += len(frames(b, home)) - 1
				bolt += each(func(i int) error {
					return db.Update(func(tx *bbolt.Tx) error {
						bucket, err := tx.CreateBucketIfNotExists([]byte("tasks"))
						if err != nil {
							return err
						}
						return bucket.Put(fmt.Appendf(nil, "%09d %09d", rounds, i), record)
					})
				})
			}
			n := float64(rounds * records)
			b.ReportMetric(n/log.Seconds(), "records/s")
			b.ReportMetric(bolt.Seconds()/log.Seconds(), "x-bbolt")
			b.ReportMetric(float64(syncs)/n, "syncs/record")
		})
	}
}
