package mesh

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// TestProbesOfOneSideStandForThoseOfTheOther has a peer probe this node, or not,
// and looks at when this node probes it.
func TestProbesOfOneSideStandForThoseOfTheOther(t *testing.T) {
	const soonest, latest = probeEvery * 7 / 8, probeEvery * 9 / 8
	for _, c := range []struct {
		what        string
		asks        time.Duration // how often the peer does; 0: never
		least, most time.Duration
	}{
		{"a silent peer", 0, soonest, latest},
		{"one that asks once", 5 * time.Minute, soonest, latest},
		{"one that asks in turn", soonest - time.Second, maxPostponed * soonest / 2, maxPostponed * latest},
		{"one that asks without end", 10 * time.Millisecond, maxPostponed*soonest - time.Second, maxPostponed * latest},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := &Mesh{rtts: newRTTs()}
			done := make(chan struct{})
			if c.asks > 0 {
				go func() {
					for ticker := time.NewTicker(c.asks); ; {
						select {
						case now := <-ticker.C:
							m.rtts.noteAsked("peer", now)
						case <-done:
							return
						}
					}
				}()
			}
			begun := time.Now()
			m.rest(t.Context(), "peer", false)
			if took := time.Since(begun); took < c.least || took > c.most {
				t.Errorf("%s is probed after %s, of %s to %s", c.what, took, c.least, c.most)
			}
			close(done)
		})
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
