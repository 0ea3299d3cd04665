package swarm

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"golang.org/x/time/rate"
)

// Sip returns the stream with its reading bounded by the budget: what has come is
// paid for before more is read, which holds back whoever sends it. The wait is no
// part of the time until a read's deadline.
func (b *Budget) Sip(s network.Stream) network.Stream {
	t := &sipped{Stream: s, budget: b}
	t.ctx, t.end = context.WithCancel(context.Background())
	return t
}

type sipped struct {
	network.Stream
	budget *Budget
	ctx    context.Context // until the stream is closed or reset
	end    context.CancelFunc

	mu    sync.Mutex
	until time.Time // of reading; zero: without end
}

// SetReadDeadline implements [network.MuxedStream].
func (s *sipped) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = t
	return s.Stream.SetReadDeadline(t)
}

// Read implements [network.MuxedStream].
func (s *sipped) Read(b []byte) (int, error) {
	if s.budget.limiter.Limit() == rate.Inf {
		return s.Stream.Read(b)
	}
	n, err := s.Stream.Read(b[:min(len(b), slice)])
	if n == 0 {
		return n, err
	}
	came := time.Now()
	if s.budget.wait(s.ctx, n) != nil {
		return n, network.ErrReset
	}
	if err != nil {
		return n, err // the last bytes may come with it
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if waited := time.Since(came); waited > 0 && !s.until.IsZero() {
		s.until = s.until.Add(waited)
		err = s.Stream.SetReadDeadline(s.until)
	}
	return n, err
}

// Close implements [network.MuxedStream].
func (s *sipped) Close() error {
	s.end()
	return s.Stream.Close()
}

// CloseRead implements [network.MuxedStream].
func (s *sipped) CloseRead() error {
	s.end()
	return s.Stream.CloseRead()
}

// Reset implements [network.MuxedStream].
func (s *sipped) Reset() error {
	s.end()
	return s.Stream.Reset()
}

// ResetWithError implements [network.MuxedStream].
func (s *sipped) ResetWithError(code network.StreamErrorCode) error {
	s.end()
	return s.Stream.ResetWithError(code)
}
