package requester

import (
	"maps"
	"sync"

	"github.com/spare-network/spare/protocol"
)

// Figures count what has become of tasks since the node was started.
type Figures struct {
	Ended     map[string]uint64        // tasks, those of jobs included: passed, failed, or the code of what ended them
	Leases    uint64                   // that providers have granted
	Refusals  map[protocol.Code]uint64 // leases that they have not
	Failovers uint64                   // attempts that were lost or failed, whose task went on with another
}

// Figures returns what was counted so far.
func (r *Requester) Figures() Figures {
	f := &r.figures
	f.mu.Lock()
	defer f.mu.Unlock()
	return Figures{Ended: maps.Clone(f.ended), Leases: f.leases, Refusals: maps.Clone(f.refusals), Failovers: f.failovers}
}

type figures struct {
	mu        sync.Mutex
	ended     map[string]uint64
	leases    uint64
	refusals  map[protocol.Code]uint64
	failovers uint64
}

// known keeps what peers make up from growing the maps.
func known(c protocol.Code) protocol.Code {
	if c.Known() {
		return c
	}
	return "other"
}

func (f *figures) end(r *protocol.Result) {
	how := string(known(protocol.Code(r.Code)))
	switch {
	case r.Code == "" && r.ExitCode == 0:
		how = "passed"
	case r.Code == "":
		how = "failed"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended == nil {
		f.ended = make(map[string]uint64)
	}
	f.ended[how]++
}

func (f *figures) refuse(c protocol.Code) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refusals == nil {
		f.refusals = make(map[protocol.Code]uint64)
	}
	f.refusals[known(c)]++
}

func (f *figures) lease() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leases++
}

func (f *figures) failover() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failovers++
}
