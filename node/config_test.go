package node

import (
	"log/slog"
	"testing"

	"github.com/spare-network/spare/node/donor"
)

func TestWorkersHaveRoomAndNoMore(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for _, c := range []struct {
		name             string
		slots            int
		task, files, own uint64 // bytes: of a task, of its files, of the machine
		all, idle        uint64
	}{
		{"a small donor", 1, 64 * mib, 256 * mib, 16 * gib, 64*mib + 256*mib + gib + 128*mib, 128 * mib},
		{"tiny tasks", 2, 64 << 10, 0, 16 * gib, 2*(64<<10+gib) + 128*mib + 128<<10, 128*mib + 128<<10},
		{"half of the machine", 4, 2 * gib, gib, 16 * gib, 12 * gib, gib},
		{"half of a small machine", 4, 64 * mib, gib, 512 * mib, 384 * mib, 384 * mib},
		{"a machine that does not tell its size", 4, 512 * mib, gib, 0, 11 * gib, gib},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Default()
			cfg.Ceilings.FileBytes = c.files
			got := cfg.sandbox(donor.Capacity{Slots: c.slots, MemoryBytes: c.task, Machine: donor.Machine{HostBytes: c.own}})
			if got.Slots != c.slots || got.Memory != c.all || got.IdleMemory != c.idle {
				t.Errorf("%d slots, %d bytes, idle %d; want %d, %d, %d", got.Slots, got.Memory, got.IdleMemory, c.slots, c.all, c.idle)
			}
		})
	}
}

// A bound of 0 would be none.
func TestWorkersOfThisMachineAreBounded(t *testing.T) {
	cfg := Default()
	d, err := donor.New(cfg.donor(donor.Measure(slog.New(slog.DiscardHandler))))
	if err != nil {
		t.Fatal(err)
	}
	capacity := d.Capacity()
	if got := cfg.sandbox(capacity); got.Memory < capacity.MemoryBytes || got.IdleMemory == 0 || got.IdleMemory > got.Memory {
		t.Errorf("%+v of %+v", got, capacity)
	}
}
