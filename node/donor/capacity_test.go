package donor

import (
	"log/slog"
	"runtime"
	"testing"
)

func quietLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestMeasure(t *testing.T) {
	got := Measure(quietLogger())
	if got.CPUs != runtime.GOMAXPROCS(0) || got.Arch != runtime.GOOS+"/"+runtime.GOARCH {
		t.Errorf("%+v", got)
	}
	if host, err := totalMemory(); err == nil && got.HostBytes != host {
		t.Errorf("a machine of %d bytes, want %d", got.HostBytes, host)
	}
	// A machine outside of this is no machine that runs this test.
	if got.Speed < 1e-3 || got.Speed > 100 {
		t.Errorf("speed %v", got.Speed)
	}
}

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
