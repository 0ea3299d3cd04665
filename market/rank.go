package market

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

const (
	// maxSpeed is the highest speed that a provider is believed to have. No
	// single core of today is this much faster than donor's unit, and without
	// a bound one that claims 1e6 would be drawn by everybody, always. A claim
	// below it is taken at its word until receipts carry gas to compare with.
	maxSpeed = 16
	// fullFresh is how long a provider that said it is full is not drawn. A
	// queue drains in seconds; pauses last until their provider says otherwise.
	fullFresh = 5 * time.Second
)

// Need is what one task asks of its providers.
type Need struct {
	Limits      *protocol.Limits
	Profile     uint32
	Module      protocol.Digest
	ModuleBytes uint64
	Replicas    int // distinct providers wanted; at least 1
	Where       protocol.Where
	Labels      []protocol.Wish    // what a provider's must be
	On          peer.ID            // the only provider wanted, or empty
	Self        peer.ID            // the requester's own node
	Exclude     map[peer.ID]string // tried before, and what came of it
	Size        float64            // expected work in seconds at speed 1; 0 when unknown
}

// Known is what the requester itself knows of a peer. A peer without a
// connection has no RTT, which is also what keeps it from being preferred.
type Known struct {
	RTT      time.Duration
	RTTKnown bool
	Warm     bool // our own receipts say that the module is ready there
	// Network is the part of its address that neighbours share, such as an
	// IPv4 /16; empty when unknown.
	Network string
	// Barred says why it is not to be chosen, for people, unless it is asked
	// for by name; empty: it may be.
	Barred string
	// Blocked says why it is never to be chosen, for people; empty: it may be.
	Blocked string
}

// Candidate is a provider as one task sees it. Rank makes it, the requester
// puts the answer to a probe into Load, with a LoadAge of 0, and Score judges it.
type Candidate struct {
	Provider peer.ID
	Offer    *protocol.Offer
	RTT      time.Duration
	RTTKnown bool
	Speed    float64        // work per second and slot, at most what is believable
	Load     *protocol.Load // nil when none is known
	LoadAge  time.Duration
	Network  string        // of its address; empty when unknown
	Barred   string        // as in Known
	Blocked  string        // likewise
	Warm     bool          // nothing to fetch or compile
	Feasible bool          // it could run the task
	Scored   bool          // it answered, and Score and Reason are from that
	Score    time.Duration // expected cost to everybody; less is better
	Reason   string        // why this one, or why not, in one line for people
}

// Rank parts the entries into those that could run the task and those that
// could not; each of the latter says why. Both are sorted by provider: a
// ranking by what gossip says would herd. known is asked once for each peer.
func Rank(now time.Time, need Need, entries []Entry, known func(peer.ID) Known) (feasible, rejected []Candidate) {
	feasible = make([]Candidate, 0, len(entries))
	for _, e := range entries {
		c := Candidate{
			Provider: e.Provider,
			Offer:    e.Offer,
			Speed:    Believable(e.Offer.Speed),
			Load:     e.Load,
		}
		if c.Load != nil {
			c.LoadAge = max(0, now.Sub(e.LoadAt))
		}
		k := known(e.Provider)
		c.RTT, c.RTTKnown, c.Network, c.Barred, c.Blocked = max(0, k.RTT), k.RTTKnown, k.Network, k.Barred, k.Blocked
		if e.Provider == need.Self {
			c.RTT, c.RTTKnown = 0, true
		}
		c.Warm = k.Warm || slices.ContainsFunc(e.Offer.Warm, func(d []byte) bool { return string(d) == string(need.Module[:]) })

		if c.Reason = need.bars(c); c.Reason == "" {
			c.Reason = need.lacks(c)
		}
		if c.Reason != "" {
			rejected = append(rejected, c)
			continue
		}
		c.Feasible = true
		c.Reason = need.unwilling(c)
		feasible = append(feasible, c)
	}
	sortByProvider(feasible)
	sortByProvider(rejected)
	return feasible, rejected
}

// Believable is the speed that a provider is taken to have which claims speed.
func Believable(speed float64) float64 { return min(speed, maxSpeed) }

func sortByProvider(list []Candidate) {
	byProvider := func(a, b Candidate) int { return strings.Compare(string(a.Provider), string(b.Provider)) }
	if !slices.IsSortedFunc(list, byProvider) { // a Book's are sorted
		slices.SortFunc(list, byProvider)
	}
}

// bars says why the requester does not want c whatever it offers, or nothing.
func (n Need) bars(c Candidate) string {
	self := c.Provider == n.Self
	switch {
	case n.On != "" && c.Provider != n.On:
		return "another provider is asked for by name"
	case n.Where == protocol.WhereLocal && !self:
		return "the task stays on its own node"
	case n.Where == protocol.WhereRemote && self:
		return "the task must leave its own node"
	}
	if c.Blocked != "" {
		return protocol.SafeText(c.Blocked)
	}
	if why, tried := n.Exclude[c.Provider]; tried {
		if why == "" {
			return "tried before"
		}
		return "tried before: " + protocol.SafeText(why)
	}
	if c.Barred != "" && n.On == "" {
		return protocol.SafeText(c.Barred)
	}
	return ""
}

// lacks says what the offer of c is short of, or nothing.
func (n Need) lacks(c Candidate) string {
	if c.Offer.Profile != n.Profile {
		return fmt.Sprintf("has sandbox profile %d, needs %d", c.Offer.Profile, n.Profile)
	}
	if w, unmet := n.unmet(c.Offer); unmet {
		return unmetWords(w, c.Offer)
	}
	if a, short := n.short(c.Offer); short {
		asked, most := protocol.Apart(a.words, a.unit, a.asked(n), a.most(c.Offer))
		return fmt.Sprintf("gives at most %s%s, the task may use %s", most, a.noun, asked)
	}
	if c.Load != nil && c.Load.Slots == 0 {
		return "offers no slots"
	}
	return ""
}

// unwilling says why c takes nothing now although it could, or nothing. Such
// a provider is drawn only when too few others are. A pause protects the owner
// of a machine from strangers, not from the owner's own tasks.
func (n Need) unwilling(c Candidate) string {
	if c.Provider == n.Self && (n.Where == protocol.WhereLocal || n.On == n.Self) {
		return ""
	}
	var state string
	switch c.Load.GetAvailability() {
	case protocol.Open:
		return ""
	case protocol.Full:
		if c.LoadAge >= fullFresh {
			return ""
		}
		state = "is full"
	case protocol.Paused:
		state = "is paused"
	case protocol.OwnerBusy:
		state = "is in use by its owner"
	default:
		state = "takes nothing" // for a reason that a newer version knows
	}
	if c.LoadAge < time.Second {
		return state
	}
	return fmt.Sprintf("%s (said %s ago)", state, c.LoadAge.Truncate(time.Second))
}
