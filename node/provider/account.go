package provider

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// account is what one requester has here: replicas from their admission until
// it is told how they ended, and the results held for it. It lives as long as
// one of them or a connection does.
type account struct {
	peer    peer.ID
	text    string // the peer ID in text, which takes a while to make
	self    bool
	streams chan struct{} // room for its output streams
	vouches *rate.Limiter

	// Guarded by the Provider's mu.
	sessions int
	active   map[protocol.Nonce]*replica // what beats name
	queue    []*replica                  // those without a slot, in order of admission
	ready    int                         // those of queue that only want a slot
	running  int
	credit   market.Account
	asked    time.Time // when credit was
	fresh    *results  // those only in memory
	kept     *results  // those on disk, all of them older
	held     holding
	owed     *simplelru.LRU[protocol.Nonce, *debt] // signed, not countersigned
}

// results are held replicas by nonce, in order of their end.
type results = simplelru.LRU[protocol.Nonce, *replica]

// creditFor is how long an account's credit is taken to be what it was.
const creditFor = time.Second

// accountOf returns a requester's account. It is called with mu held.
func (p *Provider) accountOf(requester peer.ID) *account {
	a := p.accounts[requester]
	if a == nil {
		a = &account{
			peer:    requester,
			text:    requester.String(),
			self:    requester == p.cfg.Self,
			streams: make(chan struct{}, maxStreams),
			vouches: rate.NewLimiter(vouchRate, vouchRate),
			active:  make(map[protocol.Nonce]*replica),
			fresh:   newLRU[*replica](heldEach.results + 1),
			kept:    newLRU[*replica](heldEach.results + 1),
			owed:    newLRU[*debt](maxOwed),
		}
		p.accounts[requester] = a
	}
	return a
}

func newLRU[V any](size int) *simplelru.LRU[protocol.Nonce, V] {
	l, err := simplelru.NewLRU[protocol.Nonce, V](size, nil)
	if err != nil {
		panic("provider: a positive size is always valid: " + err.Error())
	}
	return l
}

// prune forgets an account that has nothing here. It is called with mu held.
func (p *Provider) prune(a *account) {
	if a.sessions == 0 && len(a.active) == 0 && a.held.results == 0 {
		delete(p.accounts, a.peer)
	}
}

// find returns a replica of the account's, or nil.
func (a *account) find(nonce protocol.Nonce) *replica {
	if r := a.active[nonce]; r != nil {
		return r
	}
	if r, ok := a.fresh.Peek(nonce); ok {
		return r
	}
	r, _ := a.kept.Peek(nonce)
	return r
}

// line is the account's part of the queue, of which so many replicas count.
func (a *account) line(queued int) market.Line {
	return market.Line{Requester: a.peer, Self: a.self, Running: a.running, Queued: queued, Account: a.credit}
}

// askCredit renews what is known of the account's credit now and then.
func (p *Provider) askCredit(a *account, now time.Time) {
	p.mu.Lock()
	stale := now.Sub(a.asked) > creditFor
	if stale {
		a.asked = now
	}
	p.mu.Unlock()
	if !stale || p.cfg.Ledger == nil {
		return
	}
	credit := p.cfg.Ledger.Account(a.peer)
	p.mu.Lock()
	a.credit = credit
	p.mu.Unlock()
}

// forgetActive ends what beats say of a replica. It is called with mu held.
func (p *Provider) forgetActive(r *replica) {
	delete(r.account.active, r.nonce)
	p.prune(r.account)
}
