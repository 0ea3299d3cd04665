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
		if got := becauseOf(&task); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
