package donor

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spare-network/spare/protocol"
)

// machine is a host of one CPU in virtual time, 10,000 ticks a second.
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
	ticks := time.Since(m.at).Seconds() * 10_000
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
		d := open(t, Config{Changed: func() { changes++ }})
		d.host.cpu = m.read
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()

		after := func(wait time.Duration, what string, want protocol.Availability, words string) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			if got := d.State(); got.Availability != want || !strings.Contains(got.Reason, words) {
				t.Errorf("%s: %+v, want %s, %q", what, got, want.Word(), words)
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
		after(1900*time.Millisecond, "the owner is back", protocol.OwnerBusy, "use 60 %")
		if !d.State().Hold {
			t.Error("guests go on while the owner's programs want the CPUs")
		}
		m.load(0, 0.02, nil)
		after(20*time.Second, "the owner has gone", protocol.OwnerBusy, "they use 2 % now")
		after(16*time.Second, "for a while", protocol.Open, "use 2 %")
		if changes != 3 {
			t.Errorf("told of %d changes, want 3: noticed, quiet, gone", changes)
		}
		m.load(0.2, 0.8, nil)
		after(8*time.Second, "back for longer", protocol.OwnerBusy, "use 80 %")
		if d.State().HandOver {
			t.Error("what runs is handed over as soon as the owner is back")
		}
		after(8*time.Second, "and stays", protocol.OwnerBusy, "use 80 %")
		if !d.State().HandOver || changes != 5 {
			t.Errorf("what runs is not handed over to others: %+v, %d changes", d.State(), changes)
		}
		m.load(0, 0, nil)
		after(4*time.Second, "no more", protocol.OwnerBusy, "they use 0 % now")
		if d.State().HandOver || d.State().Hold {
			t.Errorf("what runs is handed over, or held, still: %+v", d.State())
		}
		after(40*time.Second, "for long", protocol.Open, "use 0 %")
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

// However the samples fall, and whatever runs here, an owner who wants all of the
// machine has it to himself within two seconds.
func TestOwnerIsNoticedWithinTwoSeconds(t *testing.T) {
	for _, guests := range []float64{0, 0.1, 1} {
		for phase := time.Duration(0); phase < 2*sampleEvery; phase += 50 * time.Millisecond {
			synctest.Test(t, func(t *testing.T) {
				m := &machine{at: time.Now(), times: cpuTimes{passed: 1e6, used: 1e5}, guests: guests}
				d := open(t, Config{})
				d.host.cpu = m.read
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- d.Run(ctx) }()
				time.Sleep(20*time.Second + phase)
				if s := d.State(); s.Availability != protocol.Open {
					t.Errorf("guests that use %v: %+v", guests, s)
				}
				m.load(0, 1, nil)
				start := time.Now()
				for d.State().Availability == protocol.Open && time.Since(start) < time.Minute {
					time.Sleep(time.Millisecond)
				}
				if took := time.Since(start); took >= 2*time.Second {
					t.Errorf("guests that use %v, phase %v: it took %v", guests, phase, took)
				}
				cancel()
				if err := <-done; err != nil {
					t.Errorf("Run: %v", err)
				}
			})
		}
	}
}

func TestSomebodyAtTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{at: time.Now(), times: cpuTimes{passed: 1e6, used: 1e5}}
		d := open(t, Config{Flags: Rules{RuleIdle: "30s"}})
		d.host.cpu = m.read
		var mu sync.Mutex
		now := touched{last: time.Now(), known: true} // who started the node
		d.host.touched = func() touched {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
		tell := func(of func(*touched)) {
			mu.Lock()
			defer mu.Unlock()
			of(&now)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		after := func(wait time.Duration, what string, want protocol.Availability, handOver bool, words string) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			if got := d.State(); got.Availability != want || got.HandOver != handOver || !strings.Contains(got.Reason, words) {
				t.Errorf("%s: %+v, want %s, %v, %q", what, got, want.Word(), handOver, words)
			}
		}
		const why = "paused until nobody has used the keyboard, the mouse or a terminal for 30s"
		after(10*time.Second, "nobody", protocol.Open, false, "other programs use 0 %")
		tell(func(now *touched) { now.last = time.Now() })
		after(touchedEvery, "one key", protocol.OwnerBusy, false, why)
		after(15*time.Second, "and no more", protocol.OwnerBusy, false, why)
		after(15*time.Second, "for long", protocol.Open, false, "other programs use 0 %")
		for range handOverAfter / touchedEvery {
			tell(func(now *touched) { now.count++ })
			after(touchedEvery, "writing", protocol.OwnerBusy, false, why)
		}
		tell(func(now *touched) { now.count++ })
		after(touchedEvery, "and going on", protocol.OwnerBusy, true, why)
		tell(func(now *touched) { now.last = time.Now().Add(24 * time.Hour) })
		after(40*time.Second, "a clock that was wrong", protocol.Open, false, "other programs use 0 %")
		tell(func(now *touched) { now.count++ })
		after(touchedEvery, "back again", protocol.OwnerBusy, false, why)
		tell(func(now *touched) { *now = touched{} })
		after(touchedEvery, "nothing is known any more", protocol.Open, false, "other programs use 0 %")
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestHeatIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, Config{Flags: always})
		var degrees atomic.Int64
		degrees.Store(60)
		d.host.heat = func() heat { return heat{float64(degrees.Load()), 90} }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		after := func(celsius int64, wait time.Duration, want protocol.Availability, words string) {
			t.Helper()
			degrees.Store(celsius)
			time.Sleep(wait)
			synctest.Wait()
			if got := d.State(); got.Availability != want || got.HandOver != (want != protocol.Open) || !strings.Contains(got.Reason, words) {
				t.Errorf("at %d °C: %+v, want %s, %q", celsius, got, want.Word(), words)
			}
		}
		after(89, placeEvery, protocol.Open, "donating always")
		after(90, placeEvery, protocol.Paused, "paused until it has cooled down, it is 90 °C hot, the limit is 90 °C")
		after(60, placeEvery, protocol.Paused, "it is 60 °C hot")
		after(60, coolFor, protocol.Open, "donating always")
		after(95, placeEvery, protocol.Paused, "it is 95 °C hot")
		after(86, 10*time.Minute, protocol.Paused, "it is 86 °C hot")
		if err := d.Set(Rules{RuleHot: "ignore"}); err != nil {
			t.Fatal(err)
		}
		after(86, 0, protocol.Open, "donating always")
		if err := d.Set(Rules{RuleHot: ""}); err != nil {
			t.Fatal(err)
		}
		after(85, placeEvery, protocol.Open, "donating always")
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// open returns a Donor that logs nothing.
func open(t *testing.T, cfg Config) *Donor {
	t.Helper()
	cfg.Logger, cfg.Machine = quietLogger(), box
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.host = host{d.host.cpu, func() touched { return touched{} }, func() power { return noBattery }, func() heat { return heat{} }}
	return d
}

