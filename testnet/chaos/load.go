//go:build unix

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spare-network/spare/node/api"
)

// Tasks are of a few sizes, so that what they must print is worked out once for
// each. They differ by their seed, which makes no difference to that.
var (
	shortTasks = []float64{0.5, 1, 1.5, 2} // in units of the length that is asked for
	longTasks  = []time.Duration{time.Second, 3 * time.Second, 5 * time.Second}
)

// patience is how long a task may take until it counts as lost.
const patience = 5 * time.Minute

// workload runs tasks through one node.
type workload struct {
	options
	node *node
	wasm []byte
	long []size
	few  []size
}

// size is one size of tasks.
type size struct {
	steps  int
	digest string // of what it prints
}

// result is one task that has ended, or not in time.
type result struct {
	task  api.Task
	right bool
}

// newWorkload has every provider run a first task, so that each has compiled the
// program before anything is counted, and learns from the last one how fast they
// are.
func newWorkload(ctx context.Context, o options, nodes []*node) (*workload, error) {
	w := &workload{options: o, node: nodes[0]}
	w.verify = "off" // there is but one that may answer
	defer func() { w.verify = o.verify }()
	var err error
	if w.wasm, err = os.ReadFile(o.module); err != nil {
		return nil, err
	}
	const sample = 1_000_000
	var t api.Task
	for _, n := range nodes[1:] {
		if t, err = w.task(ctx, 0, sample, n.who()); err != nil {
			return nil, err
		}
	}
	if t.WallMS == nil || *t.WallMS <= 0 {
		return nil, fmt.Errorf("it took no time: %s", t.Reason)
	}
	newSize := func(d time.Duration) size {
		steps := max(10, int(sample*d.Seconds()*1000 / *t.WallMS)/10*10)
		return size{steps, printed(steps)}
	}
	for _, x := range shortTasks {
		w.few = append(w.few, newSize(time.Duration(x*float64(o.length))))
	}
	if o.longShare > 0 {
		for _, d := range longTasks {
			w.long = append(w.long, newSize(d))
		}
	}
	return w, nil
}

// printed is the digest of what the example prints for so many steps.
func printed(steps int) string {
	out, sum := sha256.New(), sha256.Sum256(nil)
	for i := 1; i <= steps; i++ {
		sum = sha256.Sum256(sum[:])
		if i%(steps/10) == 0 {
			fmt.Fprintf(out, "%d %x\n", i, sum)
		}
	}
	return fmt.Sprintf("%x", out.Sum(nil))
}

// task runs one to its end, on a peer if one is named.
func (w *workload) task(ctx context.Context, seed uint64, steps int, on string) (api.Task, error) {
	t, err := w.node.api.Submit(ctx, &api.Submission{
		Name: "guest", Args: []string{"chain", strconv.Itoa(steps)}, Seed: seed,
		Terms: api.Terms{Where: "remote", Detached: true, Verify: w.verify, On: on},
	}, w.wasm)
	if err != nil {
		return t, err
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ended, err := w.node.api.Wait(waiting, t.ID)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return w.node.api.Task(ctx, t.ID) // as it is, which is not ended
	}
	return ended, err
}

// run runs all tasks.
func (w *workload) run(ctx context.Context) ([]result, error) {
	results := make([]result, w.tasks)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(w.inFlight)
	rng := rand.New(rand.NewPCG(w.seed, 1))
	for i := range results {
		sizes := w.few
		if rng.Float64() < w.longShare {
			sizes = w.long
		}
		s := sizes[rng.IntN(len(sizes))]
		g.Go(func() error {
			t, err := w.task(ctx, uint64(i)+1, s.steps, "")
			results[i] = result{task: t, right: t.StdoutDigest != nil && *t.StdoutDigest == s.digest}
			return err
		})
	}
	err := g.Wait()
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, context.Canceled) {
		err = cause
	}
	return results, err
}
