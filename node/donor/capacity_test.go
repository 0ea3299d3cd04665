package donor

import (
	"errors"
	"log/slog"
	"runtime"
	"testing"

	"github.com/spare-network/spare/protocol"
)

func quietLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestMeasure(t *testing.T) {
	cases := []struct {
		name   string
		cfg    Config
		slots  int
		memory uint64 // 0: whatever the machine has
		code   protocol.Code
	}{
		{"nothing said", Config{Mode: Idle}, runtime.GOMAXPROCS(0), 0, ""},
		{"everything said", Config{Slots: 3, MemoryBytes: 1 << 30, Mode: Always}, 3, 1 << 30, ""},
		{"memory that is no multiple of a page", Config{Slots: 1, MemoryBytes: protocol.PageSize + 1, Mode: Always}, 1, protocol.PageSize, ""},
		{"all that a program can address", Config{Slots: 1, MemoryBytes: protocol.MaxMemory, Mode: Always}, 1, protocol.MaxMemory, ""},
		{"negative slots", Config{Slots: -1, Mode: Always}, 0, 0, protocol.CodeUsage},
		{"too many slots", Config{Slots: 1 << 20, Mode: Always}, 0, 0, protocol.CodeUsage},
		{"more memory than can be addressed", Config{MemoryBytes: protocol.MaxMemory + 1, Mode: Always}, 0, 0, protocol.CodeUsage},
		{"less memory than a page", Config{MemoryBytes: 1, Mode: Always}, 0, 0, protocol.CodeUsage},
		{"no mode", Config{}, 0, 0, protocol.CodeUsage},
		{"an unknown mode", Config{Mode: "sometimes"}, 0, 0, protocol.CodeUsage},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Logger = quietLogger()
			got, err := Measure(c.cfg)
			if c.code != "" {
				var e *protocol.Error
				if !errors.As(err, &e) || e.Code != c.code || e.Hint == "" {
					t.Fatalf("got %v, %v, want a %s with a hint", got, err, c.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Slots != c.slots || c.memory != 0 && got.MemoryBytes != c.memory {
				t.Errorf("%d slots of %d bytes, want %d of %d", got.Slots, got.MemoryBytes, c.slots, c.memory)
			}
			if got.MemoryBytes == 0 || got.MemoryBytes%protocol.PageSize != 0 || got.MemoryBytes > protocol.MaxMemory {
				t.Errorf("a ceiling of %d bytes", got.MemoryBytes)
			}
			if host, err := totalMemory(); err == nil && got.HostBytes != host {
				t.Errorf("a machine of %d bytes, want %d", got.HostBytes, host)
			}
			// A machine outside of this is no machine that runs this test.
			if got.Speed < 1e-3 || got.Speed > 100 {
				t.Errorf("speed %v", got.Speed)
			}
			if got.Arch != runtime.GOOS+"/"+runtime.GOARCH {
				t.Errorf("arch %q", got.Arch)
			}
		})
	}
}

// TestCalibrationIsTheSameWork guards the unit: other work would make speeds
// of two versions incomparable.
func TestCalibrationIsTheSameWork(t *testing.T) {
	c := &calibration{x: 88172645463325252}
	for range 10 {
		c.round()
	}
	const want = 3635969319399660798
	if c.x != want {
		t.Errorf("after ten rounds x = %d, want %d; if that is meant, speeds need a new unit", c.x, uint64(want))
	}
}

func BenchmarkRound(b *testing.B) {
	c := &calibration{x: 88172645463325252}
	for b.Loop() {
		c.round()
	}
}
