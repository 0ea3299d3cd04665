package sandbox

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

// BenchmarkWarm runs a program that copies 1 KiB from stdin to stdout, with
// several in flight.
func BenchmarkWarm(b *testing.B) {
	for _, flight := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(flight), func(b *testing.B) {
			p := newPool(b, 2)
			x := execution(b, "a", copier(), stdin(bytes.Repeat([]byte("x"), 1<<10)))
			var warm sync.WaitGroup
			for range flight * 20 {
				warm.Go(func() { run(b, p, x) })
			}
			warm.Wait()
			took := make([][]time.Duration, flight)
			b.ResetTimer()
			var all sync.WaitGroup
			for i := range flight {
				all.Go(func() {
					for range b.N/flight + 1 {
						start := time.Now()
						if o := run(b, p, x); len(o.Stdout) != 1<<10 {
							b.Errorf("%+v", o)
							return
						}
						took[i] = append(took[i], time.Since(start))
					}
				})
			}
			all.Wait()
			reportTimes(b, slices.Concat(took...))
		})
	}
}

// BenchmarkInProcess is the same program in the engine itself, without a
// worker: the reference.
func BenchmarkInProcess(b *testing.B) {
	g, x := inProcess(b, defaultEngine(), copier(), stdin(bytes.Repeat([]byte("x"), 1<<10)))
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		g.out.begin(1, x.Spec.Limits)
		if r := g.run(&protocol.WorkerRequest{Spec: x.SpecBytes}, x.Spec); r.Code != "" {
			b.Fatal(r)
		}
		took = append(took, time.Since(start))
	}
	reportTimes(b, took)
}

func reportTimes(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	micros := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	b.ReportMetric(micros(took[len(took)/2]), "p50-us")
	b.ReportMetric(micros(took[len(took)*99/100]), "p99-us")
	b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "tasks/s")
	b.ReportMetric(0, "ns/op") // the same as tasks/s
}