var (
	box    = Machine{CPUs: 4, HostBytes: 16 << 30, Speed: 1, Arch: "linux/amd64"}
	always = Rules{RuleIdle: "no"}
)

// drawer is a Store in memory, which may be out of order.
type drawer struct {
	records map[string][]byte
	err     error
}

func (d *drawer) State(name string) ([]byte, error) { return d.records[name], nil }

func (d *drawer) SaveState(name string, record []byte) error {
	if d.err == nil {
		d.records[name] = record
	}
	return d.err
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := &drawer{records: make(map[string][]byte)}
		changes := 0
		cfg := Config{Machine: box, Flags: always, Store: kept, Logger: quietLogger(), Changed: func() { changes++ }}
		var stop func()
		start := func() *Donor {
			d := open(t, cfg)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- d.Run(ctx) }()
			stop = func() {
				cancel()
				if err := <-done; err != nil {
					t.Errorf("Run: %v", err)
				}
			}
			return d
		}
		d := start()
		is := func(what string, want protocol.Availability, handOver bool, words string) {
			t.Helper()
			synctest.Wait()
			if got := d.State(); got.Availability != want || got.HandOver != handOver || !strings.Contains(got.Reason, words) {
				t.Errorf("%s: %+v, want %s, %v, %q", what, got, want.Word(), handOver, words)
			}
		}
		try := func(err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
		}
		is("at first", protocol.Open, false, "donating always")
		try(d.Pause(Pause{}))
		is("paused", protocol.Paused, true, "paused by hand until 'spare resume'")
		try(d.Pause(Pause{Finish: true}))
		is("what runs may end", protocol.Paused, false, "; what runs already may end")
		try(d.Resume())
		is("resumed", protocol.Open, false, "donating always")
		if changes != 3 {
			t.Errorf("told of %d changes, want 3", changes)
		}
		until := time.Now().Add(2 * time.Hour)
		try(d.Pause(Pause{Until: until, Finish: true}))
		is("for a while", protocol.Paused, false, "paused by hand until "+moment(time.Now(), until))
		time.Sleep(time.Hour)
		stop()
		d = start()
		is("after a restart", protocol.Paused, false, "paused by hand until "+moment(time.Now(), until))
		if got := d.State().Until; !got.Equal(until) {
			t.Errorf("it is over at %v, want %v", got, until)
		}
		time.Sleep(time.Hour - time.Second)
		is("a second before", protocol.Paused, false, "")
		time.Sleep(time.Second)
		is("when it is over", protocol.Open, false, "donating always")
		try(d.Pause(Pause{Until: time.Now().Add(time.Minute)}))
		stop()
		time.Sleep(time.Hour)
		d = start()
		is("over while the node was stopped", protocol.Open, false, "donating always")
		kept.err = errors.New("the disk is full")
		if err := d.Pause(Pause{}); !errors.Is(err, kept.err) {
			t.Errorf("what cannot be kept: %v", err)
		}
		is("what cannot be kept is not done", protocol.Open, false, "donating always")
		stop()
		kept.records[recordName] = []byte("{")
		if _, err := New(cfg); protocol.CodeOf(err) != protocol.CodeFile {
			t.Errorf("a damaged record: %v", err)
		}
	})
}

func TestMoment(t *testing.T) {
	now := time.Date(2026, time.March, 4, 12, 0, 0, 0, time.Local)
	zone := now.Format("MST")
	for want, at := range map[string]time.Time{
		"18:04 " + zone:             time.Date(2026, time.March, 4, 18, 4, 0, 0, time.Local),
		"12:00:10 " + zone:          now.Add(10 * time.Second),
		"Thu 00:00 " + zone:         time.Date(2026, time.March, 5, 0, 0, 0, 0, time.Local),
		"12 Mar 2026 12:00 " + zone: time.Date(2026, time.March, 12, 12, 0, 0, 0, time.Local),
	} {
		if got := moment(now, at); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestDonorThatCannotKnow(t *testing.T) {
	for _, c := range []struct {
		name   string
		flags  Rules
		reason string
	}{
		{"always", always, "donating always"},
		{"idle where that is not known", nil, "owner activity unknown on "},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := open(t, Config{Flags: c.flags})
				reads := 0
				d.host.cpu = func(bool) (cpuTimes, error) { reads++; return cpuTimes{}, errors.ErrUnsupported }
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- d.Run(ctx) }()
				time.Sleep(time.Minute)
				if got := d.State(); got.Availability != protocol.Open || !strings.HasPrefix(got.Reason, c.reason) {
					t.Errorf("%+v", got)
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
