package market

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// pooled is a candidate whose speed is 1.
func pooled(id peer.ID, rtt time.Duration) Candidate {
	return Candidate{Provider: id, RTT: rtt, RTTKnown: true, Speed: 1, Warm: true, Feasible: true}
}

func TestPool(t *testing.T) {
	start := time.Unix(1000, 0)
	need := Need{Size: 0.01}
	idle := &protocol.Load{Slots: 2, MeanRunUs: 10_000}
	busy := &protocol.Load{Slots: 2, Running: 2, Queued: 3, MeanRunUs: 10_000}
	paused := &protocol.Load{Slots: 2, Availability: protocol.Paused}
	near, far := pooled("near", time.Millisecond), pooled("far", 20*time.Millisecond)
	told := func(more ...func(*Pool)) *Pool {
		p := new(Pool)
		p.Asked(need, 20*time.Millisecond, 5*time.Millisecond)
		for _, f := range more {
			f(p)
		}
		return p
	}
	says := func(id peer.ID, after time.Duration, l *protocol.Load) func(*Pool) {
		return func(p *Pool) { p.Told(start.Add(after), id, l) }
	}
	for _, test := range []struct {
		name  string
		pool  *Pool
		after time.Duration
		want  []peer.ID // who is taken, one after another
	}{
		{"nobody has said anything", told(), 0, nil},
		{"nobody was ever asked: nothing is usual", func() *Pool { p := new(Pool); p.Told(start, "near", idle); return p }(), 0, nil},
		{"each result serves once", told(says("near", 0, idle), says("near", 0, idle)), 0, []peer.ID{"near", "near"}},
		{"the better one first", told(says("far", 0, idle), says("near", 0, idle)), 0, []peer.ID{"near", "far"}},
		{"a busy one costs more than asking does", told(says("near", 0, busy)), 0, nil},
		{"the latest word counts, and the room of those before", told(says("near", 0, busy), says("near", 1, idle)), 2, []peer.ID{"near", "near"}},
		{"what was sent since counts", told(says("near", 0, idle), says("near", 0, idle), says("near", 0, idle), says("near", 0, idle)), 0, []peer.ID{"near", "near"}},
		{"one that takes nothing", told(says("near", 0, paused)), 0, nil},
		{"a word of a second ago", told(says("near", 0, idle)), time.Second, []peer.ID{"near"}},
		{"an older one", told(says("near", 0, idle)), time.Second + 1, nil},
		{"one that may be dead", told(says("near", 0, idle), func(p *Pool) { p.Forget("near") }), 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := start.Add(test.after)
			var taken []peer.ID
			for {
				var fresh []Candidate
				for _, id := range test.pool.Fresh(now) {
					fresh = append(fresh, map[peer.ID]Candidate{"near": near, "far": far}[id])
				}
				c, ok := test.pool.Best(now, need, fresh)
				if !ok || !test.pool.Usual(need, c) {
					break
				}
				test.pool.Use(c.Provider)
				taken = append(taken, c.Provider)
			}
			if !slices.Equal(taken, test.want) {
				t.Errorf("taken are %q, want %q", taken, test.want)
			}
		})
	}
}

// TestPoolIsBounded has more providers speak than a Pool remembers.
func TestPoolIsBounded(t *testing.T) {
	p, now := new(Pool), time.Unix(1000, 0)
	load := &protocol.Load{Slots: 1}
	for i := range 3 * maxPooled {
		for range 2 * poolUses {
			p.Told(now, peer.ID(fmt.Sprint(i)), load)
		}
	}
	if n := len(p.Fresh(now)); n != maxPooled {
		t.Errorf("%d providers are remembered, want %d", n, maxPooled)
	}
	last := pooled(peer.ID(fmt.Sprint(3*maxPooled-1)), 0)
	uses := 0
	for ok := true; ok; uses++ {
		_, ok = p.Best(now, Need{}, []Candidate{last})
		p.Use(last.Provider)
	}
	if uses-1 != poolUses {
		t.Errorf("one may be used %d times, want %d", uses-1, poolUses)
	}
}
