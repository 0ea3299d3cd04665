package market_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// TestDrawWeights draws often and compares with the formula of the policy,
// four fifths of s^1.5 exp(-rtt/T) and one fifth of s^2 exp(-rtt/10T).
func TestDrawWeights(t *testing.T) {
	type at struct {
		speed float64
		rtt   time.Duration
	}
	cases := []struct {
		name  string
		size  float64 // S
		t     float64 // T in seconds
		peers []at
	}{
		{"size unknown", 0, 0.030, []at{{1, 0}, {1, 10e6}, {1, 30e6}, {1, 90e6}, {4, 30e6}, {0.5, 0}}},
		{"long task, far peers", 10, 0.300, []at{{1, 5e6}, {2, 200e6}, {3, 400e6}, {1, 800e6}}},
		{"very long task", 1000, 0.500, []at{{1, 0}, {1, 500e6}, {1, 2000e6}}},
		{"short task", 0.001, 0.010, []at{{1, 1e6}, {1, 5e6}, {1, 20e6}, {1.5, 40e6}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			rng := seeded(t)
			n := need()
			n.Size = c.size
			var entries []market.Entry
			rtt := map[peer.ID]time.Duration{}
			near, far := make([]float64, len(c.peers)), make([]float64, len(c.peers))
			var nearSum, farSum float64
			for i, p := range c.peers {
				id := peer.ID(rune('a' + i))
				entries = append(entries, entry(id, func(o *protocol.Offer) { o.Speed = p.speed }))
				rtt[id] = p.rtt
				near[i] = math.Pow(p.speed, 1.5) * math.Exp(-p.rtt.Seconds()/c.t)
				far[i] = p.speed * p.speed * math.Exp(-p.rtt.Seconds()/(10*c.t))
				nearSum += near[i]
				farSum += far[i]
			}
			feasible, _ := market.Rank(start, n, entries, func(p peer.ID) market.Known { return market.Known{RTT: rtt[p], RTTKnown: true} })
			const draws = 40_000
			count := map[peer.ID]int{}
			for range draws {
				count[market.Draw(rng, n, feasible, 1)[0].Provider]++
			}
			for i := range c.peers {
				want := 0.8*near[i]/nearSum + 0.2*far[i]/farSum
				got := float64(count[feasible[i].Provider]) / draws
				// Six standard deviations: wrong once in 10^8 runs.
				if bound := 6 * math.Sqrt(want*(1-want)/draws); math.Abs(got-want) > bound {
					t.Errorf("%v is drawn %.4f of the time, want %.4f within %.4f", c.peers[i], got, want, bound)
				}
			}
		})
	}
}

func TestDrawIsDistinctAndComplete(t *testing.T) {
	rng := seeded(t)
	for range 500 {
		n := need()
		n.Replicas = 1 + rng.IntN(4)
		var entries []market.Entry
		peers := rng.IntN(12)
		for i := range peers {
			entries = append(entries, entry(peer.ID(rune('a'+i)), func(o *protocol.Offer) {
				o.Speed = math.Exp(6 * rng.NormFloat64())
				o.Load.Availability = protocol.Availability(rng.IntN(4))
				if rng.IntN(3) == 0 {
					o.Warm = [][]byte{n.Module[:]}
				}
			}))
		}
		own := rng.IntN(2)
		if own == 1 {
			entries = append(entries, entry(self, nil))
		}
		feasible, rejected := market.Rank(start, n, entries, func(peer.ID) market.Known {
			return market.Known{RTT: time.Duration(rng.Int64N(int64(time.Hour))), RTTKnown: rng.IntN(2) == 0}
		})
		if len(rejected) > 0 {
			t.Fatalf("rejected %v", rejected)
		}
		k := rng.IntN(6)
		drawn := market.Draw(rng, n, feasible, k)
		seen := map[peer.ID]bool{}
		others := 0
		for _, c := range drawn {
			if seen[c.Provider] {
				t.Fatalf("%s is drawn twice", c.Provider)
			}
			seen[c.Provider] = true
			if c.Provider != self {
				others++
			}
		}
		if others > k {
			t.Fatalf("drew %d peers, asked for %d", others, k)
		}
		if own == 1 && drawn[0].Provider != self {
			t.Fatal("the own node is not the first candidate")
		}
		if want := min(n.Replicas-own, k, peers); others < want {
			t.Fatalf("drew %d peers of %d for %d replicas, k = %d", others, peers, n.Replicas, k)
		}
	}
}

