package apitest

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spare-network/spare/node/api"
	"github.com/spare-network/spare/protocol"
)

// Figures are always the same.
func (n *Node) Figures() api.Figures {
	return api.Figures{
		TasksEnded: map[string]uint64{"passed": 7, "failed": 2, "E-LOST": 1}, LeasesGranted: 11, LeasesRefused: map[string]uint64{"E-BUSY": 3}, Failovers: 1,
		GuestsTaken: 3, GuestsRefused: map[string]uint64{"E-REFUSED": 1}, OffersSent: 4, OffersReceived: map[string]uint64{"accepted": 9},
		RTT: api.Spread{Bounds: []time.Duration{time.Millisecond, time.Second}, Counts: []uint64{2, 5}, Count: 6, Sum: 3 * time.Second}, Jobs: 1,
	}
}

// Status is always the same.
func (n *Node) Status() api.Status {
	return api.Status{
		Peer: Self, Network: "test", NetworkID: strings.Repeat("ab", 16), PID: os.Getpid(), Version: "v0.0.0-test",
		Addrs: []string{"/ip4/127.0.0.1/tcp/4001/p2p/" + Self}, Started: api.Time(Submitted), Home: n.dir,
		Donate: n.donate(), Slots: 2, Running: 1, MemoryBytes: 1 << 30, Speed: 1.25,
		PeersConnected: 1, PeersKnown: 1, ClockAheadS: new(int64), Labels: map[string]string{"site": "berlin", "gpu": "no"}, Donated: donated(),
		Sandbox: api.Sandbox{
			Workers: 3, Busy: 1, Started: 7, Compiled: 2, Tasks: 40, Killed: 1, MemoryBytes: 96 << 20,
			Modules: 2, CacheBytes: 5 << 20, CacheHits: 4, CacheMisses: 2, Layers: n.layers(),
		},
		Refused: []api.Refused{{
			Peer: Other, Code: string(protocol.CodeNetwork), Message: "same network name,\x1b[2J another secret", At: api.Time(Submitted),
		}},
	}
}

func (n *Node) donate() api.Donate {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.paused.State != "" {
		return n.paused
	}
	return api.Donate{Mode: "always", State: "open"}
}

// Pause pauses the stand-in as of [Submitted].
func (n *Node) Pause(d time.Duration, finish bool) (api.Donate, error) {
	n.mu.Lock()
	n.paused = api.Donate{Mode: "always", State: "paused", Reason: "paused by hand until 'spare resume'"}
	if d > 0 {
		until := api.Time(Submitted.Add(d))
		n.paused.Until, n.paused.Reason = &until, "paused by hand until "+Submitted.Add(d).Format("15:04:05 MST")
	}
	if finish {
		n.paused.Reason += "; what runs already may end"
	}
	n.mu.Unlock()
	return n.donate(), nil
}

// Resume ends a pause.
func (n *Node) Resume() (api.Donate, error) {
	n.mu.Lock()
	n.paused = api.Donate{}
	n.mu.Unlock()
	return n.donate(), nil
}

// Donation has one rule.
func (n *Node) Donation() api.Donation {
	d := api.Donation{Donate: n.donate()}
	n.mu.Lock()
	defer n.mu.Unlock()
	s := api.Setting{Key: "donate.cpu", Value: "100%", Origin: "default", Note: "of 2 CPUs, at the lowest priority"}
	if n.cpu != "" {
		s.Value, s.Origin = n.cpu, "spare donate set"
	}
	d.Rules = []api.Setting{s}
	d.Asked = api.Asked{Taken: 3, Refused: 1, LastRefusal: &api.Refused{Peer: Other, Code: "E-REFUSED", Message: "the task may use 2 GiB,\x1b[2J this node gives less", At: api.Time(Submitted)}}
	return d
}

// SetRules takes donate.cpu and no other.
func (n *Node) SetRules(rules map[string]string) (api.Donation, error) {
	for key, value := range rules {
		if key != "donate.cpu" {
			return api.Donation{}, protocol.Errorf(protocol.CodeBadRequest, "%s: is no rule of donating", key)
		}
		n.mu.Lock()
		n.cpu = value
		n.mu.Unlock()
	}
	return n.Donation(), nil
}

