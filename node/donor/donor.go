package donor

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
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
	host    host
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

// host is how the machine is looked at.
type host struct {
	cpu     func(whole bool) (cpuTimes, error)
	touched func() touched
	power   func() power
	heat    func() heat
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
	d := &Donor{cfg: cfg, host: host{readCPUTimes, readTouched, readPower, readHeat}, decided: make(chan struct{}, 1)}
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
func (d *Donor) Power() string { return d.host.power().words() }

// Heat says for people how hot the machine is.
func (d *Donor) Heat() string { return d.host.heat().words() }

// Input says for people whether it is known here that somebody is at the machine.
func (d *Donor) Input() string { return d.host.touched().words() }

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
	if (allowed.Idle == 0) != (d.allowed.Idle == 0) { // else what was seen holds
		seen := unseen(allowed)
		seen.place = d.seen.place
		d.seen = seen
	}
	resized := capacity != d.capacity || allowed.DiskBytes != d.allowed.DiskBytes || allowed.CPU != d.allowed.CPU ||
		allowed.NetBytes != d.allowed.NetBytes
	d.decides, d.allowed, d.settings, d.capacity = next, allowed, settings, capacity
	d.mu.Unlock()
	d.follow(time.Now(), resized)
	select {
	case d.decided <- struct{}{}:
	default: // it will see the newest
	}
	return nil
}

// see notes what the owner's programs do.
func (d *Donor) see(s sight) {
	d.mu.Lock()
	s.place = d.seen.place
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
	same := s.Availability == before.Availability && s.HandOver == before.HandOver && s.Hold == before.Hold
	if same && !resized {
		return s
	}
	d.cfg.Logger.Info("availability changed", "now", s.Availability.Word(), "hand over", s.HandOver, "reason", s.Reason)
	if d.cfg.Changed != nil {
		d.cfg.Changed()
	}
	return s
}
