package donor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/spare-network/spare/protocol"
)

// Store keeps small records through restarts.
type Store interface {
	// State returns the record of a name, or nil.
	State(name string) ([]byte, error)
	// SaveState stores one; it is safe on disk when SaveState returns.
	SaveState(name string, record []byte) error
}

// recordName is that of what the owner has decided, in a Store.
const recordName = "donation"

// record is what the owner has decided while the node ran.
type record struct {
	Pause *Pause `json:"pause,omitempty"`
}

// Donor tells whether the machine donates now, by what its owner has decided and
// by what the owner does. Until Run has taken its first samples the owner is
// taken to do nothing.
type Donor struct {
	cfg     Config
	read    func(whole bool) (cpuTimes, error)
	decided chan struct{} // wakes Run

	// deciding is held while a decision is made and stored, and stands above mu.
	deciding sync.Mutex

	mu      sync.Mutex
	decides record
	seen    sight
	stance  Stance
}

// New returns a Donor that follows cfg.Mode, and what was decided in an earlier
// run of the node.
func New(cfg Config) (*Donor, error) {
	d := &Donor{cfg: cfg, read: readCPUTimes, decided: make(chan struct{}, 1), seen: sight{reason: "donating always"}}
	if cfg.Mode == Idle {
		d.seen.reason = "donating, the owner's activity is not measured yet"
	}
	if cfg.Store != nil {
		b, err := cfg.Store.State(recordName)
		if err != nil {
			return nil, err
		}
		if b != nil {
			if err := json.Unmarshal(b, &d.decides); err != nil {
				return nil, protocol.Errorf(protocol.CodeFile, "what was decided about donating cannot be read: %v", err).
					WithHint("remove state/donation.json from the home, and decide again")
			}
		}
	}
	d.stance = decide(time.Now(), d.decides.Pause, d.seen)
	return d, nil
}

// State returns whether the machine donates now, and why or why not.
func (d *Donor) State() Stance {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stance
}

// Pause has nothing new of others run from now on, until p is over or Resume.
// It returns when that is on disk.
func (d *Donor) Pause(p Pause) error {
	p.Until = p.Until.Round(0) // by the clock on the wall
	return d.change(func(r *record) { r.Pause = &p })
}

// Resume takes a pause back.
func (d *Donor) Resume() error { return d.change(func(r *record) { r.Pause = nil }) }

// change stores what is decided, and then follows it.
func (d *Donor) change(by func(*record)) error {
	d.deciding.Lock()
	defer d.deciding.Unlock()
	d.mu.Lock()
	next := d.decides
	d.mu.Unlock()
	by(&next)
	if d.cfg.Store != nil {
		b, err := json.Marshal(next)
		if err != nil {
			return fmt.Errorf("encode what was decided: %w", err)
		}
		if err := d.cfg.Store.SaveState(recordName, b); err != nil {
			return err
		}
	}
	d.mu.Lock()
	d.decides = next
	d.mu.Unlock()
	d.follow(time.Now())
	select {
	case d.decided <- struct{}{}:
	default: // it will see the newest
	}
	return nil
}

// longestWait is how late a change by the clock may be noticed when that was
// set, or the machine slept.
const longestWait = time.Minute

// Run watches the owner's activity, and the clock, until ctx ends, and returns
// nil then.
func (d *Donor) Run(ctx context.Context) error {
	w := &observer{d: d, blind: d.cfg.Mode != Idle}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-d.decided:
		}
		now := time.Now()
		wait := longestWait
		if !w.blind {
			wait = w.look(now)
		}
		switch until := d.follow(now).Until; {
		case !until.IsZero():
			wait = min(wait, max(0, until.Sub(now.Round(0))))
		case w.blind:
			timer.Stop() // nothing but a decision changes anything
			continue
		}
		timer.Reset(wait)
	}
}

// observer reads what the owner's programs use, for one Run.
type observer struct {
	d      *Donor
	blind  bool // it need not, or cannot, be known
	failed bool
	last   cpuTimes
	at     time.Time // when last was read
	watch
}

// look takes a sample when it is time for one, and returns when the next is.
func (o *observer) look(now time.Time) time.Duration {
	if wait := sampleEvery - now.Sub(o.at); !o.at.IsZero() && wait > 0 {
		return wait
	}
	o.at = now
	times, err := o.d.sample(o.last)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		o.blind = true
		o.d.see(sight{reason: "owner activity unknown on " + runtime.GOOS + ", donating always"})
	case err != nil:
		if !o.failed {
			o.d.cfg.Logger.Warn("the owner's activity cannot be read", "err", err)
		}
		o.watch, times = watch{}, cpuTimes{}
		o.d.see(sight{reason: "owner activity unknown, donating always: " + protocol.SafeText(err.Error())})
	default:
		if share, known := others(o.last, times); known && o.last != (cpuTimes{}) {
			o.note(now, share)
		}
		o.d.see(o.sight())
	}
	o.failed, o.last = err != nil, times
	return sampleEvery
}

// sample reads the CPU times. Our own are read only when the whole machine was
// busy since last: they take a look at every process, which would be most of
// what an idle node does.
func (d *Donor) sample(last cpuTimes) (cpuTimes, error) {
	times, err := d.read(false)
	if err != nil {
		return times, err
	}
	if used, known := others(last, times); known && used < busyShare {
		return times, nil
	}
	return d.read(true)
}

func (d *Donor) see(s sight) {
	d.mu.Lock()
	d.seen = s
	d.mu.Unlock()
}

// follow decides anew, tells of a change, and returns what is decided.
func (d *Donor) follow(now time.Time) Stance {
	d.mu.Lock()
	before := d.stance
	d.stance = decide(now, d.decides.Pause, d.seen)
	s := d.stance
	d.mu.Unlock()
	if s.Availability == before.Availability && s.HandOver == before.HandOver {
		return s
	}
	d.cfg.Logger.Info("availability changed", "now", s.Availability.Word(), "hand over", s.HandOver, "reason", s.Reason)
	if d.cfg.Changed != nil {
		d.cfg.Changed()
	}
	return s
}
