package provider

import (
	"maps"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/spare-network/spare/protocol"
)

// maxHanded bounds the replicas of which is remembered that they were handed
// over. Their output streams break, so that requesters may come and claim them
// before they have read why.
const maxHanded = 4096

// Asked is what other nodes have asked of this one since it was started, in
// replicas.
type Asked struct {
	Taken, Refused, HandedOver uint64
	Refusals                   map[protocol.Code]uint64 // by their codes, which are this package's own
	Last                       Refusal                  // zero: none was refused
}

// Refusal is a replica that was not taken.
type Refusal struct {
	Requester peer.ID
	Code      protocol.Code
	Message   string
	At        time.Time
}

// Asked returns what other nodes have asked so far.
func (p *Provider) Asked() Asked {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	asked.Refusals = maps.Clone(asked.Refusals)
	return asked
}

// noteAsked notes what was answered to another node that asked for a replica. It
// is called with mu held.
func (p *Provider) noteAsked(a *account, refusal *protocol.Refusal) {
	switch {
	case a.self:
	case refusal == nil:
		p.asked.Taken++
		if p.cfg.Begun != nil {
			p.cfg.Begun()
		}
	default:
		p.asked.Refused++
		if p.asked.Refusals == nil {
			p.asked.Refusals = make(map[protocol.Code]uint64)
		}
		p.asked.Refusals[protocol.Code(refusal.Code)]++
		p.asked.Last = Refusal{a.peer, protocol.Code(refusal.Code), refusal.Message, time.Now()}
	}
}

// Resize changes how many replicas run at once from now on, how many may wait,
// and the ceiling of memory for one, in bytes. Those that are here already keep
// what they were promised.
func (p *Provider) Resize(slots, queue int, memory uint64) {
	ceilings := proto.CloneOf(p.ceilings.Load())
	ceilings.MemoryBytes = memory
	p.ceilings.Store(ceilings)
	p.mu.Lock()
	p.slots, p.queue = slots, queue
	p.giveSlots()
	p.mu.Unlock()
	p.renew.Store(true)
	p.noteChange()
}

// Given returns how many replicas run at once, and the ceiling of memory for one.
func (p *Provider) Given() (slots int, memory uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots, p.ceilings.Load().MemoryBytes
}

// HandOver ends the replicas of other nodes, and tells their requesters at once,
// who have another provider run them. It is called when the availability says
// already that nothing new is taken. Guests that have ended deliver what they
// left, and results are kept.
func (p *Provider) HandOver(why string) {
	cause := protocol.Errorf(protocol.CodeHandedOver, "%s", protocol.SafeText(why))
	p.handOver(func(peer.ID) *protocol.Error { return cause })
}

// handOver is HandOver of those requesters for whom there is a cause.
func (p *Provider) handOver(causeOf func(requester peer.ID) *protocol.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweeps.Add(1)
	for _, a := range p.accounts {
		if a.self || p.stopping {
			continue
		}
		cause := causeOf(a.peer)
		if cause == nil {
			continue
		}
		for _, r := range a.active {
			if r.ended.IsZero() {
				p.asked.HandedOver++
				p.handed.Add(r.nonce, cause)
				r.cancel(cause)                        // before the slot of another is free for it
				p.wg.Go(func() { p.cancel(r, cause) }) // one who takes no answers holds up no other
			}
		}
	}
}
