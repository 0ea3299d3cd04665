package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

// BenchmarkSaveTask saves tasks as the hot path does, submission and
// conclusion with 1 KiB of output, as fast as it can. It reports what of the
// database one task costs, and how many tasks a second get to the disk.
func BenchmarkSaveTask(b *testing.B) {
	s, err := Open(b.TempDir(), Config{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	t := newTask()
	out := protocol.NewBlob(make([]byte, 1<<10))
	none := protocol.NewBlob(nil)
	b.ReportAllocs()
	start := time.Now()
	for b.Loop() {
		t.Id, t.State, t.Result = string(protocol.NewTaskID()), protocol.StateRunning, nil
		if err := s.SaveTask(t); err != nil {
			b.Fatal(err)
		}
		t.State, t.Result = protocol.StateDone, &protocol.Result{Stdout: out, Stderr: none}
		if err := s.SaveTask(t); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	if err := <-ran; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "durable-tasks/s")
	info, err := os.Stat(filepath.Join(s.dir, databaseFile))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/float64(min(b.N, DefaultTasks)), "file-bytes/kept-task")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSaveTaskNow has callers that wait for the disk, as detached
// submissions do.
func BenchmarkSaveTaskNow(b *testing.B) {
	for _, waiters := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("waiters %d", waiters), func(b *testing.B) {
			s, err := Open(b.TempDir(), Config{})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			ran := make(chan error, 1)
			go func() { ran <- s.Run(ctx) }()
			var wg sync.WaitGroup
			tasks := make(chan *protocol.Task)
			for range waiters {
				wg.Go(func() {
					for t := range tasks {
						if err := s.SaveTaskNow(ctx, t); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for b.Loop() {
				tasks <- newTask()
			}
			close(tasks)
			wg.Wait()
			cancel()
			if err := <-ran; err != nil {
				b.Fatal(err)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkSpool takes the 1 KiB of output of a small task.
func BenchmarkSpool(b *testing.B) {
	s, err := Open(b.TempDir(), Config{})
	if err != nil {
		b.Fatal(err)
	}
	out := make([]byte, 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		spool := s.Blobs().NewSpool(protocol.DefaultOutput)
		if _, err := spool.Write(out); err != nil {
			b.Fatal(err)
		}
		if _, err := spool.Finish(); err != nil {
			b.Fatal(err)
		}
		spool.Discard()
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
