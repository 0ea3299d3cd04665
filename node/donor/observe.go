package donor

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/spare-network/spare/protocol"
)

const (
	// longestWait is how late a change by the clock may be noticed when that was
	// set, or the machine slept.
	longestWait = time.Minute
	// never is when there is nothing to look at.
	never = 24 * time.Hour
)

// Run watches the owner's activity, the machine, and the clock, until ctx ends,
// and returns nil then.
func (d *Donor) Run(ctx context.Context) error {
	o := &observer{d: d, hands: hands{begun: time.Now()}}
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
		wait := min(o.look(now, a), o.lookAround(now, a))
		if until := d.follow(now, false).Until; !until.IsZero() {
			wait = min(wait, longestWait, max(0, until.Sub(now.Round(0))))
		}
		timer.Reset(wait)
	}
}

// observer reads what the owner's programs use, whether somebody is at the
// machine, and how the machine is, for one Run.
type observer struct {
	d       *Donor
	blind   bool // what programs use cannot be known
	failed  bool
	last    cpuTimes
	at      time.Time // when last was read
	handsAt time.Time // when the input was
	placeAt time.Time // when the place was
	thermo  thermo
	watch
	hands hands
}

// lookAround reads what the machine runs on, and how hot it is, when it is time,
// and returns when it is again. What a system does not tell is asked once.
func (o *observer) lookAround(now time.Time, a Allowance) time.Duration {
	if wait := placeEvery - now.Sub(o.placeAt); !o.placeAt.IsZero() && wait > 0 {
		return wait
	}
	o.d.mu.Lock()
	p := o.d.seen.place
	o.d.mu.Unlock()
	wait := never
	if !a.Battery {
		if p.power = o.d.host.power(); p.power == onMains || p.power == onBattery {
			wait = placeEvery
		}
	}
	if !a.Hot {
		p.heat = o.d.host.heat()
		if p.hot = o.thermo.note(now, p.heat); p.heat.known() {
			wait = placeEvery
		}
	}
	if o.placeAt = now; wait == never {
		o.placeAt = time.Time{} // a rule may change
	}
	o.d.mu.Lock()
	o.d.seen.place = p
	o.d.mu.Unlock()
	return wait
}

// look takes samples of the owner when it is time for one, and returns when the
// next is.
func (o *observer) look(now time.Time, a Allowance) time.Duration {
	if a.Idle == 0 {
		o.watch, o.last, o.at = watch{}, cpuTimes{}, time.Time{}
		o.hands.busy, o.handsAt = false, time.Time{}
		o.d.see(unseen(a))
		return never
	}
	seen, wait := o.lookAtPrograms(now, a)
	o.hands.idle = a.Idle
	if next := o.handsAt.Add(touchedEvery); o.handsAt.IsZero() || !now.Before(next) {
		o.handsAt = now
		o.hands.note(now, o.d.host.touched())
	}
	if o.hands.known || wait < never {
		wait = min(wait, o.handsAt.Add(touchedEvery).Sub(now))
	}
	o.d.see(o.hands.with(now, seen))
	return wait
}

// lookAtPrograms takes a sample of what others than spare use of the CPUs when it
// is time for one, and returns what is known of that, and when the next is.
func (o *observer) lookAtPrograms(now time.Time, a Allowance) (sight, time.Duration) {
	if o.blind {
		return sight{reason: "owner activity unknown on " + runtime.GOOS + ", donating always", blind: true}, never
	}
	o.idle = a.Idle
	every := sampleEvery
	if o.unsure() {
		every = surelyEvery
	}
	if wait := every - now.Sub(o.at); !o.at.IsZero() && wait > 0 {
		return o.said, wait
	}
	o.at = now
	times, err := o.d.sample(o.last)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		o.blind = true
		return o.lookAtPrograms(now, a)
	case err != nil:
		if !o.failed {
			o.d.cfg.Logger.Warn("the owner's activity cannot be read", "err", err)
		}
		o.watch, times = watch{idle: a.Idle}, cpuTimes{}
		o.said = sight{reason: "owner activity unknown, donating always: " + protocol.SafeText(err.Error()), blind: true}
	default:
		if o.last != (cpuTimes{}) {
			share, known := others(o.last, times)
			o.note(now, share, known)
		}
		o.said = o.sight()
	}
	o.failed, o.last = err != nil, times
	if o.unsure() {
		return o.said, surelyEvery
	}
	return o.said, sampleEvery
}

// sample reads the CPU times. Our own are read only when the whole machine was
// busy since last: they take a look at every process, which would be most of
// what an idle node does.
func (d *Donor) sample(last cpuTimes) (cpuTimes, error) {
	times, err := d.host.cpu(false)
	if err != nil {
		return times, err
	}
	if used, known := others(last, times); known && used < busyShare {
		return times, nil
	}
	return d.host.cpu(true)
}