// Settings are the rule and one more.
func (n *Node) Settings() []api.Setting {
	return append(n.Donation().Rules, api.Setting{Key: "network", Value: "test", Origin: "flag of spare up"})
}

func (n *Node) layers() []api.Layer {
	return []api.Layer{
		{Name: "process", InForce: true, Does: "programs run in a process of their own"},
		{Name: "seccomp", InForce: true, Required: true, Does: "only the system calls that a worker needs"},
		{Name: "cgroup", Does: "memory and CPU are bounded by the kernel", Why: "the cgroup file system is read-only"},
	}
}

// Diagnose tells of a sandbox that holds, or of a broken one.
func (n *Node) Diagnose(context.Context) (api.Diagnosis, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := api.Diagnosis{Layers: n.layers(), Trials: []api.Trial{
		{What: "open /etc/passwd", Result: "no such file or directory"},
		{What: "start a program", Result: "operation not permitted"},
	}}
	if n.broken {
		d.Layers[1].InForce, d.Layers[1].Why = false, "the kernel was built without it"
		d.Trials[1] = api.Trial{What: "start a program", Result: "it started", Escaped: true}
	}
	return d, nil
}

// Peers is the neighbour, with a hostile version.
func (n *Node) Peers() []api.Peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.alone {
		return nil
	}
	rtt, age, access := 1.5, int64(2500), n.access()
	return []api.Peer{{
		Peer: Other, Connected: true, RTTMS: &rtt, Slots: 4, Inflight: 1, Speed: 0.5, OfferAgeMS: &age,
		MemoryBytes: 2 << 30, Availability: "open", Warm: 1, Version: "<img src=x onerror=alert(1)>\x1b[31m", Arch: "linux/amd64",
		ServedGas: 1e9, ReceivedGas: 3_500_000_000, Trusted: true, Trust: "new: 3 of 10 checks passed", Transport: "quic-v1", Inbound: true,
		Labels: map[string]string{"site": "paris"}, Access: access.Of(Other),
	}}
}

// Offers are the stand-in's own and the neighbour's.
func (n *Node) Offers() []api.Offer {
	offers := []api.Offer{{
		Provider: Self, Self: true, Usable: true, TTLMS: 60_000, Slots: 2, Availability: "open",
		MemoryBytes: 1 << 30, OutputBytes: 64 << 20, WallMS: 3_600_000, Gas: protocol.DefaultGas, FileBytes: 256 << 20, Files: 4096,
		ModuleBytes: 128 << 20, Speed: 1.25, Profile: protocol.Profile, Arch: "linux/amd64", Labels: n.Status().Labels,
	}}
	for _, p := range n.Peers() {
		offers = append(offers, api.Offer{
			Provider: p.Peer, Reason: "its owner is busy", AgeMS: *p.OfferAgeMS, TTLMS: 60_000, RTTMS: p.RTTMS, Slots: p.Slots,
			Availability: "owner-busy", MemoryBytes: p.MemoryBytes, Speed: p.Speed, Profile: protocol.Profile, Version: p.Version, Arch: p.Arch, Labels: p.Labels,
		})
	}
	return offers
}

// OffersFor are the same for each task, but that the neighbour gives too little.
func (n *Node) OffersFor(*protocol.Task) []api.Offer {
	offers := n.Offers()
	for i := range offers {
		if !offers[i].Self {
			offers[i].Reason = "gives at most 1 GiB of memory,\x1b[2J the task may use 2 GiB"
		}
	}
	return offers
}

// Ping answers for the neighbour only.
func (n *Node) Ping(_ context.Context, peer string) (time.Duration, error) {
	if peer != Other {
		return 0, protocol.Errorf(protocol.CodeTimeout, "%s does not answer", peer)
	}
	return 1234 * time.Microsecond, nil
}
