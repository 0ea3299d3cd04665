package api

// Sandbox is what the worker processes do, and what holds them.
type Sandbox struct {
	Workers     int     `json:"workers" doc:"Worker processes, busy ones included"`
	Busy        int     `json:"busy" doc:"Workers with a task"`
	Waiting     int     `json:"waiting" doc:"Tasks that wait for a worker"`
	Started     uint64  `json:"started" doc:"Workers started since the node did, as all that follows up to crashed"`
	Compiled    uint64  `json:"compiled" doc:"Modules compiled"`
	Tasks       uint64  `json:"tasks" doc:"Tasks run"`
	Killed      uint64  `json:"killed" doc:"Workers killed at a limit or a deadline"`
	Crashed     uint64  `json:"crashed" doc:"Workers that ended by themselves"`
	MemoryBytes uint64  `json:"memory_bytes" doc:"Resident memory of all workers"`
	Modules     int     `json:"modules" doc:"Compiled modules in the cache"`
	CacheBytes  int64   `json:"cache_bytes" doc:"Size of the cache on disk"`
	CacheHits   uint64  `json:"cache_hits"`
	CacheMisses uint64  `json:"cache_misses"`
	Layers      []Layer `json:"layers" doc:"What confines the workers"`
}

// InForce counts the layers that are.
func (s *Sandbox) InForce() int {
	n := 0
	for _, l := range s.Layers {
		if l.InForce {
			n++
		}
	}
	return n
}

// Layer is one thing that confines the workers.
type Layer struct {
	Name     string `json:"name" doc:"As in [sandbox] require of config.toml"`
	InForce  bool   `json:"in_force"`
	Required bool   `json:"required" doc:"Without it this node takes no tasks of others"`
	Does     string `json:"does" doc:"What it is for"`
	Why      string `json:"why" doc:"Why it is not in force; empty when it is"`
}

// Diagnosis is what became of a worker that tried to break out.
type Diagnosis struct {
	Layers []Layer `json:"layers"`
	Trials []Trial `json:"trials"`
}

// Trial is one thing that a worker tried and must not be able to do.
type Trial struct {
	What    string `json:"what"`
	Result  string `json:"result" doc:"How it failed, or that it did not"`
	Escaped bool   `json:"escaped" doc:"Whether it worked"`
}

// Sound reports whether every required layer is in force and nothing escaped.
func (d *Diagnosis) Sound() bool {
	for _, l := range d.Layers {
		if l.Required && !l.InForce {
			return false
		}
	}
	for _, t := range d.Trials {
		if t.Escaped {
			return false
		}
	}
	return true
}
