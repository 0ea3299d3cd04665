package donor

import (
	"log/slog"
	"runtime"

	"github.com/spare-network/spare/protocol"
)

// Mode says when the machine donates.
type Mode string

// The modes.
const (
	Idle   Mode = "idle"   // while its owner leaves most of the CPU unused
	Always Mode = "always" // whatever else runs
)

const (
	// MaxSlots is the largest number of slots.
	MaxSlots = 1024
	// assumedMemory is taken for the whole memory where it cannot be read: the
	// least that a machine of today is sold with.
	assumedMemory = 4 << 30
)

// Config says what the owner allows.
type Config struct {
	Slots       int    // replicas that run at once; 0: one for each CPU
	MemoryBytes uint64 // ceiling for one task; 0: half of the memory, over the slots
	Mode        Mode
	Store       Store  // of what the owner decides; nil: none
	Changed     func() // called when the [Stance] has changed in more than words; may be nil
	Logger      *slog.Logger
}

func (c Config) validate() error {
	switch {
	case c.Slots < 0 || c.Slots > MaxSlots:
		return protocol.Errorf(protocol.CodeUsage, "%d slots are not possible", c.Slots).
			WithHint("give 1 to %d, or leave --slots away for one for each CPU", MaxSlots)
	case c.MemoryBytes > protocol.MaxMemory || c.MemoryBytes > 0 && c.MemoryBytes < protocol.PageSize:
		return protocol.Errorf(protocol.CodeUsage, "%d bytes of memory for one task are not possible", c.MemoryBytes).
			WithHint("give --mem between 64KiB and 4GiB, which is the most that a program can address")
	case c.Mode != Idle && c.Mode != Always:
		return protocol.Errorf(protocol.CodeUsage, "cannot donate %q", protocol.SafeText(string(c.Mode))).
			WithHint("give --donate idle or --donate always")
	}
	return nil
}

// Capacity is what this machine gives.
type Capacity struct {
	Slots       int
	MemoryBytes uint64  // ceiling for one task, a multiple of [protocol.PageSize]
	HostBytes   uint64  // of memory that the machine has; 0 where that cannot be read
	Speed       float64 // of one slot; 1 is [Unit] rounds per second
	Arch        string  // GOOS/GOARCH
}

// Measure finds out what this machine can give within cfg. It keeps one CPU
// busy for about 50 ms. A value of cfg that cannot be is a *protocol.Error of
// CodeUsage.
func Measure(cfg Config) (Capacity, error) {
	if err := cfg.validate(); err != nil {
		return Capacity{}, err
	}
	c := Capacity{Slots: cfg.Slots, MemoryBytes: cfg.MemoryBytes, Arch: runtime.GOOS + "/" + runtime.GOARCH}
	if c.Slots == 0 {
		// The Go runtime has looked at the affinity mask and, on Linux, at
		// the CPU quota of the cgroup.
		c.Slots = min(runtime.GOMAXPROCS(0), MaxSlots)
	}
	total, err := totalMemory()
	if err == nil {
		c.HostBytes = total
	}
	if c.MemoryBytes == 0 {
		if err != nil {
			total = assumedMemory
			cfg.Logger.Warn("the size of the memory cannot be read", "assumed", total, "err", err)
		}
		c.MemoryBytes = min(total/2/uint64(c.Slots), protocol.MaxMemory)
	}
	c.MemoryBytes -= c.MemoryBytes % protocol.PageSize
	if c.MemoryBytes == 0 {
		return Capacity{}, protocol.Errorf(protocol.CodeUsage, "the memory is too small for %d slots", c.Slots).
			WithHint("give fewer --slots")
	}
	c.Speed = speed()
	return c, nil
}
