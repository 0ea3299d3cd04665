package mesh

import (
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

// refusals are the latest ones, newest first, one for each peer and code, of
// peers that have not been admitted since.
type refusals struct {
	mu   sync.Mutex
	list []Refusal
}

// add notes r and reports whether it is news.
func (l *refusals) add(r Refusal) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := len(l.list)
	l.list = slices.DeleteFunc(l.list, func(o Refusal) bool { return o.Peer == r.Peer && o.Code == r.Code })
	news := len(l.list) == before
	l.list = slices.Insert(l.list, 0, r)
	l.list = l.list[:min(len(l.list), maxRefusals)]
	return news
}

// about returns the latest refusal of p.
func (l *refusals) about(p peer.ID) (Refusal, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.list, func(r Refusal) bool { return r.Peer == p })
	if i < 0 {
		return Refusal{}, false
	}
	return l.list[i], true
}

// forget drops what is noted of p, which has been admitted.
func (l *refusals) forget(p peer.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = slices.DeleteFunc(l.list, func(r Refusal) bool { return r.Peer == p })
}

func (l *refusals) all() []Refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}