func TestDrawOfFarPeersIsStillADraw(t *testing.T) {
	rng := seeded(t)
	entries := []market.Entry{entry("a", nil), entry("b", nil), entry("c", nil)}
	n := need()
	n.Size = 1e-3
	feasible, _ := market.Rank(start, n, entries, func(peer.ID) market.Known { return market.Known{RTT: time.Hour, RTTKnown: true} })
	first := map[peer.ID]int{}
	for range 600 {
		first[market.Draw(rng, n, feasible, 1)[0].Provider]++
	}
	for p, c := range first {
		if c < 100 {
			t.Errorf("%s is drawn %d times of 600, want about 200", p, c)
		}
	}
	if len(first) != 3 {
		t.Errorf("only %v were drawn", first)
	}
}

func TestDrawHasAWarmPeerAndRoomForOthers(t *testing.T) {
	rng := seeded(t)
	n := need()
	var entries []market.Entry
	for i := range 40 {
		entries = append(entries, entry(peer.ID(fmt.Sprintf("%02d", i)), nil))
	}
	for _, warm := range []int{1, 2, 10} {
		feasible, _ := market.Rank(start, n, entries, func(p peer.ID) market.Known {
			return market.Known{RTT: time.Millisecond, RTTKnown: true, Warm: p < peer.ID(fmt.Sprintf("%02d", warm))}
		})
		cold := 0
		for range 200 {
			drawn, hits := market.Draw(rng, n, feasible, market.Probes), 0
			for _, c := range drawn {
				if c.Warm {
					hits++
				}
			}
			if hits < min(warm, market.Probes/2) {
				t.Fatalf("%d warm, %d of them drawn", warm, hits)
			}
			cold += len(drawn) - hits
		}
		if cold < 100 {
			t.Errorf("%d warm: only %d cold ones in 200 draws, so the module cannot spread", warm, cold)
		}
	}
}

// TestNoHerd lets many requesters decide at the same moment on the same stale
// gossip, which shows one peer idle and all others loaded.
func TestNoHerd(t *testing.T) {
	const requesters, peers = 100, 50
	rng := seeded(t)
	var entries []market.Entry
	for i := range peers {
		entries = append(entries, entry(peer.ID(fmt.Sprintf("%02d", i)), func(o *protocol.Offer) {
			if i != 7 {
				o.Load = &protocol.Load{Slots: 2, Running: 2, Queued: 5, MeanRunUs: 1e6}
			}
		}))
	}
	chosen := map[peer.ID]int{}
	for range requesters {
		own := rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
		n := need()
		feasible, rejected := market.Rank(start, n, entries, func(peer.ID) market.Known {
			return market.Known{RTT: time.Duration(1+own.IntN(3)) * time.Millisecond, RTTKnown: true}
		})
		drawn := market.Draw(own, n, feasible, market.Probes)
		for i := range drawn {
			drawn[i].Load = &protocol.Load{Slots: 2} // what is true now
			drawn[i] = market.Score(n, drawn[i])
		}
		placement, err := market.Place(n, append(drawn, rejected...))
		if err != nil {
			t.Fatal(err)
		}
		chosen[placement.Chosen[0].Provider]++
	}
	// Two each are expected; one with more than 12 of a hundred fair choices
	// among fifty comes once in 10^6 runs.
	for p, c := range chosen {
		if c > 12 {
			t.Errorf("%s was chosen by %d of %d requesters", p, c, requesters)
		}
	}
	if len(chosen) < peers/2 {
		t.Errorf("only %d of %d peers were chosen", len(chosen), peers)
	}
}
