package provider

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// maxShown bounds the replicas that are told of at once.
const maxShown = 1000

// maxProgram is how much of a program's name is kept, in bytes.
const maxProgram = 64

// Stay is a replica of another node's that was started here and has ended.
type Stay struct {
	Requester peer.ID
	Task      string // the requester's word
	Name      string // of its program, likewise
	Module    protocol.Digest
	Began     time.Time // when its program was started
	Ended     time.Time
	Wall      time.Duration // of its program
	Gas       uint64
	Exit      int32         // of a program that has ended by itself, when Code is empty
	Code      protocol.Code // how it has ended otherwise
}

// Guest is a replica of another node's that is here.
type Guest struct {
	Requester peer.ID
	Task      string // the requester's word
	Name      string // of its program, likewise
	Module    protocol.Digest
	State     protocol.State
	Came      time.Time
	Wall      time.Duration // of its program so far; 0: it has not begun
	Gas       uint64        // as far as is known
}

// Guests returns the replicas of other nodes that are here and have not ended,
// those that run first, then in the order of their coming; at most 1000.
func (p *Provider) Guests() []Guest {
	now := time.Now()
	var list []Guest
	p.mu.Lock()
	for _, a := range p.accounts {
		if a.self {
			continue
		}
		for _, r := range a.active {
			if r.phase == phaseEnded {
				continue
			}
			pr := r.progress(now)
			list = append(list, Guest{
				Requester: a.peer, Task: r.task, Name: r.name, Module: r.module, State: pr.State,
				Came: r.came, Wall: time.Duration(pr.WallUs) * time.Microsecond, Gas: pr.Gas,
			})
		}
	}
	p.mu.Unlock()
	slices.SortFunc(list, func(a, b Guest) int {
		return cmp.Or(-cmp.Compare(a.State, b.State), a.Came.Compare(b.Came))
	})
	list = list[:min(len(list), maxShown)]
	for i := range list {
		list[i].Name = protocol.SafeText(list[i].Name)
	}
	return list
}

// programOf is the name of a replica's program, as far as it is kept.
func programOf(s *protocol.Spec) string {
	if len(s.Args) == 0 {
		return ""
	}
	name := s.Args[0]
	if len(name) > maxProgram { // a long one is not kept alive by its beginning
		name = strings.Clone(name[:maxProgram])
	}
	return name
}

// noteStay tells of a replica that was started and has ended. It is called
// without mu, once for each, when its outcome is settled.
func (p *Provider) noteStay(r *replica, o *protocol.Outcome) {
	if p.cfg.Ended == nil || r.account.self || r.running.IsZero() && r.ctx.Err() != nil { // cancelled before it ran
		return
	}
	s := Stay{
		Requester: r.account.peer, Task: r.task, Name: r.name, Module: r.module,
		Began: r.running, Ended: r.ended, Gas: r.gas.Load(), Code: protocol.Code(o.Code),
	}
	if s.Began.IsZero() { // it could not be run
		s.Began = s.Ended
	}
	s.Wall = r.wall
	if result := o.Result; result != nil {
		s.Wall = time.Duration(result.WallUs) * time.Microsecond
		s.Exit, s.Code = result.ExitCode, protocol.Code(result.Code)
	}
	p.cfg.Ended(s)
}

// Expel ends the replicas of those whose tasks may run here no longer, and tells
// their requesters at once. It is called when [Config.Access] says so already.
func (p *Provider) Expel() {
	if p.cfg.Access != nil {
		p.handOver(p.cfg.Access)
	}
}
