package donor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
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
	Rules Rules  `json:"rules,omitempty"`
}

// Donor tells whether the machine donates now, by what its owner has decided and
// by what the owner does. Until Run has taken its first samples the owner is
// taken to do nothing.
type Donor struct {
	cfg     Config
	read    func(whole bool) (cpuTimes, error)
	power   func() power
	decided chan struct{} // wakes Run

	// deciding is held while a decision is made and stored, and stands above mu.
	deciding sync.Mutex

	mu       sync.Mutex
	decides  record
	allowed  Allowance
	settings []Setting
	capacity Capacity
	seen     sight
	stance   Stance
}

// Config is what a Donor is made of.
type Config struct {
	Machine Machine
	Flags   Rules  // come before all others
	File    Rules  // come last
	Store   Store  // of what the owner decides; nil: none
	Changed func() // called when the stance or the capacity has changed in more than words; may be nil
	Logger  *slog.Logger
}

// New returns a Donor that follows the rules, those of an earlier run of the node
// too. A rule that cannot be is a [protocol.CodeBadRequest].
func New(cfg Config) (*Donor, error) {
	d := &Donor{cfg: cfg, read: readCPUTimes, power: readPower, decided: make(chan struct{}, 1)}
	for _, r := range []Rules{cfg.Flags, cfg.File} {
		if err := r.Check(); err != nil {
			return nil, err
		}
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
	if err := d.decides.Rules.Check(); err != nil { // of another version, say
		cfg.Logger.Warn("the rules of donating are left out that were set while the node ran", "err", err)
		d.decides.Rules = nil
	}
	d.allowed, d.settings = settle(d.layers(d.decides))
	var err error
	if d.capacity, err = cfg.Machine.capacity(d.allowed); err != nil {
		return nil, err
	}
	d.seen = unseen(d.allowed)
	d.stance = decide(time.Now(), d.decides, d.allowed, d.seen)
	return d, nil
}

func (d *Donor) layers(r record) []layer {
	return []layer{{FromFlags, d.cfg.Flags}, {FromSet, r.Rules}, {FromFile, d.cfg.File}}
}

// unseen is what is known of the owner before anything was looked at.
func unseen(a Allowance) sight {
	if a.Idle == 0 {
		return sight{reason: "donating always"}
	}
	return new(watch).sight()
}

// Capacity returns what the machine gives now.
func (d *Donor) Capacity() Capacity {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.capacity
}

// Allowance returns what the owner allows now.
func (d *Donor) Allowance() Allowance {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.allowed
}

// Settings returns what holds of each rule, and where it was said.
func (d *Donor) Settings() []Setting {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.settings)
}

// Power says for people what the machine runs on.
func (d *Donor) Power() string { return d.power().words() }

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

// Set changes the rules that are named, from now on; one that is empty is taken
// back. It returns when that is on disk, or fails, with
// [protocol.CodeBadRequest], when one of them cannot be.
func (d *Donor) Set(rules Rules) error {
	return d.change(func(r *record) {
		r.Rules = maps.Clone(r.Rules)
		if r.Rules == nil {
			r.Rules = make(Rules)
		}
		for name, text := range rules {
			if r.Rules[name] = text; text == "" {
				delete(r.Rules, name)
			}
		}
	})
}

// change stores what is decided, and then follows it.
func (d *Donor) change(by func(*record)) error {
	d.deciding.Lock()
	defer d.deciding.Unlock()
	d.mu.Lock()
	next := d.decides
	d.mu.Unlock()
	by(&next)
	if err := next.Rules.Check(); err != nil {
		return err
	}
	allowed, settings := settle(d.layers(next))
	capacity, err := d.cfg.Machine.capacity(allowed)
	if err != nil {
		return err
	}
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
	if allowed.Idle != d.allowed.Idle {
		seen := unseen(allowed)
		seen.power = d.seen.power
		d.seen = seen
	}
	resized := capacity != d.capacity || allowed.DiskBytes != d.allowed.DiskBytes || allowed.CPU != d.allowed.CPU
	d.decides, d.allowed, d.settings, d.capacity = next, allowed, settings, capacity
	d.mu.Unlock()
	d.follow(time.Now(), resized)
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
	w := &observer{d: d}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-d.decided:
		}
		now, a := time.Now(), d.Allowance()
		wait := min(w.look(now, a), w.lookAtPower(now, a))
		if until := d.follow(now, false).Until; !until.IsZero() {
			wait = min(wait, longestWait, max(0, until.Sub(now.Round(0))))
		}
		timer.Reset(wait)
	}
}

// observer reads what the owner's programs use, and the machine runs on, for one
// Run.
type observer struct {
	d       *Donor
	blind   bool // what they use cannot be known
	failed  bool
	last    cpuTimes
	at      time.Time // when last was read
	powerAt time.Time // when the power was
	watch
}

// never is when there is nothing to look at.
const never = 24 * time.Hour

// lookAtPower reads what the machine runs on when it is time, and returns when it
// is again.
func (o *observer) lookAtPower(now time.Time, a Allowance) time.Duration {
	if a.Battery {
		return never
	}
	if wait := powerEvery - now.Sub(o.powerAt); !o.powerAt.IsZero() && wait > 0 {
		return wait
	}
	o.powerAt = now
	p := o.d.power()
	o.d.mu.Lock()
	o.d.seen.power = p
	o.d.mu.Unlock()
	if p == onMains || p == onBattery {
		return powerEvery
	}
	return never
}

// look takes a sample when it is time for one, and returns when the next is.
func (o *observer) look(now time.Time, a Allowance) time.Duration {
	if a.Idle == 0 {
		o.watch, o.last, o.at = watch{}, cpuTimes{}, time.Time{}
		o.d.see(unseen(a))
		return never
	}
	if o.blind {
		o.d.see(sight{reason: "owner activity unknown on " + runtime.GOOS + ", donating always"})
		return never
	}
	o.idle = a.Idle
	if wait := sampleEvery - now.Sub(o.at); !o.at.IsZero() && wait > 0 {
		return wait
	}
	o.at = now
	times, err := o.d.sample(o.last)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		o.blind = true
		return o.look(now, a)
	case err != nil:
		if !o.failed {
			o.d.cfg.Logger.Warn("the owner's activity cannot be read", "err", err)
		}
		o.watch, times = watch{idle: a.Idle}, cpuTimes{}
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

// see notes what the owner's programs do.
func (d *Donor) see(s sight) {
	d.mu.Lock()
	s.power = d.seen.power
	d.seen = s
	d.mu.Unlock()
}

// follow decides anew, tells of a change, also of the capacity, and returns what
// is decided.
func (d *Donor) follow(now time.Time, resized bool) Stance {
	d.mu.Lock()
	before := d.stance
	d.stance = decide(now, d.decides, d.allowed, d.seen)
	s := d.stance
	d.mu.Unlock()
	same := s.Availability == before.Availability && s.HandOver == before.HandOver
	if same && !resized {
		return s
	}
	d.cfg.Logger.Info("availability changed", "now", s.Availability.Word(), "hand over", s.HandOver, "reason", s.Reason)
	if d.cfg.Changed != nil {
		d.cfg.Changed()
	}
	return s
}
