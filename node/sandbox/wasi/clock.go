package wasi

import "math"

// The clocks of preview 1.
const (
	clockRealtime  = 0
	clockMonotonic = 1
	clockProcess   = 2
	clockThread    = 3
)

// clockResolution is that of every clock, in nanoseconds: one gas.
const clockResolution = 1

// elapsed is the virtual time since the start, in nanoseconds.
func (w *World) elapsed() int64 { return saturatingAdd(w.used(), w.slept) }

func (w *World) sleep(ns int64) { w.slept = saturatingAdd(w.slept, ns) }

// now is the virtual wall clock, in nanoseconds since 1970.
func (w *World) now() int64 {
	if w.config.Clock < 0 {
		return w.config.Clock + w.elapsed()
	}
	return saturatingAdd(w.config.Clock, w.elapsed())
}

// saturatingAdd adds two numbers that are not negative.
func saturatingAdd(a, b int64) int64 {
	if b > math.MaxInt64-a {
		return math.MaxInt64
	}
	return a + b
}

// readClock returns what a clock shows, in nanoseconds.
func (w *World) readClock(id uint32) (int64, error) {
	switch id {
	case clockRealtime:
		return w.now(), nil
	case clockMonotonic:
		return w.elapsed(), nil
	case clockProcess, clockThread:
		return w.used(), nil
	default:
		return 0, EINVAL
	}
}

func (w *World) clockResGet(m Memory, a []uint64) error {
	if uint32(a[0]) > clockThread {
		return EINVAL
	}
	return put64(m, a[1], clockResolution)
}

func (w *World) clockTimeGet(m Memory, a []uint64) error {
	t, err := w.readClock(uint32(a[0]))
	if err != nil {
		return err
	}
	return put64(m, a[2], uint64(t))
}
