package market

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

// Odds are of a right answer against a wrong one.
const (
	autoOdds   = 1e3 - 1
	strictOdds = 1e6 - 1
	// plainOdds are what a comparison must reach to speak for those who agree,
	// and what is accepted under [protocol.VerifyAuto] when nobody is left to ask.
	plainOdds = 9
	// newcomerOdds are those of a provider of which nothing is known.
	newcomerOdds = (1 - faulty) / faulty
	// ownOdds are those of the requester's own node: beyond all others
	// together.
	ownOdds = 1e200
	// mostReplicas is how many answers a task may cost, and mostStrict how
	// many under [protocol.VerifyStrict]: seven newcomers that agree are right
	// with odds of 4^7 only, ten with 4^10 and thus one in a million.
	mostReplicas = 7
	mostStrict   = protocol.MaxReplicas
)

// Witness is what the requester knows of a provider when its answer is weighed.
type Witness struct {
	Standing Standing
	// Own says that it is the requester's own node, whose answer is certain.
	Own bool
	// Network is the part of its address that neighbours share. Equal answers
	// from one network count as one. It must be left empty where there is no
	// choice of networks, and when unknown.
	Network string
}

// odds are those of the witness being right, or 0 when its answer counts for
// nothing: it has been found wrong a short time ago, perhaps after it answered.
func (w Witness) odds(now time.Time) float64 {
	if w.Own {
		return ownOdds
	}
	if _, barred := w.Standing.Barred(now); barred {
		return 0
	}
	c := w.Standing.Credibility()
	return c / (1 - c)
}

// Policy says how many answers one task needs. A Quorum above 1 is a fixed
// number of equal digests, and Verify has no part in it then; Verify must not
// be the default, which is for the node's configuration to resolve.
//
// # Why nothing must tell a check from another task
//
// A provider that sees whether its answer will be compared lies only when it
// will not be. So whatever it is sent must be the same in both cases. Under
// [protocol.VerifyAuto] that forbids asking for a commitment of those tasks
// alone that are compared.
type Policy struct {
	Quorum int
	Verify protocol.Verify
	// Most bounds the answers to one task; 0 stands for 7, or for 16 under
	// VerifyStrict. The requester lowers it to the number of providers there
	// are, so that it is known when nobody is left to ask.
	Most int
	// Checked says that no answer may stand alone. [Policy.Start] sets it.
	Checked bool
	// Arbiter says that the requester's own node may run the task, too. It does
	// when answers differ, so that liars who agree never outvote the honest.
	Arbiter bool
}

// Limit is how many answers the task may cost at most.
func (p Policy) Limit() int {
	switch {
	case p.Most > 0:
		return min(p.Most, protocol.MaxReplicas)
	case p.Verify == protocol.VerifyStrict && p.Quorum <= 1:
		return mostStrict
	default:
		return max(mostReplicas, p.Quorum)
	}
}

func (p Policy) target() float64 {
	if p.Verify == protocol.VerifyStrict {
		return strictOdds
	}
	return autoOdds
}

// Start says how many of the providers chosen, best first, are to run the task
// at once, given what is known of each; for those beyond the list a newcomer
// is supposed. It draws whether the task is a check and notes that in p.
func (p *Policy) Start(now time.Time, rng *rand.Rand, chosen []Witness) int {
	switch {
	case p.Quorum > 1:
		return p.Quorum
	case p.Verify == protocol.VerifyOff:
		return 1
	}
	first := witnessAt(chosen, 0)
	p.Checked = p.Verify == protocol.VerifyStrict || !first.StandsAlone(now) || !first.Own && rng.Float64() < first.Standing.CheckShare()
	if !p.Checked {
		return 1
	}
	odds := 1.0
	for n := 0; n < p.Limit(); n++ {
		w := witnessAt(chosen, n)
		odds *= max(1, w.odds(now))
		if odds >= p.target() && (n > 0 || w.Own) {
			return n + 1
		}
	}
	return p.Limit()
}

