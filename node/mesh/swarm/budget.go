package swarm

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"golang.org/x/time/rate"
)

const (
	// slice is how many bytes are sent or read at once of what a [Budget] bounds: little
	// enough that streams take turns.
	slice = 32 << 10
	// small is what does not wait, though it counts: the requests and headers that
	// such streams begin with. Only a quarter of the budget goes ahead like that, or
	// a stream in small writes would know no bound.
	small = 1 << 10
)

// Budget is how many bytes a second this node may send to all peers together, or
// take from them, of what is counted: not what rides in messages, up to 64 KiB each,
// which never waits. Its methods may be called from many goroutines.
type Budget struct {
	limiter *rate.Limiter
	ahead   *rate.Limiter // of what is small, and does not wait
}

// NewBudget returns one without a bound.
func NewBudget() *Budget {
	return &Budget{rate.NewLimiter(rate.Inf, slice), rate.NewLimiter(rate.Inf, slice)}
}

// Set bounds what is sent, or taken, from now on, in bytes a second; 0 is no bound.
func (b *Budget) Set(bytesPerSecond int64) {
	all, ahead := rate.Limit(bytesPerSecond), rate.Limit(bytesPerSecond)/4
	if bytesPerSecond == 0 {
		all, ahead = rate.Inf, rate.Inf
	}
	b.limiter.SetLimit(all)
	b.ahead.SetLimit(ahead)
}

// wait waits until so many bytes may pass, in slices, so that many who wait
// take turns.
func (b *Budget) wait(ctx context.Context, bytes int) error {
	if bytes < small && b.ahead.AllowN(time.Now(), bytes) {
		b.limiter.ReserveN(time.Now(), bytes)
		return nil
	}
	for ; bytes > 0; bytes -= slice {
		if err := b.limiter.WaitN(ctx, min(bytes, slice)); err != nil {
			return err
		}
	}
	return nil
}

// Pace returns the stream with its writing bounded by the budget. The time until
// a write's deadline is for each slice, and the wait for the budget is no part of
// it.
func (b *Budget) Pace(s network.Stream) network.Stream {
	p := &paced{Stream: s, budget: b}
	p.ctx, p.end = context.WithCancel(context.Background())
	return p
}

type paced struct {
	network.Stream
	budget *Budget
	ctx    context.Context // until the stream is closed or reset
	end    context.CancelFunc

	mu     sync.Mutex
	within time.Duration // of each slice; 0: without end
}

// SetWriteDeadline implements [network.MuxedStream].
func (p *paced) SetWriteDeadline(t time.Time) error {
	p.mu.Lock()
	p.within = 0
	if !t.IsZero() {
		p.within = max(1, time.Until(t))
	}
	p.mu.Unlock()
	return p.Stream.SetWriteDeadline(t)
}

// Write implements [network.MuxedStream].
func (p *paced) Write(b []byte) (written int, err error) {
	if p.budget.limiter.Limit() == rate.Inf {
		return p.Stream.Write(b)
	}
	for len(b) > 0 {
		piece := b[:min(len(b), slice)]
		if p.budget.wait(p.ctx, len(piece)) != nil {
			return written, network.ErrReset
		}
		p.mu.Lock()
		within := p.within
		p.mu.Unlock()
		if within > 0 {
			if err := p.Stream.SetWriteDeadline(time.Now().Add(within)); err != nil {
				return written, err
			}
		}
		n, err := p.Stream.Write(piece)
		written += n
		if err != nil {
			return written, err
		}
		b = b[n:]
	}
	return written, nil
}

// Close implements [network.MuxedStream].
func (p *paced) Close() error {
	p.end()
	return p.Stream.Close()
}

// Reset implements [network.MuxedStream].
func (p *paced) Reset() error {
	p.end()
	return p.Stream.Reset()
}

// ResetWithError implements [network.MuxedStream].
func (p *paced) ResetWithError(code network.StreamErrorCode) error {
	p.end()
	return p.Stream.ResetWithError(code)
}

// CloseWrite implements [network.MuxedStream].
func (p *paced) CloseWrite() error {
	p.end()
	return p.Stream.CloseWrite()
}
