package donor

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/spare-network/spare/protocol"
)

// Donor tells whether the machine donates now. Until Run has taken its first
// samples it does.
type Donor struct {
	cfg  Config
	read func(whole bool) (cpuTimes, error)

	mu           sync.Mutex
	availability protocol.Availability
	reason       string
}

// New returns a Donor that follows cfg.Mode.
func New(cfg Config) *Donor {
	d := &Donor{cfg: cfg, read: readCPUTimes, availability: protocol.Open, reason: "donating always"}
	if cfg.Mode == Idle {
		d.reason = "donating, the owner's activity is not measured yet"
	}
	return d
}

// State returns whether the machine donates now, [protocol.Open] or
// [protocol.OwnerBusy], and why, with the figures.
func (d *Donor) State() (protocol.Availability, string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.availability, d.reason
}

// Run watches the owner's activity until ctx ends, and returns nil then.
func (d *Donor) Run(ctx context.Context) error {
	if d.cfg.Mode != Idle {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	var w watch
	var last cpuTimes
	failed := false
	for {
		times, err := d.sample(last)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			d.set(protocol.Open, "owner activity unknown on "+runtime.GOOS+", donating always")
			<-ctx.Done()
			return nil
		case err != nil:
			if !failed {
				d.cfg.Logger.Warn("the owner's activity cannot be read", "err", err)
			}
			w, times = watch{}, cpuTimes{}
			d.set(protocol.Open, "owner activity unknown, donating always: "+protocol.SafeText(err.Error()))
		default:
			if share, known := others(last, times); known && last != (cpuTimes{}) {
				w.note(time.Now(), share)
			}
			d.set(w.state())
		}
		failed, last = err != nil, times
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
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

func (d *Donor) set(a protocol.Availability, reason string) {
	d.mu.Lock()
	changed := a != d.availability
	d.availability, d.reason = a, reason
	d.mu.Unlock()
	if !changed {
		return
	}
	d.cfg.Logger.Info("availability changed", "now", a.Word(), "reason", reason)
	if d.cfg.Changed != nil {
		d.cfg.Changed()
	}
}
