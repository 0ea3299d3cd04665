package wasi

import (
	"errors"
	"math"
)

// ErrOutOfGas ends a guest that asked for more than it has gas for.
var ErrOutOfGas = errors.New("out of gas")

// Gas is the account of a running instance. A negative balance means that it
// ran out.
type Gas interface {
	Left() int64
	SetLeft(left int64)
}

// What host calls cost, in gas. One gas is about an instruction of the guest
// or a nanosecond of the host; the prices are about what the work was measured
// to take, and are paid before it is done. They are part of the profile.
const (
	priceCall         = 200 // each call
	priceVector       = 10  // each buffer of a read or write
	priceString       = 20  // each entry of the arguments and the environment
	priceSubscription = 50  // each subscription of a poll
	pricePathByte     = 10  // of a path, and of a symbolic link's target when it is followed
	priceFile         = 800 // each file, directory or link made, each file opened
	priceEntry        = 200 // each entry of a directory that is listed, which are sorted
	priceStep         = 2   // each directory above the target of a rename
	priceRandomByte   = 1
	priceStreamByte   = 1    // of a standard stream, by the room given when reading
	bytesPerGas       = 8    // of what is copied in memory, files included, and of memory that a file takes or clears
	bytesPerHoleGas   = 2048 // of what a file grows or shrinks by
)

// charge takes n from the account, or fails and leaves it negative.
func (w *World) charge(n uint64) error {
	left := w.gas.Left()
	if left < 0 {
		return ErrOutOfGas
	}
	n = min(n, math.MaxInt64)
	left -= int64(n)
	w.gas.SetLeft(left)
	if left < 0 {
		return ErrOutOfGas
	}
	return nil
}

// chargeCopy charges for n bytes of memory.
func (w *World) chargeCopy(n uint64) error { return w.charge(n / bytesPerGas) }

// used is how much gas the guest has used.
func (w *World) used() int64 {
	limit := int64(min(w.config.GasLimit, math.MaxInt64))
	left := w.gas.Left()
	if left < 0 {
		return limit
	}
	return max(limit-left, 0)
}

// unmetered is the account before [World.Start].
type unmetered struct{}

func (unmetered) Left() int64   { return 0 }
func (unmetered) SetLeft(int64) {}
