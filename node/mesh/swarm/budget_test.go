package swarm

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// sink is a stream that takes all that is written at once.
type sink struct {
	network.Stream
	bytes    atomic.Int64
	deadline time.Time
	late     atomic.Bool // something was written after its deadline
}

func (s *sink) Write(b []byte) (int, error) {
	if !s.deadline.IsZero() && time.Now().After(s.deadline) {
		s.late.Store(true)
	}
	s.bytes.Add(int64(len(b)))
	return len(b), nil
}

func (s *sink) SetWriteDeadline(t time.Time) error { s.deadline = t; return nil }
func (s *sink) Reset() error                       { return nil }

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget()
		free := new(sink)
		start := time.Now()
		if _, err := b.Pace(free).Write(make([]byte, 1<<30)); err != nil || time.Since(start) != 0 {
			t.Errorf("without a bound it took %v, %v", time.Since(start), err)
		}
		const rate = 1_000_000
		b.Set(rate)
		list := make([]*sink, 4)
		streams := make([]network.Stream, len(list))
		errs := make(chan error, len(list))
		for i := range list {
			list[i] = new(sink)
			streams[i] = b.Pace(list[i])
			// Each has to wait for longer than this.
			if err := streams[i].SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			go func() {
				_, err := streams[i].Write(make([]byte, 10*rate))
				errs <- err
			}()
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		var sum int64
		for i, s := range list {
			sum += s.bytes.Load()
			if n := s.bytes.Load(); n < 2*rate || n > 3*rate {
				t.Errorf("stream %d of 4 has sent %d bytes", i, n)
			}
			if s.late.Load() {
				t.Errorf("stream %d is given no time after its wait", i)
			}
		}
		if sum < 10*rate-int64(len(list))*slice || sum > 10*rate+slice {
			t.Errorf("%d bytes in 10 s, want %d", sum, 10*rate)
		}
		// What is small goes before what waits.
		start = time.Now()
		if _, err := b.Pace(new(sink)).Write(make([]byte, small-1)); err != nil || time.Since(start) != 0 {
			t.Errorf("a request waited %v, %v", time.Since(start), err)
		}
		if err := streams[0].Reset(); err != nil {
			t.Error(err)
		}
		if err := <-errs; !errors.Is(err, network.ErrReset) {
			t.Errorf("a stream that is reset: %v", err)
		}
		for range 3 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		b.Set(0)
		start = time.Now()
		if err := b.wait(t.Context(), 1<<30); err != nil || time.Since(start) > time.Second {
			t.Errorf("with no bound any more it took %v, %v", time.Since(start), err)
		}
	})
}

// spring is a stream from which there is always something to read.
type spring struct {
	network.Stream
	deadline time.Time
}

func (s *spring) Read(b []byte) (int, error) {
	if !s.deadline.IsZero() && time.Now().After(s.deadline) {
		return 0, os.ErrDeadlineExceeded
	}
	return len(b), nil
}

func (s *spring) SetReadDeadline(t time.Time) error { s.deadline = t; return nil }
func (s *spring) Reset() error                      { return nil }

// drop is a stream that ends with what it has.
type drop struct{ network.Stream }

func (drop) Read(b []byte) (int, error) { return len(b), io.EOF }

func TestReadingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, want = 1_000_000, 10_000_000
		b := NewBudget()
		start := time.Now()
		read := func(s network.Stream, bytes int) error {
			_, err := io.CopyN(io.Discard, s, int64(bytes))
			return err
		}
		if err := read(b.Sip(new(spring)), want); err != nil || time.Since(start) != 0 {
			t.Errorf("without a bound it took %v, %v", time.Since(start), err)
		}
		b.Set(rate)
		errs := make(chan error)
		for range 4 {
			go func() {
				s := b.Sip(new(spring))
				// Each has to wait for longer than this, which counts what the peer takes.
				err := s.SetReadDeadline(time.Now().Add(time.Second))
				errs <- errors.Join(err, read(s, want))
			}()
		}
		for range 4 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if took, least := time.Since(start), (4*want-2*slice)*time.Second/rate; took < least || took > least+2*time.Second {
			t.Errorf("%d bytes took %v, of %v", 4*want, took, least)
		}
		// The last bytes come with the end.
		start = time.Now()
		for range 100 {
			if n, err := b.Sip(new(drop)).Read(make([]byte, slice)); n != slice || !errors.Is(err, io.EOF) {
				t.Fatal(n, err)
			}
		}
		if took, least := time.Since(start), 98*slice*time.Second/rate; took < least {
			t.Errorf("streams that end at once took %v, at least %v was to be", took, least)
		}
		late := b.Sip(new(spring))
		if err := late.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Error(err)
		}
		if err := read(late, 1); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after its deadline: %v", err)
		}
		ended := b.Sip(new(spring))
		go func() { errs <- read(ended, want) }()
		time.Sleep(time.Second)
		if err := ended.Reset(); err != nil {
			t.Error(err)
		}
		if err := <-errs; !errors.Is(err, network.ErrReset) {
			t.Errorf("a stream that is reset: %v", err)
		}
	})
}

// A stream in small writes, which may go ahead, is bounded as any.
func TestSmallWritesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, piece, want = 1_000_000, 500, 4_000_000
		b := NewBudget()
		b.Set(rate)
		s := b.Pace(new(sink))
		start := time.Now()
		for range want / piece {
			if _, err := s.Write(make([]byte, piece)); err != nil {
				t.Fatal(err)
			}
		}
		if took, least := time.Since(start), (want-2*slice)*time.Second/rate; took < least {
			t.Errorf("%d bytes took %v, at least %v was to be", want, took, least)
		}
		if err := s.Reset(); err != nil {
			t.Error(err)
		}
	})
}
