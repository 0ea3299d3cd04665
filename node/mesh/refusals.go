package mesh

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// maxRefusals bounds the refusals remembered.
const maxRefusals = 16

// Refusal says why a peer was not let in, or did not let this node in.
type Refusal struct {
	Peer    peer.ID
	Code    protocol.Code
	Message string
	When    time.Time // the last time
}

// refusals are the latest ones, newest first, of peers that have not been
// admitted since: one for each peer and code, and of those who came from one
// origin, who can have any number of peer IDs, one for each code.
type refusals struct {
	mu   sync.Mutex
	list []noted
}

type noted struct {
	Refusal
	from netip.Prefix // see originOf; zero when this node had dialled
}

// add notes r and reports whether it is news of that peer. When there is no
// room the oldest is forgotten, of those that had not been dialled first.
func (l *refusals) add(r noted) (news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	news = true
	l.list = slices.DeleteFunc(l.list, func(o noted) bool {
		if o.Code != r.Code {
			return false
		}
		if o.Peer == r.Peer {
			news = false
			return true
		}
		return r.from.IsValid() && o.from == r.from
	})
	if len(l.list) == maxRefusals {
		oldest := len(l.list) - 1
		for i, o := range slices.Backward(l.list) {
			if o.from.IsValid() {
				oldest = i
				break
			}
		}
		l.list = slices.Delete(l.list, oldest, oldest+1)
	}
	l.list = slices.Insert(l.list, 0, r)
	return news
}

// about returns the latest refusal of p.
func (l *refusals) about(p peer.ID) (Refusal, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.list, func(r noted) bool { return r.Peer == p })
	if i < 0 {
		return Refusal{}, false
	}
	return l.list[i].Refusal, true
}

// forget drops what is noted of p, which has been admitted.
func (l *refusals) forget(p peer.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = slices.DeleteFunc(l.list, func(r noted) bool { return r.Peer == p })
}

func (l *refusals) all() []Refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Refusal, len(l.list))
	for i, r := range l.list {
		all[i] = r.Refusal
	}
	return all
}
