package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

// standStill counts the pool's processes that are stopped.
func standStill(t *testing.T, p *Pool) (n int) {
	t.Helper()
	for _, pid := range pids(p) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && bytes.Contains(b, []byte(") T ")) {
			n++
		}
	}
	return n
}

func TestGuestsStandStill(t *testing.T) {
	p := newPool(t, 3)
	const wall = 500 * time.Millisecond
	type end struct {
		outcome Outcome
		err     error
	}
	start := func(ctx context.Context, owner string, wall time.Duration) chan end {
		running, ended := make(chan struct{}), make(chan end, 1)
		x := execution(t, owner, spinIfAsked(), func(s *protocol.Spec) {
			s.Stdin = protocol.NewBlob([]byte{1})
			s.Limits.WallMs = uint64(wall.Milliseconds())
		})
		x.State = func(s protocol.State) {
			if s == protocol.StateRunning {
				close(running)
			}
		}
		go func() {
			outcome, err := p.Run(ctx, x)
			ended <- end{outcome, err}
		}()
		<-running
		return ended
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ours := start(ctx, "us", time.Hour)
	theirs := start(t.Context(), "them", time.Hour)
	p.Hold(true, "us")
	eventually(t, "they stand still", func() bool { return standStill(t, p) == 1 })

	// Who begins meanwhile stands still at once, and for no time of its own.
	begun := time.Now()
	later := start(t.Context(), "others", wall)
	eventually(t, "those who begin do, too", func() bool { return standStill(t, p) == 2 })
	select {
	case e := <-later:
		t.Errorf("one that stands still ended: %+v", e)
	case <-time.After(2 * wall):
	}
	p.Hold(true, "us") // again
	p.Hold(false, "us")
	eventually(t, "all go on", func() bool { return standStill(t, p) == 0 })
	if e := <-later; e.err != nil || e.outcome.Code != protocol.CodeTimeout || time.Since(begun) < 3*wall {
		t.Errorf("after %v: %+v", time.Since(begun), e)
	}

	// What is not wanted any more ends, though it stands still.
	p.Hold(true, "us")
	eventually(t, "they stand still again", func() bool { return standStill(t, p) == 1 })
	unwanted, stop := context.WithCancel(t.Context())
	more := start(unwanted, "more", time.Hour)
	eventually(t, "one more does", func() bool { return standStill(t, p) == 2 })
	stop()
	if e := <-more; !errors.Is(e.err, context.Canceled) {
		t.Errorf("what was cancelled: %+v", e)
	}
	eventually(t, "its process is gone", func() bool { return standStill(t, p) == 1 })
	cancel()
	if e := <-ours; !errors.Is(e.err, context.Canceled) {
		t.Errorf("ours: %+v", e)
	}
	if err := p.Close(); err != nil { // and the last of them with it
		t.Error(err)
	}
	if e := <-theirs; protocol.CodeOf(e.err) != protocol.CodeShutdown {
		t.Errorf("theirs: %+v", e)
	}
}

// A reply may be on its way already when its worker is stopped. Whoever runs
// there next does not stand still for that, and loses and gains no time.
func TestWhoFollowsAGuestThatHadEnded(t *testing.T) {
	for name, ahead := range map[string]bool{"once it is idle": false, "at once": true} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, 1)
			calls := entered(t, p, "them", 2)
			first, next := calls[0], calls[1]
			var told [2][]bool
			for i, c := range calls {
				c.x.Still = func(still bool) { told[i] = append(told[i], still) }
			}
			began := time.Now()
			w := puppet(t, p, first, "exec sleep 600")
			hand := func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				if !ahead {
					p.idle, p.busy = nil, 1
				}
				p.assign(next, w, time.Now(), new(actions))
			}
			if ahead {
				hand()
			}
			end := func(c *call) {
				t.Helper()
				if err := p.receive(w, &protocol.WorkerReply{Id: c.id, End: true, WallUs: uint64(time.Hour.Microseconds())}, new(actions)); err != nil {
					t.Fatal(err)
				}
			}
			const stood = 100 * time.Millisecond
			p.Hold(true, "us")
			eventually(t, "it stands still", func() bool { return standStill(t, p) == 1 })
			time.Sleep(stood)
			end(first)
			if !ahead {
				eventually(t, "the idle worker goes on", func() bool { return standStill(t, p) == 0 })
				hand()
			}
			eventually(t, "the next one stands still", func() bool { return standStill(t, p) == 1 })
			p.Hold(false, "us")
			if now := time.Now(); next.sent.After(now) || next.started.After(now) {
				t.Errorf("it begins in %v", next.started.Sub(now))
			}
			end(next)
			for i, c := range calls {
				if o := c.outcome; c.err != nil || o.Code != "" || o.Wall < 0 {
					t.Errorf("call %d: %+v, %v", i, o, c.err)
				}
				if !slices.Equal(told[i], []bool{true, false}) {
					t.Errorf("call %d was told %v", i, told[i])
				}
			}
			if first.outcome.Wall > time.Since(began)-stood {
				t.Errorf("the first one's time is %v", first.outcome.Wall)
			}
			eventually(t, "nobody stands still", func() bool { return standStill(t, p) == 0 })
			p.readers.Go(func() { p.read(w) })
		})
	}
}
