package wasi

import (
	"encoding/binary"
	"math"
)

// maxVectors is how many buffers one read or write may have.
const maxVectors = 1024

// noMemory is the memory of a module without one.
type noMemory struct{}

func (noMemory) Read(uint32, uint32) ([]byte, bool) { return nil, false }

// view returns the n bytes at address, or [EFAULT].
func view(m Memory, address, n uint64) ([]byte, error) {
	if n > math.MaxUint32 {
		return nil, EFAULT
	}
	b, ok := m.Read(uint32(address), uint32(n))
	if !ok || uint64(len(b)) != n {
		return nil, EFAULT
	}
	return b, nil
}

func put32(m Memory, address uint64, v uint32) error {
	b, err := view(m, address, 4)
	if err == nil {
		binary.LittleEndian.PutUint32(b, v)
	}
	return err
}

func put64(m Memory, address, v uint64) error {
	b, err := view(m, address, 8)
	if err == nil {
		binary.LittleEndian.PutUint64(b, v)
	}
	return err
}

// vectors returns the buffers that the list of n (address, length) pairs at
// address names, without the empty ones, and their length together. They are
// valid until the next call; what the guest's memory holds may change meanwhile.
func (w *World) vectors(m Memory, address, n uint64) ([][]byte, uint64, error) {
	n = uint64(uint32(n))
	if n > maxVectors {
		return nil, 0, EINVAL
	}
	if err := w.charge(n * priceVector); err != nil {
		return nil, 0, err
	}
	list, err := view(m, address, 8*n)
	if err != nil {
		return nil, 0, err
	}
	w.buffers = w.buffers[:0]
	total := uint64(0)
	for ; len(list) > 0; list = list[8:] {
		length := uint64(binary.LittleEndian.Uint32(list[4:]))
		if length == 0 {
			continue
		}
		b, err := view(m, uint64(binary.LittleEndian.Uint32(list)), length)
		if err != nil {
			return nil, 0, err
		}
		w.buffers = append(w.buffers, b)
		total += length
	}
	if total > math.MaxUint32 {
		return nil, 0, EINVAL
	}
	return w.buffers, total, nil
}
