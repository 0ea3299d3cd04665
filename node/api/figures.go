package api

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Figures count what a node has done since it was started.
type Figures struct {
	TasksEnded     map[string]uint64 // own tasks: passed, failed, or the code of what ended them
	LeasesGranted  uint64            // to this node
	LeasesRefused  map[string]uint64 // to this node, by code
	Failovers      uint64            // attempts that another took over
	GuestsTaken    uint64            // replicas of other nodes
	GuestsRefused  map[string]uint64 // by code
	GuestsHanded   uint64            // given up since the owner wanted the machine back
	OffersSent     uint64
	OffersReceived map[string]uint64 // accepted, ignored or rejected
	RTT            Spread
	Jobs           int // that are open
}

// Spread is how round trips are spread: how many took at most each bound, and how
// many there were, and how long they took together.
type Spread struct {
	Bounds []time.Duration
	Counts []uint64
	Count  uint64
	Sum    time.Duration
}

// figuresCollector shows a node's [Figures], and what its [Status] has beside those
// of statusCollector, to Prometheus. No label has a peer's ID, or anything else that
// peers make up.
type figuresCollector struct {
	node  Node
	descs map[string]*prometheus.Desc
}

func newFiguresCollector(node Node) *figuresCollector {
	c := &figuresCollector{node: node, descs: map[string]*prometheus.Desc{}}
	for _, d := range []struct {
		name, help string
		labels     []string
	}{
		{"tasks_ended_total", "Own tasks that have ended, by how: passed, failed, or a code.", []string{"end"}},
		{"leases_granted_total", "Leases that providers have granted to this node.", nil},
		{"leases_refused_total", "Leases that providers have refused to this node, by code.", []string{"code"}},
		{"failovers_total", "Attempts that were lost or failed, and that others took over.", nil},
		{"guest_leases_granted_total", "Replicas of other nodes that were taken.", nil},
		{"guest_leases_refused_total", "Replicas of other nodes that were refused, by code.", []string{"code"}},
		{"guest_leases_handed_over_total", "Replicas of other nodes that were given up since the owner wanted the machine back.", nil},
		{"gossip_sent_total", "Own offers that were published.", nil},
		{"gossip_received_total", "Offers of others that came by gossip, by verdict.", []string{"verdict"}},
		{"rtt_seconds", "Round trips to peers, as they were measured.", nil},
		{"jobs_open", "Jobs that are conducted.", nil},
		{"gas_total", "Gas by receipts that both sides have signed, served to others or received of them.", []string{"side"}},
		{"donation_state", "1 for the state that donating is in.", []string{"state"}},
	} {
		c.descs[d.name] = prometheus.NewDesc("spare_"+d.name, d.help, d.labels, nil)
	}
	return c
}

// Describe names every figure.
func (c *figuresCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		to <- d
	}
}

// Collect reads every figure.
func (c *figuresCollector) Collect(to chan<- prometheus.Metric) {
	f, s := c.node.Figures(), c.node.Status()
	show := func(kind prometheus.ValueType, name string, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(c.descs[name], kind, value, labels...)
	}
	count := func(name string, n uint64, labels ...string) {
		show(prometheus.CounterValue, name, float64(n), labels...)
	}
	each := func(name string, counts map[string]uint64) {
		for _, label := range slices.Sorted(maps.Keys(counts)) {
			count(name, counts[label], label)
		}
	}
	each("tasks_ended_total", f.TasksEnded)
	count("leases_granted_total", f.LeasesGranted)
	each("leases_refused_total", f.LeasesRefused)
	count("failovers_total", f.Failovers)
	count("guest_leases_granted_total", f.GuestsTaken)
	each("guest_leases_refused_total", f.GuestsRefused)
	count("guest_leases_handed_over_total", f.GuestsHanded)
	count("gossip_sent_total", f.OffersSent)
	each("gossip_received_total", f.OffersReceived)
	show(prometheus.GaugeValue, "jobs_open", float64(f.Jobs))
	count("gas_total", s.ServedGas, "served")
	count("gas_total", s.ReceivedGas, "received")
	for _, state := range []string{"open", "full", "paused", "owner-busy"} {
		is := 0.0
		if s.Donate.State == state {
			is = 1
		}
		show(prometheus.GaugeValue, "donation_state", is, state)
	}
	buckets := make(map[float64]uint64, len(f.RTT.Bounds))
	for i, bound := range f.RTT.Bounds {
		buckets[bound.Seconds()] = f.RTT.Counts[i]
	}
	to <- prometheus.MustNewConstHistogram(c.descs["rtt_seconds"], f.RTT.Count, f.RTT.Sum.Seconds(), buckets)
}
