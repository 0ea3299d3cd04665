package protocol_test

import (
	"math"
	"testing"
	"time"

	"github.com/spare-network/spare/protocol"
)

func TestAmountsInWords(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1 KiB", 1535: "1.4 KiB", 1536: "1.5 KiB", 10<<10 + 1023: "10 KiB", 64 << 10: "64 KiB",
		1<<20 - 1: "1023 KiB", 4<<30 - 1: "3.9 GiB", 4 << 30: "4 GiB", 1 << 50: "1 PiB", math.MaxUint64: "15 EiB",
	} {
		if got := protocol.SizeText(n); got != want {
			t.Errorf("%d bytes are written %s, want %s", n, got, want)
		}
	}
	for n, want := range map[uint64]string{
		0: "0", 7: "7", 999: "999", 1000: "1 K", 1009: "1 K", 1010: "1.01 K", 1_234_567: "1.23 M", 1_200_000: "1.2 M", 999_999: "999.99 K",
		10_000_000_000_000: "10 T", 100_000: "100 K", 1 << 60: "1.15 E", math.MaxUint64: "18.44 E",
	} {
		if got := protocol.GasText(n); got != want {
			t.Errorf("%d of gas is written %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", time.Millisecond: "1ms", 10 * time.Second: "10s", time.Minute: "1m", 10 * time.Minute: "10m", 90 * time.Second: "1m30s",
		time.Hour: "1h", time.Hour + time.Second: "1h0m1s", 10*time.Hour + 30*time.Minute: "10h30m", 168 * time.Hour: "168h", -time.Hour: "-1h",
	} {
		got := protocol.TimeText(d)
		if back, err := time.ParseDuration(got); got != want || err != nil || back != d {
			t.Errorf("%v is written %s, want %s (%v)", d, got, want, err)
		}
	}
}
