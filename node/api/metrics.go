package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// serveMetrics returns what answers /metrics, and the same below the API's prefix,
// where the page's cookie is sent.
func serveMetrics(r *prometheus.Registry, node Node) http.Handler {
	r.MustRegister(newStatusCollector(node), newFiguresCollector(node), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// statusCollector shows the node's [Status], read once for each scrape, to
// Prometheus.
type statusCollector struct {
	node    Node
	figures []figure
	layer   *prometheus.Desc
}

// figure is one number of a Status.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*Status) float64
}

// newStatusCollector names the figures as
// https://prometheus.io/docs/practices/naming/ wants them.
func newStatusCollector(node Node) *statusCollector {
	c := &statusCollector{node: node, layer: prometheus.NewDesc(
		"spare_sandbox_layer_in_force", "Whether a layer of the sandbox is in force.", []string{"layer"}, nil)}
	for _, f := range []struct {
		name, help string
		of         func(*Status) float64
	}{
		{"slots", "Replicas that run here at once.", func(s *Status) float64 { return float64(s.Slots) }},
		{"replicas_running", "Replicas that run here now.", func(s *Status) float64 { return float64(s.Running) }},
		{"replicas_queued", "Replicas that wait here for a slot.", func(s *Status) float64 { return float64(s.Queued) }},
		{"peers_connected", "Peers connected.", func(s *Status) float64 { return float64(s.PeersConnected) }},
		{"peers_offering", "Peers with a valid offer.", func(s *Status) float64 { return float64(s.PeersKnown) }},
		{"blobs", "Blobs stored.", func(s *Status) float64 { return float64(s.Blobs.Count) }},
		{"blob_bytes", "Bytes of all blobs stored.", func(s *Status) float64 { return float64(s.Blobs.Bytes) }},
		{"sandbox_workers", "Worker processes.", func(s *Status) float64 { return float64(s.Sandbox.Workers) }},
		{"sandbox_workers_busy", "Worker processes with a task.", func(s *Status) float64 { return float64(s.Sandbox.Busy) }},
		{"sandbox_tasks_waiting", "Tasks that wait for a worker.", func(s *Status) float64 { return float64(s.Sandbox.Waiting) }},
		{"sandbox_memory_bytes", "Resident memory of all workers.", func(s *Status) float64 { return float64(s.Sandbox.MemoryBytes) }},
		{"sandbox_cached_modules", "Compiled modules in the cache.", func(s *Status) float64 { return float64(s.Sandbox.Modules) }},
		{"sandbox_cache_bytes", "Size of the cache of compiled modules.", func(s *Status) float64 { return float64(s.Sandbox.CacheBytes) }},
		{"sandbox_workers_started_total", "Workers started.", func(s *Status) float64 { return float64(s.Sandbox.Started) }},
		{"sandbox_workers_killed_total", "Workers killed at a limit or a deadline.", func(s *Status) float64 { return float64(s.Sandbox.Killed) }},
		{"sandbox_workers_crashed_total", "Workers that ended by themselves.", func(s *Status) float64 { return float64(s.Sandbox.Crashed) }},
		{"sandbox_modules_compiled_total", "Modules compiled.", func(s *Status) float64 { return float64(s.Sandbox.Compiled) }},
		{"sandbox_tasks_total", "Tasks run.", func(s *Status) float64 { return float64(s.Sandbox.Tasks) }},
		{"sandbox_cache_hits_total", "Modules found in the cache.", func(s *Status) float64 { return float64(s.Sandbox.CacheHits) }},
		{"sandbox_cache_misses_total", "Modules not found in the cache.", func(s *Status) float64 { return float64(s.Sandbox.CacheMisses) }},
	} {
		kind := prometheus.GaugeValue
		if strings.HasSuffix(f.name, "_total") {
			kind = prometheus.CounterValue
		}
		c.figures = append(c.figures, figure{prometheus.NewDesc("spare_"+f.name, f.help, nil, nil), kind, f.of})
	}
	return c
}

// Describe names every figure.
func (c *statusCollector) Describe(to chan<- *prometheus.Desc) {
	for _, f := range c.figures {
		to <- f.desc
	}
	to <- c.layer
}

// Collect reads every figure.
func (c *statusCollector) Collect(to chan<- prometheus.Metric) {
	s := c.node.Status()
	for _, f := range c.figures {
		to <- prometheus.MustNewConstMetric(f.desc, f.kind, f.of(&s))
	}
	for _, l := range s.Sandbox.Layers {
		held := 0.0
		if l.InForce {
			held = 1
		}
		to <- prometheus.MustNewConstMetric(c.layer, prometheus.GaugeValue, held, l.Name)
	}
}
