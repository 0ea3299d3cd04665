package sandbox

import "encoding/binary"

// Sizes and tags of poll_oneoff
// (https://github.com/WebAssembly/WASI/blob/snapshot-01/phases/snapshot/docs.md#-subscription-struct).
const (
	subscriptionSize = 48
	eventSize        = 32
	maxSubscriptions = 1 << 16

	tagClock   = 0
	tagFDRead  = 1
	tagFDWrite = 2

	clockRealtime  = 0
	clockMonotonic = 1
	flagAbsolute   = 1
)

// errno is a WASI error number.
type errno uint16

const (
	success errno = 0
	eBadFD  errno = 8
	eFault  errno = 21
	eInval  errno = 28
)

// poll answers subscriptions with events, one of at most [eventSize] bytes
// for each, and returns how many. Standard streams are always ready; without
// one of them the guest's clock jumps to the earliest timeout.
//
// It replaces the engine's own function, which sleeps relative times only:
// CPython's time.sleep waits for an absolute one.
func (g *guest) poll(subscriptions, events []byte) (int, errno) {
	n := 0
	report := func(subscription []byte, e errno) {
		event := events[n*eventSize:][:eventSize]
		clear(event)
		copy(event, subscription[:8]) // user data
		binary.LittleEndian.PutUint16(event[8:], uint16(e))
		event[10] = subscription[8]
		n++
	}
	sleep := int64(-1)
	for s := subscriptions; len(s) > 0; s = s[subscriptionSize:] {
		switch s[8] {
		case tagClock:
			d, e := g.timeout(s)
			if e != success {
				return 0, e
			}
			if sleep < 0 || d < sleep {
				sleep = d
			}
		case tagFDRead, tagFDWrite:
			if fd := binary.LittleEndian.Uint32(s[16:]); fd > 2 {
				report(s, eBadFD)
			} else {
				report(s, success)
			}
		default:
			return 0, eInval
		}
	}
	if n > 0 {
		sleep = 0
	}
	for s := subscriptions; len(s) > 0; s = s[subscriptionSize:] {
		if s[8] != tagClock {
			continue
		}
		if d, _ := g.timeout(s); d <= sleep {
			report(s, success)
		}
	}
	g.sleep(sleep)
	return n, success
}

// timeout is how far from now a clock subscription is, in nanoseconds.
func (g *guest) timeout(subscription []byte) (int64, errno) {
	clock := binary.LittleEndian.Uint32(subscription[16:])
	at := binary.LittleEndian.Uint64(subscription[24:])
	var now uint64
	switch clock {
	case clockRealtime:
		now = uint64(g.spec.GetClockUnixNs()) + uint64(g.elapsed)
	case clockMonotonic:
		now = uint64(g.elapsed)
	default:
		return 0, eInval
	}
	d := at
	if binary.LittleEndian.Uint16(subscription[40:])&flagAbsolute != 0 {
		if at <= now {
			return 0, success
		}
		d = at - now
	}
	return int64(min(d, 1<<63-1)), success
}
