package market

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spare-network/spare/protocol"
)

// shortage says why there are fewer takers than replicas wanted, and what
// would help.
func shortage(need Need, list, takers, later []Candidate) *protocol.Error {
	n, able := need.replicas(), len(takers)+len(later)
	switch {
	case able == 0:
		return nobody(need, list)
	case able < n:
		return protocol.Errorf(protocol.CodeNoOffers, "%s need as many providers, only %d can run it", count(n, "replica"), able).
			WithHint("try --replicas %d, or see 'spare offers'", able)
	case len(takers) > 0:
		return protocol.Errorf(protocol.CodeBusy, "%s need as many providers, only %d of %d can take one now",
			count(n, "replica"), len(takers), able).
			WithHint("try --replicas %d, or again later", len(takers))
	default:
		return protocol.Errorf(protocol.CodeBusy, "%s could run it, none takes it now: %s", count(able, "provider"), reasons(later)).
			WithHint("try again later, or see 'spare offers'")
	}
}

// nobody says why nobody in the list could run the task. Those that the
// requester does not want, whatever they offer, would only blur why the others
// cannot.
func nobody(need Need, list []Candidate) *protocol.Error {
	var wanted, tried []Candidate
	for _, c := range list {
		switch _, was := need.Exclude[c.Provider]; {
		case need.On != "" && c.Provider != need.On:
		case need.On != "" && c.Blocked != "":
			return protocol.Errorf(protocol.CodeBlocked, "%s cannot be asked: %s", need.On, c.Blocked).WithHint("'spare unblock %s' takes that back", need.On)
		case need.bars(c) == "":
			wanted = append(wanted, c)
		case was, c.Barred != "", c.Blocked != "":
			tried = append(tried, c)
		}
	}
	switch {
	case len(wanted) > 0:
		return unfit(need, wanted, len(tried) > 0)
	case need.On != "" && len(tried) > 0:
		return protocol.Errorf(protocol.CodeNoOffers, "%s alone may run it, and cannot now: %s", need.On, tried[0].Reason).
			WithHint("see 'spare peers', or leave --on away")
	case len(tried) > 0:
		return protocol.Errorf(protocol.CodeNoOffers, "nobody is left to try: %s", reasons(tried)).
			WithHint("see 'spare peers'")
	case need.On != "":
		return protocol.Errorf(protocol.CodeNoPeers, "no offer of %s is known", need.On).
			WithHint("see 'spare peers', or leave --on away")
	case need.Where == protocol.WhereLocal:
		return protocol.Errorf(protocol.CodeNoOffers, "this node gives nothing yet").
			WithHint("try again in a moment, or see 'spare status'")
	case need.Where == protocol.WhereRemote:
		return protocol.Errorf(protocol.CodeNoPeers, "no peer is known, and the task must leave this node").
			WithHint("leave --remote away, or join others with 'spare up --bootstrap ADDRESS'")
	default:
		return protocol.Errorf(protocol.CodeNoPeers, "no peer is known").
			WithHint("join others with 'spare up --bootstrap ADDRESS'")
	}
}

// unfit names the one amount that nobody offers, when there is one, and
// otherwise each reason.
func unfit(need Need, wanted []Candidate, triedOthers bool) *protocol.Error {
	self := func(c Candidate) bool { return c.Provider == need.Self }
	if len(wanted) == 1 {
		who := "peer " + wanted[0].Provider.String()
		if self(wanted[0]) {
			who = "this node"
		}
		hint := "see 'spare offers'"
		if _, unmet := need.unmet(wanted[0].Offer); unmet {
			hint = labelHint
		} else if a, short := need.short(wanted[0].Offer); short && wanted[0].Offer.Profile == need.Profile {
			hint = a.remedy(a.most(wanted[0].Offer))
		}
		return protocol.Errorf(protocol.CodeNoOffers, "%s %s", who, wanted[0].Reason).WithHint("%s", hint)
	}
	known := " known"
	if triedOthers {
		known = " left to try"
	}
	who := count(len(wanted), "peer") + known
	if slices.ContainsFunc(wanted, self) {
		who = "this node and " + count(len(wanted)-1, "peer") + known
	}
	if texts := need.unmetByAll(wanted); texts != "" {
		return protocol.Errorf(protocol.CodeNoOffers, "%s, none has %s: %s", who, texts, labelsOf(wanted)).WithHint(labelHint)
	}
	for _, a := range amounts {
		var most uint64
		for _, c := range wanted {
			most = max(most, a.most(c.Offer))
		}
		if most < a.asked(need) {
			asked, given := protocol.Apart(a.words, a.unit, a.asked(need), most)
			return protocol.Errorf(protocol.CodeNoOffers, "%s, none offers %s%s: the most is %s", who, asked, a.noun, given).
				WithHint("%s", a.remedy(most))
		}
	}
	return protocol.Errorf(protocol.CodeNoOffers, "%s, none can run it: %s", who, reasons(wanted)).
		WithHint("see 'spare offers'")
}

// reasons joins the three most common reasons, each with how many have it.
func reasons(list []Candidate) string {
	times := map[string]int{}
	var words []string
	for _, c := range list {
		if times[c.Reason]++; times[c.Reason] == 1 {
			words = append(words, c.Reason)
		}
	}
	slices.SortFunc(words, func(a, b string) int {
		return cmp.Or(cmp.Compare(times[b], times[a]), strings.Compare(a, b))
	})
	more := ""
	if len(words) > 3 {
		words, more = words[:3], "; and more"
	}
	for i, w := range words {
		words[i] = fmt.Sprintf("%s (%d)", w, times[w])
	}
	return strings.Join(words, "; ") + more
}
