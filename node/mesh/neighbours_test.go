package mesh

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

func TestProbeGap(t *testing.T) {
	for _, c := range []struct {
		neighbours int
		vital      bool
		want       time.Duration
	}{
		{1, true, lonelyProbeEvery},
		{1, false, probeMin},
		{enoughNeighbours, true, 4 * probeEach},
		{20, false, 20 * probeEach},
		{1000, true, probeMax},
	} {
		if got := probeGap(c.neighbours, c.vital); got != c.want {
			t.Errorf("a node with %d neighbours, vital %v, probes every %s, want %s", c.neighbours, c.vital, got, c.want)
		}
	}
}

// TestTwinsDoNotStormTheirBootstrap has two nodes of one identity, each of which
// has the other's connection closed, share a bootstrap.
func TestTwinsDoNotStormTheirBootstrap(t *testing.T) {
	key := newKey(t)
	n := start(t)
	var connected atomic.Int64
	n.host.Network().Notify(&network.NotifyBundle{ConnectedF: func(network.Network, network.Conn) { connected.Add(1) }})
	for range 2 {
		start(t, via(n), func(c *Config) { c.Key = key })
	}
	eventually(t, "both have come", func() bool { return connected.Load() >= 2 })
	time.Sleep(3 * time.Second) // in which they would come hundreds of times
	if times := connected.Load(); times > 60 {
		t.Errorf("they came %d times", times)
	}
}
