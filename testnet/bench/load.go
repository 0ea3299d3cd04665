package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// messageSize is the size of each request and of its reply, in bytes.
const messageSize = 1 << 10

var errWrongReply = errors.New("the reply is not what was sent")

// echo sends a request somewhere and returns the reply.
type echo func(ctx context.Context, request []byte) ([]byte, error)

// messages makes requests that all differ.
type messages struct{ last atomic.Uint64 }

func (m *messages) next() []byte {
	n := m.last.Add(1)
	b := make([]byte, 0, messageSize)
	for rng := rand.NewPCG(n, 0); len(b) < messageSize; {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return b
}

// figures are what one load came to.
type figures struct {
	took []time.Duration // each request, the shortest first
	wall time.Duration
}

// quantile returns the time within which the fraction q of the requests ended.
func (f figures) quantile(q float64) float64 {
	return f.took[int(q*float64(len(f.took)-1))].Seconds()
}

// rate is in requests per second.
func (f figures) rate() float64 { return float64(len(f.took)) / f.wall.Seconds() }

// load keeps inFlight requests under way for a while. The first that fails, or
// whose reply is not its request, ends it.
func (m *messages) load(ctx context.Context, inFlight int, lasts time.Duration, do echo) (figures, error) {
	each := make([][]time.Duration, inFlight)
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for i := range inFlight {
		group.Go(func() error {
			for time.Since(start) < lasts {
				request := m.next()
				sent := time.Now()
				reply, err := do(ctx, request)
				each[i] = append(each[i], time.Since(sent))
				if err == nil && !bytes.Equal(reply, request) {
					err = errWrongReply
				}
				if err != nil {
					return fmt.Errorf("%d in flight: %w", inFlight, err)
				}
			}
			return nil
		})
	}
	err := group.Wait()
	f := figures{took: slices.Concat(each...), wall: time.Since(start)}
	slices.Sort(f.took)
	return f, err
}
