package requester

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// plan sets what the course of the task is to be, from its terms.
func (c *conductor) plan() {
	verify := cmp.Or(c.terms.Verify, protocol.VerifyOff) // an old record may not say
	c.policy = market.Policy{Quorum: max(1, int(c.terms.Quorum)), Verify: verify}
	c.policy.Most = max(c.policy.Limit(), int(c.terms.Replicas))
	c.policy.Arbiter = c.terms.Where == protocol.WhereAny && c.on == ""
	c.course.Wanted, c.course.Most = int(c.terms.Replicas), c.policy.Most
	if c.policy.Quorum > 1 || verify != protocol.VerifyOff {
		c.course.Rule = func(ballots []market.Ballot) market.Ruling {
			return c.policy.Judge(time.Now(), ballots, c.witness)
		}
	}
}

// arbitrate has the own node run the task as well, since answers differ, if it
// can.
func (c *conductor) arbitrate(todo market.Todo) (*protocol.Result, error) {
	if slices.ContainsFunc(c.attempts, func(a *attempt) bool { return a.provider == c.r.cfg.Self && !a.over }) {
		return nil, c.start(todo.Start) // it is at it
	}
	if why, no := c.excluded[c.r.cfg.Self]; no && c.mayPass(c.r.cfg.Self) {
		return nil, protocol.Errorf(protocol.CodeBusy, "answers differ, and this node is to settle it: %s", why)
	}
	need := c.need(1)
	need.On = c.r.cfg.Self
	feasible, rejected := c.rank(need)
	placement, err := market.Place(need, slices.Concat(c.probe(need, feasible, nil), rejected))
	if protocol.CodeOf(err) == protocol.CodeBusy {
		return nil, err
	}
	if err != nil {
		c.policy.Arbiter = false
		return c.do(c.course.Next())
	}
	own := placement.Chosen[0]
	own.Reason = "answers differ: " + own.Reason
	c.begin(own)
	c.attempts[len(c.attempts)-1].arbiter = true
	return nil, c.start(todo.Start - 1)
}

// want makes the course ask as many providers at once as the policy has it,
// those given first.
func (c *conductor) want(providers []peer.ID) {
	if c.course.Rule == nil {
		return
	}
	witnesses := make([]market.Witness, len(providers))
	for i, p := range providers {
		witnesses[i] = c.witness(p)
	}
	n := c.policy.Start(time.Now(), c.rng, witnesses)
	c.course.Wanted, c.course.Quorum = max(c.course.Wanted, n), n
}

// witness is what is known of a provider whose answer is weighed. Networks
// count where there are as many as answers may be wanted.
func (c *conductor) witness(p peer.ID) market.Witness {
	w := market.Witness{Standing: c.r.trust.standing(p), Own: p == c.r.cfg.Self}
	if c.networks >= c.policy.Limit() {
		w.Network = c.r.cfg.Network.Vicinity(p)
	}
	return w
}

// countNetworks counts those that offers come from.
func (c *conductor) countNetworks() {
	known := make(map[string]bool)
	for _, offer := range c.r.cfg.Book.All(time.Now()) {
		if v := c.r.cfg.Network.Vicinity(offer.Provider); v != "" {
			known[v] = true
		}
	}
	c.networks = len(known)
}

// waitedEnough reports whether providers have been asked in vain for so long that
// the answers that there are must do, if they can be compared. A quorum that was
// asked for is waited for.
func (c *conductor) waitedEnough() bool {
	return c.policy.Quorum == 1 && c.course.Bound() > 1 && c.pauses > 0 && time.Since(c.pausedAt) > settleLost
}

// settleForFewer has the verdict made from the answers that there are, since
// nobody else could give one. It returns false when there are none.
func (c *conductor) settleForFewer() bool {
	bound := c.course.Bound()
	if c.course.Rule == nil || bound == 0 || bound >= c.policy.Most {
		return false
	}
	c.short = true
	c.policy.Most = bound
	c.course.Wanted, c.course.Most, c.course.Quorum = bound, bound, min(c.course.Quorum, bound)
	return true
}

// judged notes in the record which attempts agreed with the result, and which
// did not.
func (c *conductor) judged(accepted protocol.Digest, result *protocol.Result) {
	for _, a := range c.attempts {
		switch {
		case c.course.Rule == nil || a.said.IsZero():
		case a.said == accepted:
			if !slices.Contains(result.Receipts, a.receipt) {
				result.Receipts = append(result.Receipts, a.receipt)
			}
		default:
			a.setState(protocol.StateDissenting, "its result is not the one that was accepted")
		}
	}
}

// learn notes what the answers tell of those who gave them.
func (c *conductor) learn() {
	ballots := c.course.Ballots()
	if c.course.Rule == nil || len(ballots) == 0 {
		return
	}
	lessons := market.Lessons(time.Now(), ballots, c.witness)
	for _, b := range ballots {
		if !slices.ContainsFunc(lessons, func(l market.Lesson) bool { return l.Provider == b.Provider }) && b.Provider != c.r.cfg.Self {
			c.r.trust.unchecked(b.Provider)
		}
	}
	for _, l := range lessons {
		if l.Right {
			c.r.trust.agreed(l.Provider)
		} else {
			c.r.foundWrong(l.Provider, fmt.Sprintf("task %s: %s", c.id, l.Why))
		}
	}
}

// noQuorum says why there is no result, and who said what.
func (c *conductor) noQuorum(why string) error {
	var said []string
	for _, b := range c.course.Ballots() {
		said = append(said, fmt.Sprintf("attempt %d says %.8s", b.Attempt, b.Digest))
	}
	if len(said) == 0 {
		said = append(said, "nobody has answered")
	}
	if c.short {
		why += ", and there is nobody else to ask"
	}
	return protocol.Errorf(protocol.CodeQuorum, "%s: %s", why, strings.Join(said, ", ")).
		WithHint("'spare show %s' has who said what; join more peers, or ask for less", c.id)
}
