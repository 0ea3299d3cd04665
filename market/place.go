package market

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/spare-network/spare/protocol"
)

// Placement is where the replicas of a task go.
type Placement struct {
	Chosen []Candidate // one for each replica, each another provider
	Spares []Candidate // who is asked next when a chosen one refuses or is lost, in this order
}

// Place chooses the lowest scores. The list holds what Score returned and,
// after those, the candidates that did not answer in time, which are chosen
// only when too few did; no ranking is made among the latter, whose order is
// that of the draw. Equal scores keep the order of the list. Providers that
// take nothing now come last among the spares. The list may hold what Rank
// rejected, which is never chosen but serves to say why nothing was.
//
// The own node is the last resort even while it is paused for others: a pause
// protects its owner from strangers.
//
// Without enough providers it returns a *protocol.Error of CodeNoPeers when
// nobody is known, CodeNoOffers when nobody could run the task, or CodeBusy
// when those who could take nothing now.
//
// Replicas go to different providers, and to different networks when there is
// a choice: what takes one machine away often takes its neighbours, too.
func Place(need Need, list []Candidate) (Placement, error) {
	var takers, later, own []Candidate
	for _, c := range list {
		switch {
		case !c.Feasible:
		case c.Provider == need.Self && need.unwilling(c) != "" && c.Load.GetAvailability() != protocol.Full:
			own = append(own, c)
		case need.unwilling(c) != "":
			later = append(later, c)
		default:
			takers = append(takers, c)
		}
	}
	n := need.replicas()
	if len(takers) < n {
		takers = append(takers, own...)
	} else {
		later = append(own, later...)
	}
	if len(takers) < n {
		return Placement{}, shortage(need, list, takers, later)
	}
	slices.SortStableFunc(takers, func(a, b Candidate) int {
		if a.Scored && b.Scored {
			return cmp.Compare(a.Score, b.Score)
		}
		return cmp.Compare(unanswered(a), unanswered(b))
	})
	spread(takers, n)
	answers := 0
	for i, c := range takers {
		if c.Scored {
			answers++
		} else {
			takers[i].Reason = need.unasked(len(takers)) + ", " + need.place(c)
		}
	}
	if answers > 1 {
		takers[0].Reason += fmt.Sprintf("; best of %d asked", answers)
		for i := 1; i < min(n, answers); i++ {
			takers[i].Reason += fmt.Sprintf("; no. %d of %d asked", i+1, answers)
		}
	}
	return Placement{Chosen: takers[:n:n], Spares: append(takers[n:], later...)}, nil
}

// spread moves to the first n places candidates of different networks, in the
// order of the list, and of known ones again only when there are no others.
func spread(list []Candidate, n int) {
	used := make(map[string]bool)
	for i := range min(n, len(list)) {
		next := i + max(0, slices.IndexFunc(list[i:], func(c Candidate) bool {
			return c.Scored == list[i].Scored && (c.Network == "" || !used[c.Network])
		}))
		chosen := list[next]
		copy(list[i+1:next+1], list[i:next])
		list[i] = chosen
		used[chosen.Network] = true
	}
}

// unasked says why one of so many takers is named that has told nothing of its
// load.
func (n Need) unasked(takers int) string {
	switch {
	case n.On != "":
		return "asked for by name"
	case takers == n.replicas():
		return "the only choice"
	default:
		return "next in the draw"
	}
}

func unanswered(c Candidate) int {
	if c.Scored {
		return 0
	}
	return 1
}
