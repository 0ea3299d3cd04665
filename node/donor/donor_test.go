package donor

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spare-network/spare/protocol"
)

// machine is a host of one CPU in virtual time, 100 ticks a second.
type machine struct {
	mu            sync.Mutex
	at            time.Time
	times         cpuTimes
	guests, owner float64 // share that each uses
	err           error
	wholes        int // reads that looked at all processes
}

func (m *machine) read(whole bool) (cpuTimes, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance()
	t := m.times
	t.ownKnown = whole
	if whole {
		m.wholes++
	} else {
		t.own = 0
	}
	return t, m.err
}

func (m *machine) advance() {
	ticks := time.Since(m.at).Seconds() * 100
	m.at = time.Now()
	m.times.passed += uint64(ticks)
	m.times.used += uint64(ticks * (m.guests + m.owner))
	m.times.own += uint64(ticks * m.guests)
}

// load changes what runs on the machine from now on, and whether that can be
// read. It returns how often all processes were looked at so far.
func (m *machine) load(guests, owner float64, err error) (wholes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance()
	m.guests, m.owner, m.err = guests, owner, err
	return m.wholes
}

func TestDonorPausesForItsOwnerOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{at: time.Now(), times: cpuTimes{passed: 1e6, used: 1e5}}
		changes := 0
		d := New(Config{Mode: Idle, Changed: func() { changes++ }, Logger: quietLogger()})
		d.read = m.read
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()

		after := func(wait time.Duration, what string, want protocol.Availability, words string) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			if got, reason := d.State(); got != want || !strings.Contains(reason, words) {
				t.Errorf("%s: %s, %q, want %s, %q", what, got.Word(), reason, want.Word(), words)
			}
		}
		after(0, "at first", protocol.Open, "not measured yet")
		after(10*time.Second, "idle", protocol.Open, "use 0 %")
		if n := m.load(1, 0, nil); n != 0 {
			t.Errorf("all processes were looked at %d times on an idle machine", n)
		}
		after(time.Minute, "only our guests", protocol.Open, "use 0 %")
		if m.load(0.4, 0.6, nil) == 0 {
			t.Error("our own part was never read on a busy machine")
		}
		after(8*time.Second, "the owner is back", protocol.OwnerBusy, "use 60 %")
		m.load(0, 0.02, nil)
		after(20*time.Second, "the owner has gone", protocol.OwnerBusy, "they use 2 % now")
		after(16*time.Second, "for a while", protocol.Open, "use 2 %")
		if changes != 2 {
			t.Errorf("told of %d changes, want 2", changes)
		}
		m.load(0, 0.9, nil)
		after(8*time.Second, "back again", protocol.OwnerBusy, "use 90 %")
		m.load(0, 0.9, fs.ErrPermission)
		after(4*time.Second, "nothing can be read", protocol.Open, "owner activity unknown, donating always: permission denied")
		m.load(0, 0.9, nil)
		after(10*time.Second, "it can again", protocol.OwnerBusy, "use 90 %")
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestDonorThatCannotKnow(t *testing.T) {
	for _, c := range []struct {
		name   string
		mode   Mode
		reason string
	}{
		{"always", Always, "donating always"},
		{"idle where that is not known", Idle, "owner activity unknown on "},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := New(Config{Mode: c.mode, Logger: quietLogger()})
				reads := 0
				d.read = func(bool) (cpuTimes, error) { reads++; return cpuTimes{}, errors.ErrUnsupported }
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- d.Run(ctx) }()
				time.Sleep(time.Minute)
				if got, reason := d.State(); got != protocol.Open || !strings.HasPrefix(reason, c.reason) {
					t.Errorf("%s: %q", got.Word(), reason)
				}
				if reads > 1 {
					t.Errorf("tried %d times to read what cannot be", reads)
				}
				cancel()
				if err := <-done; err != nil {
					t.Errorf("Run: %v", err)
				}
			})
		})
	}
}
