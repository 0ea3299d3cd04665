package main

import (
	"strings"
	"testing"

	"github.com/spare-network/spare/node/api"
)

func TestWhyANodeIsIdle(t *testing.T) {
	open := api.Donate{State: "open", Reason: "donating always"}
	for want, c := range map[string]struct {
		state string
		why   nodeWhy
	}{
		"it takes no tasks of others: closed by its schedule": {"paused", nodeWhy{Donation: api.Donation{Donate: api.Donate{State: "paused", Reason: "closed by its schedule"}}, Running: 1, PeersConnected: 1}},
		"it is full: ":                          {"full", nodeWhy{Donation: api.Donation{Donate: open}, Running: 2, Slots: 2, PeersConnected: 1}},
		"it is not idle: 1 of 2 slots":          {"open", nodeWhy{Donation: api.Donation{Donate: open}, Running: 1, Slots: 2}},
		"it would take tasks, but no peer is":   {"open", nodeWhy{Donation: api.Donation{Donate: open, Asked: api.Asked{Taken: 9}}}},
		"it would take tasks, but none of 3":    {"open", nodeWhy{Donation: api.Donation{Donate: open}, PeersConnected: 3}},
		"it would take tasks, but has refused":  {"open", nodeWhy{Donation: api.Donation{Donate: open, Asked: api.Asked{Refused: 9}}, PeersConnected: 3}},
		"it would take tasks, but is asked for": {"open", nodeWhy{Donation: api.Donation{Donate: open, Asked: api.Asked{Taken: 1, Refused: 9}}, PeersConnected: 3}},
	} {
		if got := c.why.because(c.state); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestWhyATaskIsWhereItIs(t *testing.T) {
	at := func(state, reason string) api.Attempt {
		return api.Attempt{Provider: "12D3KooWHdiAxVd8u", State: state, Reason: reason}
	}
	for want, task := range map[string]api.Task{
		"done on 12D3KooWHdiAxVd8: the only choice":  {State: "done", Attempts: []api.Attempt{at("refused", "no"), at("done", "the only choice")}},
		"running on 12D3KooWHdiAxVd8: near":          {State: "running", Attempts: []api.Attempt{at("unreachable", "far"), at("running", "near")}},
		"queued on 12D3KooWHdiAxVd8: near":           {State: "queued", Attempts: []api.Attempt{at("queued", "near")}},
		"queued: waiting to ask again: all are full": {State: "queued", Reason: "waiting to ask again: all are full", Attempts: []api.Attempt{at("refused", "no")}},
		"refused: E-NO-OFFERS: none offers 3 GiB":    {State: "refused", Error: &api.TaskError{Code: "E-NO-OFFERS", Message: "none offers 3 GiB"}},
		"queued: looking for a provider":             {State: "queued", Reason: "looking for a provider"},
	} {
		if got := (&taskWhy{Task: task}).because(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestWhyATaskWaitsForThePeerOfItsName has the task know what was so when it asked
// last, and the offers what is so by now.
func TestWhyATaskWaitsForThePeerOfItsName(t *testing.T) {
	const name = "12D3KooWHdiAxVd8u"
	task := api.Task{State: "queued", Reason: "waiting to ask again: no offer is known", Terms: api.Terms{On: name}}
	other := api.Offer{Provider: "12D3KooWEyoppNCU", Reason: "another provider is asked for by name"}
	for want, offers := range map[string][]api.Offer{
		"queued: no offer of 12D3KooWHdiAxVd8 is known, which alone may run it":                                  {other},
		"queued: 12D3KooWHdiAxVd8 alone may run it, and cannot now: is paused":                                   {other, {Provider: name, Reason: "is paused"}},
		"queued: 12D3KooWHdiAxVd8 alone may run it and offers to now: it is asked again in a moment":             {other, {Provider: name, Usable: true}},
		"queued: 12D3KooWHdiAxVd8 (this node) alone may run it and offers to now: it is asked again in a moment": {{Provider: name, Self: true, Usable: true, Reason: "paused"}},
	} {
		if got := (&taskWhy{Task: task, Offers: offers}).because(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestWhySaysNothingTwice looks for a reason in both the line and the table.
func TestWhySaysNothingTwice(t *testing.T) {
	var b strings.Builder
	n := nodeWhy{Donation: api.Donation{Donate: api.Donate{State: "paused", Mode: "always", Reason: "paused by hand"}}}
	n.Why = n.because("paused")
	one := taskWhy{Task: api.Task{State: "running", Attempts: []api.Attempt{{Provider: "12D3KooWHdiAxVd8u", State: "running", Reason: "near"}}}}
	one.Why = one.because()
	for said, print := range map[string]func() error{
		"paused by hand": func() error { return printNodeWhy(&b, n) },
		"near":           func() error { return printTaskWhy(&b, one) },
	} {
		b.Reset()
		if err := print(); err != nil || strings.Count(b.String(), said) != 1 {
			t.Errorf("%q is said so (%v):\n%s", said, err, b.String())
		}
	}
}