func witnessAt(list []Witness, i int) Witness {
	if i < len(list) {
		return list[i]
	}
	return Witness{}
}

// StandsAlone reports whether the witness's answer may be taken without another,
// in a task that is not checked. When such a task needs a spare, only one that
// stands alone, too, saves it a comparison.
func (w Witness) StandsAlone(now time.Time) bool {
	return w.Own || w.odds(now) > 0 && w.Standing.CheckShare() < 1
}

// Judge rules on the ballots so far. It accepts Quorum equal digests, or else
// a digest whose odds reach 1000 to 1 (VerifyAuto) or a million to 1
// (VerifyStrict), or one good answer that may stand alone. Otherwise it says
// how many more are needed, or why none can help.
//
// Odds are Sarmenta's for groups of equal answers: with C the product of the
// odds of those in a group, it is right with probability C over the sum of
// those of all groups and 1, which stands for all being wrong. Ballots of
// providers found wrong since count for nothing: when one is, Judge is asked
// again about every task that has a ballot of it and is not concluded, and
// asks for the answers that are missing now.
//
// Answers that differ go before the Arbiter, whatever their odds: colluders who
// wait until they are believed and then lie together, under ever new names,
// have honest providers found wrong else, one after another, until there are
// none left (the simulator shows it).
//
// When the ballots are as many as may be, VerifyAuto accepts odds of 9 to 1.
// VerifyStrict never accepts less than it says.
func (p Policy) Judge(now time.Time, ballots []Ballot, known func(peer.ID) Witness) Ruling {
	if p.Quorum <= 1 && p.Verify == protocol.VerifyOff && len(ballots) > 0 {
		return Ruling{Accepted: true, Digest: ballots[0].Digest}
	}
	groups := weigh(now, ballots, known)
	if len(groups) == 0 {
		return p.further(ballots, 0, max(1, p.Quorum))
	}
	if p.Quorum > 1 {
		most := slices.MaxFunc(groups, func(a, b group) int { return cmp.Compare(a.size, b.size) })
		if most.size >= p.Quorum {
			return Ruling{Accepted: true, Digest: most.digest}
		}
		return p.further(ballots, most.size, p.Quorum-most.size)
	}
	if p.Arbiter && len(groups) > 1 && !slices.ContainsFunc(groups, func(g group) bool { return g.own }) {
		return Ruling{More: 1, Own: true}
	}
	best, odds, target := groups[0], oddsOf(groups), p.target()
	auto := p.Verify != protocol.VerifyStrict
	switch {
	case odds >= target && (best.own || best.size > 1),
		auto && !p.Checked && best.proven && len(groups) == 1,
		auto && odds >= plainOdds && len(ballots) >= p.Limit():
		return Ruling{Accepted: true, Digest: best.digest}
	}
	// Those who come next are supposed to be as good as the best who agree: to
	// ask too few costs a further round, to ask too many costs work.
	more := max(1, math.Ceil(math.Log(target/odds)/math.Log(max(newcomerOdds, best.highest))))
	return p.further(ballots, best.size, int(more))
}

// further asks for more ballots, as many as there may still be, when agreeing
// is the size of the best group.
func (p Policy) further(ballots []Ballot, agreeing, more int) Ruling {
	left := p.Limit() - len(ballots)
	switch {
	case p.Quorum > 1 && more > left:
		return Ruling{Hopeless: fmt.Sprintf("no quorum: %d of %s agree, and %d must", agreeing, count(len(ballots), "answer"), p.Quorum)}
	case left > 0:
		return Ruling{More: min(more, left)}
	case len(ballots) == 1:
		return Ruling{Hopeless: "one answer, of a provider that has not earned belief, and none to compare it with"}
	case agreeing == len(ballots):
		return Ruling{Hopeless: fmt.Sprintf("all %s agree, but of providers too new to be certain of", count(agreeing, "answer"))}
	default:
		return Ruling{Hopeless: fmt.Sprintf("%d of %s agree, which is too few to be certain", agreeing, count(len(ballots), "answer"))}
	}
}

