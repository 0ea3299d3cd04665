package donor

import (
	"log/slog"
	"runtime"

	"github.com/spare-network/spare/protocol"
)

const (
	// MaxSlots is the largest number of slots.
	MaxSlots = 1024
	// assumedMemory is taken for the whole memory where it cannot be read: the
	// least that a machine of today is sold with.
	assumedMemory = 4 << 30
)

// Machine is what there is to give of.
type Machine struct {
	CPUs      int
	HostBytes uint64  // of memory; 0 where that cannot be read
	Speed     float64 // of one CPU; 1 is [Unit] rounds per second
	Arch      string  // GOOS/GOARCH
}

// Measure finds out about this machine. It keeps one CPU busy for about 50 ms.
func Measure(log *slog.Logger) Machine {
	// The Go runtime has looked at the affinity mask and, on Linux, at the CPU
	// quota of the cgroup.
	m := Machine{CPUs: runtime.GOMAXPROCS(0), Speed: speed(), Arch: runtime.GOOS + "/" + runtime.GOARCH}
	total, err := totalMemory()
	if err == nil {
		m.HostBytes = total
	} else {
		log.Warn("the size of the memory cannot be read", "assumed", assumedMemory, "err", err)
	}
	return m
}

// Capacity is what a machine gives.
type Capacity struct {
	Machine
	Slots       int
	MemoryBytes uint64 // ceiling for one task, a multiple of [protocol.PageSize]
}

// capacity is what m gives by an allowance. An allowance that leaves no memory
// to a task is a [protocol.CodeBadRequest].
func (m Machine) capacity(a Allowance) (Capacity, error) {
	c := Capacity{Machine: m, Slots: a.Slots, MemoryBytes: a.MemoryBytes}
	if c.Slots == 0 {
		c.Slots = min(m.CPUs, MaxSlots)
	}
	c.Slots = min(c.Slots, m.slotsWithin(a.CPU, c.Slots))
	if c.MemoryBytes == 0 {
		host := m.HostBytes
		if host == 0 {
			host = assumedMemory
		}
		c.MemoryBytes = min(host/2/uint64(c.Slots), protocol.MaxMemory)
	}
	c.MemoryBytes -= c.MemoryBytes % protocol.PageSize
	if c.MemoryBytes == 0 {
		return Capacity{}, protocol.Errorf(protocol.CodeBadRequest, "the memory is too small for %d slots", c.Slots).
			WithHint("give fewer slots")
	}
	return c, nil
}

// slotsWithin is how many tasks a share of all CPUs is for, when it is not all:
// as many as they keep busy, and at least one.
func (m Machine) slotsWithin(percent, all int) int {
	if percent == 100 {
		return all
	}
	return max(1, m.CPUs*percent/100)
}
