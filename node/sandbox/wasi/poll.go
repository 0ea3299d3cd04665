package wasi

import (
	"encoding/binary"
	"math"
)

// Sizes and tags of poll_oneoff
// (https://github.com/WebAssembly/WASI/blob/snapshot-01/phases/snapshot/docs.md#-subscription-struct).
const (
	subscriptionSize = 48
	eventSize        = 32
	maxSubscriptions = 4096

	tagClock   = 0
	tagFDRead  = 1
	tagFDWrite = 2

	flagAbsolute = 1
)

// pollOneoff answers the subscriptions at a[0] with events to a[1], in their
// order, and writes their number to a[3]. Every descriptor is always ready;
// when none is asked for, the guest's time jumps to the earliest timeout.
// CPython's time.sleep waits for an absolute one, which wazero refuses.
func (w *World) pollOneoff(m Memory, a []uint64) error {
	n := uint64(uint32(a[2]))
	if n == 0 || n > maxSubscriptions {
		return EINVAL
	}
	if err := w.charge(n * priceSubscription); err != nil {
		return err
	}
	in, err := view(m, a[0], n*subscriptionSize)
	if err != nil {
		return err
	}
	out, err := view(m, a[1], n*eventSize)
	if err != nil {
		return err
	}
	count, err := view(m, a[3], 4)
	if err != nil {
		return err
	}
	wait, err := w.shortest(in)
	if err != nil {
		return err
	}
	w.events = w.events[:0] // apart from the guest's memory, where both may overlap
	for s := in; len(s) > 0; s = s[subscriptionSize:] {
		if s[8] != tagClock {
			w.event(s, w.ready(s))
		} else if d, _ := w.timeout(s); d <= wait {
			w.event(s, readiness{})
		}
	}
	binary.LittleEndian.PutUint32(count, uint32(len(w.events)/eventSize))
	copy(out, w.events)
	w.sleep(wait)
	return nil
}

// shortest checks the subscriptions and returns how long to sleep, in
// nanoseconds: until the earliest timeout, or not at all with a descriptor.
func (w *World) shortest(subscriptions []byte) (int64, error) {
	wait := int64(math.MaxInt64)
	for s := subscriptions; len(s) > 0; s = s[subscriptionSize:] {
		switch s[8] {
		case tagClock:
			d, err := w.timeout(s)
			if err != nil {
				return 0, err
			}
			wait = min(wait, d)
		case tagFDRead, tagFDWrite:
			wait = 0
		default:
			return 0, EINVAL
		}
	}
	return wait, nil
}

// timeout is how far from now a clock subscription is, in nanoseconds.
func (w *World) timeout(subscription []byte) (int64, error) {
	at := binary.LittleEndian.Uint64(subscription[24:])
	flags := binary.LittleEndian.Uint16(subscription[40:])
	clock := binary.LittleEndian.Uint32(subscription[16:])
	if clock > clockMonotonic || flags&^flagAbsolute != 0 {
		return 0, EINVAL // waiting moves no clock of CPU time
	}
	if flags&flagAbsolute != 0 {
		now, err := w.readClock(clock)
		if err != nil {
			return 0, err
		}
		switch {
		case now < 0: // before 1970: its distance may be more than an int64
			at += uint64(-now)
			if at < uint64(-now) {
				at = math.MaxUint64
			}
		case at <= uint64(now):
			return 0, nil
		default:
			at -= uint64(now)
		}
	}
	return int64(min(at, math.MaxInt64)), nil
}

// readiness is the outcome of a subscription.
type readiness struct {
	errno Errno
	bytes uint64 // that can be read
}

func (w *World) ready(subscription []byte) readiness {
	d, err := w.table.get(uint64(binary.LittleEndian.Uint32(subscription[16:])))
	switch {
	case err != nil:
		return readiness{errno: EBADF}
	case subscription[8] == tagFDWrite:
		return readiness{}
	case d.stdin != nil:
		return readiness{bytes: 1} // or the end; a read tells
	case d.kind == kindFile && d.node.size > d.offset:
		return readiness{bytes: d.node.size - d.offset}
	default:
		return readiness{}
	}
}

func (w *World) event(subscription []byte, r readiness) {
	var event [eventSize]byte
	copy(event[:8], subscription) // user data
	binary.LittleEndian.PutUint16(event[8:], uint16(r.errno))
	event[10] = subscription[8]
	binary.LittleEndian.PutUint64(event[16:], r.bytes)
	w.events = append(w.events, event[:]...)
}
