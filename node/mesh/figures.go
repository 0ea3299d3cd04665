package mesh

import (
	"sync/atomic"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
)

// Figures count what was measured and told since the mesh was opened.
type Figures struct {
	Published uint64            // own offers
	Gossip    map[string]uint64 // offers that came: accepted, ignored or rejected
	RTT       Histogram
}

// Histogram is how round trips were spread. Counts has how many took at most the
// bound of the same index; Count and Sum are of all.
type Histogram struct {
	Bounds []time.Duration
	Counts []uint64
	Count  uint64
	Sum    time.Duration
}

// rttBounds part machines, buildings, countries and continents.
func rttBounds() []time.Duration {
	return []time.Duration{
		250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
		25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	}
}

// Figures returns what was counted so far.
func (m *Mesh) Figures() Figures {
	return Figures{Published: m.gossip.figures.published.Load(), Gossip: m.gossip.figures.all(), RTT: m.rtts.histogram()}
}

// judgements count messages by what was decided of them.
type judgements struct{ published, accepted, ignored, rejected atomic.Uint64 }

func (j *judgements) note(r pubsub.ValidationResult) pubsub.ValidationResult {
	switch r {
	case pubsub.ValidationAccept:
		j.accepted.Add(1)
	case pubsub.ValidationIgnore:
		j.ignored.Add(1)
	default:
		j.rejected.Add(1)
	}
	return r
}

func (j *judgements) all() map[string]uint64 {
	return map[string]uint64{"accepted": j.accepted.Load(), "ignored": j.ignored.Load(), "rejected": j.rejected.Load()}
}

// note counts a round trip. It is called with mu held.
func (r *rtts) note(rtt time.Duration) {
	if r.spread.Bounds == nil {
		r.spread.Bounds = rttBounds()
		r.spread.Counts = make([]uint64, len(r.spread.Bounds))
	}
	r.spread.Count++
	r.spread.Sum += rtt
	for i, bound := range r.spread.Bounds {
		if rtt <= bound {
			r.spread.Counts[i]++
		}
	}
}

func (r *rtts) histogram() Histogram {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.spread
	h.Counts = append([]uint64(nil), h.Counts...)
	return h
}