// Lesson is what comparing answers has taught about one provider.
type Lesson struct {
	Provider peer.ID
	Right    bool
	Why      string // it was found wrong, for people
}

// Lessons says what the ballots of a task teach, once it has ended and whatever
// was ruled. Those in a group that is right with odds of at least 9 to 1 are
// right; all others are found wrong if its odds are at least 1000 to 1. If no
// group is so good, or there is one ballot alone, there is nothing to learn,
// and each is [Standing.Unchecked]. The own node has no standing.
//
// To find an honest provider wrong by mistake is worse than to let a liar go:
// it leaves the liars with a larger part of those who remain.
func Lessons(now time.Time, ballots []Ballot, known func(peer.ID) Witness) []Lesson {
	if len(ballots) < 2 {
		return nil
	}
	groups := weigh(now, ballots, known)
	if len(groups) == 0 || groups[0].size < 2 && !groups[0].own {
		return nil
	}
	best, odds := groups[0], oddsOf(groups)
	if odds < plainOdds {
		return nil
	}
	why := fmt.Sprintf("answered otherwise than %d others that agree", best.size)
	if best.own {
		why = "answered otherwise than this node"
	}
	lessons := make([]Lesson, 0, len(ballots))
	for _, b := range ballots {
		switch {
		case known(b.Provider).Own:
		case b.Digest == best.digest:
			lessons = append(lessons, Lesson{Provider: b.Provider, Right: true})
		case odds >= autoOdds:
			lessons = append(lessons, Lesson{Provider: b.Provider, Why: why})
		}
	}
	return lessons
}

// group is all ballots with one digest.
type group struct {
	digest  protocol.Digest
	size    int     // those that count
	odds    float64 // product of theirs
	highest float64 // among theirs
	own     bool    // the requester's own node is in it
	proven  bool    // one in it may stand alone
}

// weigh groups the ballots that count, the most credible group first.
func weigh(now time.Time, ballots []Ballot, known func(peer.ID) Witness) []group {
	groups := make([]group, 0, 2)
	for i, b := range ballots {
		w := known(b.Provider)
		odds := w.odds(now)
		if odds == 0 || doubled(now, ballots, i, w, known) {
			continue
		}
		at := 0
		for at < len(groups) && groups[at].digest != b.Digest {
			at++
		}
		if at == len(groups) {
			groups = append(groups, group{digest: b.Digest, odds: 1})
		}
		g := &groups[at]
		g.size++
		g.odds = min(g.odds*odds, ownOdds)
		g.highest = max(g.highest, odds)
		g.own = g.own || w.Own
		g.proven = g.proven || w.StandsAlone(now)
		for ; at > 0 && groups[at].better(groups[at-1]); at-- {
			groups[at], groups[at-1] = groups[at-1], groups[at]
		}
	}
	return groups
}

func (g group) better(h group) bool {
	return g.odds > h.odds || g.odds == h.odds && g.size > h.size
}

// doubled reports whether another ballot for the same digest, from the network
// of witness w, takes the place of ballot i: one that is better known, or as
// well and earlier. Likewise for a second ballot of one provider.
func doubled(now time.Time, ballots []Ballot, i int, w Witness, known func(peer.ID) Witness) bool {
	for j, b := range ballots {
		if j == i || b.Digest != ballots[i].Digest {
			continue
		}
		if b.Provider == ballots[i].Provider {
			if j < i {
				return true
			}
			continue
		}
		if w.Network == "" {
			continue
		}
		other := known(b.Provider)
		if other.Network != w.Network {
			continue
		}
		if mine, its := w.odds(now), other.odds(now); its > mine || its == mine && j < i {
			return true
		}
	}
	return false
}

// oddsOf are the odds of the first group being right.
func oddsOf(groups []group) float64 {
	against := 1.0
	for _, g := range groups[1:] {
		against += g.odds
	}
	return groups[0].odds / against
}
