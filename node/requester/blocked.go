package requester

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

const (
	// refusesFor is how long a provider is not asked again that runs nothing of
	// this node: its owner may have changed their mind, of which nobody is told.
	refusesFor = 10 * time.Minute
	// maxRefusers bounds the providers that are remembered to refuse.
	maxRefusers = 4096
)

// refusers are the providers that run nothing of this node, whatever it is.
type refusers struct {
	some atomic.Bool // mostly none does, and then nobody need be looked up

	mu     sync.Mutex
	byPeer *simplelru.LRU[peer.ID, refuser]
}

type refuser struct {
	said string
	at   time.Time
}

func newRefusers() (*refusers, error) {
	byPeer, err := simplelru.NewLRU[peer.ID, refuser](maxRefusers, nil)
	if err != nil {
		return nil, fmt.Errorf("remember who refuses: %w", err)
	}
	return &refusers{byPeer: byPeer}, nil
}

func (r *refusers) note(p peer.ID, said string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byPeer.Add(p, refuser{said, time.Now()})
	r.some.Store(true)
}

// forget notes that a provider has taken a replica.
func (r *refusers) forget(p peer.ID) {
	if r.some.Load() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.byPeer.Remove(p)
		r.some.Store(r.byPeer.Len() > 0)
	}
}

// of returns what a provider said when it lately refused, or "".
func (r *refusers) of(p peer.ID, now time.Time) string {
	if !r.some.Load() {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if one, ok := r.byPeer.Peek(p); ok && now.Sub(one.at) < refusesFor {
		return one.said
	}
	return ""
}

// Why a peer is excluded that runs nothing of this node, or that this node's
// owner has blocked. What the peer said follows the first.
const (
	whyRefuses = "it runs nothing of this node: "
	whyBlocked = "it is blocked by this node's owner"
)

func refuses(why string) bool { return strings.HasPrefix(why, whyRefuses) }

// Blocked returns why a provider is never chosen, for people, or "".
func (r *Requester) Blocked(p peer.ID) string {
	if p != r.cfg.Self && r.cfg.Blocked != nil && r.cfg.Blocked(p) {
		return whyBlocked
	}
	return ""
}

// Refuses returns what a provider said that lately would not run anything of this
// node, or "".
func (r *Requester) Refuses(p peer.ID) string { return r.refusers.of(p, time.Now()) }

// Barred returns why a provider is not chosen now unless it is asked for by name,
// for people, or "".
func (r *Requester) Barred(p peer.ID) string {
	now := time.Now()
	if said := r.refusers.of(p, now); said != "" {
		return whyRefuses + said
	}
	if why := r.trust.barred(p, now); why != "" {
		return "not trusted: " + why
	}
	return ""
}

// Leave takes the attempts away from a provider that was blocked just now, which
// [Config.Blocked] says already. Others run them. One that has ended there is not
// done again.
func (r *Requester) Leave(p peer.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil || p == r.cfg.Self {
		return
	}
	for _, a := range r.attempts {
		if a.provider == p {
			r.wg.Go(func() { a.send(event{kind: evBlocked}) })
		}
	}
}

// refusedEver ends an attempt whose provider runs nothing of this node. It is not
// asked again, and says nothing of whether others take the task: when there may be
// none, that ends the task.
func (c *conductor) refusedEver(a *attempt, ev event) (*protocol.Result, error) {
	said := protocol.SafeText(ev.refusal.Message)
	c.r.refusers.note(a.provider, said)
	c.end(a, protocol.StateRefused, ev.why())
	c.excluded[a.provider] = whyRefuses + said
	if c.on != "" {
		err := protocol.Errorf(protocol.CodeBlocked, "peer %s runs nothing of this node: %s", a.provider, said).
			WithHint("leave --on away: others may run it")
		return nil, fmt.Errorf("%w: %w", errFinal, err)
	}
	return c.step(a, market.Refused)
}

// blocked ends an attempt whose provider was blocked here.
func (c *conductor) blocked(a *attempt) (*protocol.Result, error) {
	if a.bound || !a.said.IsZero() {
		return nil, nil // the work is done
	}
	a.withdraw()
	c.r.pool.forget(a.provider)
	c.end(a, protocol.StateCancelled, whyBlocked)
	return c.step(a, market.Refused)
}
