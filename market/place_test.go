package market_test

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// answered is a candidate as Score returns it.
func answered(p peer.ID, score time.Duration) market.Candidate {
	return asked(func(c *market.Candidate) {
		c.Provider, c.Scored, c.Score, c.Reason = p, true, score, "idle"
	})
}

func at(p peer.ID, score time.Duration, network string) market.Candidate {
	c := answered(p, score)
	c.Network = network
	return c
}

func TestPlace(t *testing.T) {
	silent := asked(func(c *market.Candidate) { c.Provider = "silent" })
	full := answered("full", 1)
	full.Load = &protocol.Load{Slots: 1, Availability: protocol.Full}
	mine := answered(self, 20)
	mine.Load = &protocol.Load{Slots: 1, Availability: protocol.OwnerBusy}
	unfit := market.Candidate{Provider: "unfit", Offer: offerAt(0, nil), Reason: "gives at most 1 GiB of memory, the task may use 8 GiB"}
	cases := []struct {
		name     string
		replicas int
		list     []market.Candidate
		chosen   []peer.ID
		spares   []peer.ID
		reason   string // of the first
	}{
		{"the only one", 1, []market.Candidate{answered("a", 9)}, []peer.ID{"a"}, nil, "idle"},
		{"lowest score first", 1, []market.Candidate{answered("a", 9), answered("b", 3), answered("c", 5)}, []peer.ID{"b"}, []peer.ID{"c", "a"}, "idle; best of 3 asked"},
		{"replicas on different peers", 2, []market.Candidate{answered("a", 9), answered("b", 3), answered("c", 5)}, []peer.ID{"b", "c"}, []peer.ID{"a"}, "idle; best of 3 asked"},
		{"equal scores in the order of the draw", 1, []market.Candidate{answered("b", 3), answered("a", 3)}, []peer.ID{"b"}, []peer.ID{"a"}, "idle; best of 2 asked"},
		{"full ones are the last spares", 1, []market.Candidate{full, answered("a", 9), silent}, []peer.ID{"a"}, []peer.ID{"silent", "full"}, "idle"},
		{"silent ones after those who answered", 2, []market.Candidate{silent, answered("a", 9), unfit}, []peer.ID{"a", "silent"}, nil, "idle"},
		{"the own node rather than nobody, though its owner is busy", 1, []market.Candidate{full, mine}, []peer.ID{self}, []peer.ID{"full"}, "idle"},
		{"not the own node while its owner is busy", 1, []market.Candidate{mine, answered("a", 30)}, []peer.ID{"a"}, []peer.ID{self}, "idle"},
		{"replicas in different networks", 2, []market.Candidate{at("a", 3, "10.1"), at("b", 4, "10.1"), at("c", 5, "10.2")}, []peer.ID{"a", "c"}, []peer.ID{"b"}, "idle; best of 3 asked"},
		{"replicas in one network when there is no other", 2, []market.Candidate{at("a", 3, "10.1"), at("b", 4, "10.1")}, []peer.ID{"a", "b"}, nil, "idle; best of 2 asked"},
		{"one replica where it is best", 1, []market.Candidate{at("b", 4, "10.2"), at("a", 3, "10.1")}, []peer.ID{"a"}, []peer.ID{"b"}, "idle; best of 2 asked"},
		{"a silent one rather than nobody", 1, []market.Candidate{unfit, silent}, []peer.ID{"silent"}, nil, "the only choice, 1.2 ms away"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := need()
			n.Replicas = c.replicas
			before := slices.Clone(c.list)
			p, err := market.Place(n, c.list)
			if err != nil {
				t.Fatal(err)
			}
			if got := providers(p.Chosen); !slices.Equal(got, c.chosen) {
				t.Errorf("chose %v, want %v", got, c.chosen)
			}
			if got := providers(p.Spares); !slices.Equal(got, c.spares) {
				t.Errorf("spares %v, want %v", got, c.spares)
			}
			if got := p.Chosen[0].Reason; got != c.reason {
				t.Errorf("reason %q, want %q", got, c.reason)
			}
			for i := range before {
				if before[i].Reason != c.list[i].Reason {
					t.Error("the caller's list is changed")
				}
			}
		})
	}
}

func TestPlaceSaysWhyNot(t *testing.T) {
	offers := func(memory uint64) func(*protocol.Offer) {
		return func(o *protocol.Offer) { o.MemoryBytes = memory }
	}
	says := func(a protocol.Availability) func(*protocol.Offer) {
		return func(o *protocol.Offer) { o.Load.Availability = a }
	}
	eight := func(n *market.Need) { n.Limits.MemoryBytes = 8 * gib }
	remote := func(n *market.Need) { n.Where = protocol.WhereRemote }
	p, q, r := peer.ID("p"), peer.ID("q"), peer.ID("r")
	cases := []struct {
		name    string
		need    func(*market.Need)
		entries []market.Entry
		want    *protocol.Error
	}{
		{"nobody is known", nil, nil, &protocol.Error{Code: protocol.CodeNoPeers, Message: "no peer is known", Hint: "join others with 'spare up --bootstrap ADDRESS'"}},
		{
			"remote, and alone", remote,
			[]market.Entry{entry(self, nil)},
			&protocol.Error{Code: protocol.CodeNoPeers, Message: "no peer is known, and the task must leave this node", Hint: "leave --remote away, or join others with 'spare up --bootstrap ADDRESS'"},
		},
		{
			"local, before the own offer", func(n *market.Need) { n.Where = protocol.WhereLocal },
			[]market.Entry{entry(p, nil)},
			&protocol.Error{Code: protocol.CodeNoOffers, Message: "this node gives nothing yet", Hint: "try again in a moment, or see 'spare status'"},
		},
		{
			"on a peer that is not known", func(n *market.Need) { n.On = q },
			[]market.Entry{entry(p, nil)},
			&protocol.Error{Code: protocol.CodeNoPeers, Message: "no offer of " + q.String() + " is known", Hint: "see 'spare peers', or leave --on away"},
		},
		{
			"on a peer that offers less", func(n *market.Need) { n.On = p; eight(n) },
			[]market.Entry{entry(p, nil), entry(q, offers(9*gib))},
			&protocol.Error{Code: protocol.CodeNoOffers, Message: "peer " + p.String() + " gives at most 1 GiB of memory, the task may use 8 GiB", Hint: "try --mem 1GiB, or see 'spare offers'"},
		},
		{
			"memory that no peer offers", func(n *market.Need) { remote(n); eight(n) },
			[]market.Entry{entry(p, nil), entry(q, offers(2*gib)), entry(r, nil), entry(self, offers(9*gib))},
			&protocol.Error{Code: protocol.CodeNoOffers, Message: "3 peers known, none offers 8 GiB of memory: the most is 2 GiB", Hint: "try --mem 2GiB, or see 'spare offers'"},
		},
		{
			"memory that neither this node nor a peer offers", eight,
			[]market.Entry{entry(p, nil), entry(self, offers(2*gib-protocol.PageSize))},
			&protocol.Error{Code: protocol.CodeNoOffers, Message: "this node and 1 peer known, none offers 8 GiB of memory: the most is 1.9 GiB", Hint: "try --mem 2047MiB, or see 'spare offers'"},
		},
		{
			"memory that this node alone does not offer", eight,
			[]market.Entry{entry(self, nil)},
			&protocol.Error{Code: protocol.CodeNoOffers, Message: "this node gives at most 1 GiB of memory, the task may use 8 GiB", Hint: "try --mem 1GiB, or see 'spare offers'"},
		},
		{
			"time that nobody offers", func(n *market.Need) { n.Limits.WallMs = 2 * 3_600_000 },
			[]market.Entry{entry(p, nil), entry(q, nil)},
			&protocol.Error{Code: protocol.CodeNoOffers, Message: "2 peers known, none offers 2h of run time: the most is 1h", Hint: "try --timeout 1h, or see 'spare offers'"},
		},
		{
			"gas that nobody offers", func(n *market.Need) { n.Limits.Gas = 5e15 },
			[]market.Entry{entry(p, nil), entry(q, nil)},
			&protocol.Error{Code: protocol.CodeNoOffers, Message: "2 peers known, none offers 5 P of gas: the most is 1 T", Hint: "try --gas 1T, or see 'spare offers'"},
		},
		{
			"files that nobody offers", func(n *market.Need) { n.Limits.Files = 200 },
			[]market.Entry{entry(p, nil), entry(q, func(o *protocol.Offer) { o.Files = 150 })},
			&protocol.Error{Code: protocol.CodeNoOffers, Message: "2 peers known, none offers 200 files: the most is 150", Hint: "try --files 150, or see 'spare offers'"},
		},
		{
			"space for files that the only peer does not give", func(n *market.Need) { remote(n); n.Limits.FileBytes = 2 * gib },
			[]market.Entry{entry(p, func(o *protocol.Offer) { o.FileBytes = 0 }), entry(self, nil)},
			&protocol.Error{Code: protocol.CodeNoOffers, Message: "peer " + p.String() + " gives at most 0 B of files, the task may use 2 GiB", Hint: "see 'spare offers'"},
		},
		{
			"a module that nobody takes", func(n *market.Need) { n.ModuleBytes = 100 << 20 },
			[]market.Entry{entry(p, nil), entry(q, nil)},
			&protocol.Error{Code: protocol.CodeNoOffers, Message: "2 peers known, none offers 100 MiB for its module: the most is 64 MiB", Hint: "see 'spare offers'"},
		},
		{
			"different reasons", eight,
			[]market.Entry{entry(p, nil), entry(q, nil), entry(r, func(o *protocol.Offer) { o.MemoryBytes, o.Profile = 9*gib, 9 })},
			&protocol.Error{Code: protocol.CodeNoOffers, Message: "3 peers known, none can run it: gives at most 1 GiB of memory, the task may use 8 GiB (2); has sandbox profile 9, needs 3 (1)", Hint: "see 'spare offers'"},
		},
		{
			"all have been tried", func(n *market.Need) { n.Exclude = map[peer.ID]string{p: "refused", q: "refused"} },
			[]market.Entry{entry(p, nil), entry(q, nil)},
			&protocol.Error{Code: protocol.CodeNoOffers, Message: "nobody is left to try: tried before: refused (2)", Hint: "see 'spare peers'"},
		},
		{
			"the one that is asked for by name has been tried", func(n *market.Need) { n.On, n.Exclude = p, map[peer.ID]string{p: "it fell silent"} },
			[]market.Entry{entry(p, nil), entry(q, nil)},
			&protocol.Error{Code: protocol.CodeNoOffers, Message: p.String() + " alone may run it, and cannot now: tried before: it fell silent", Hint: "see 'spare peers', or leave --on away"},
		},
		{
			"all are busy", nil,
			[]market.Entry{entry(p, says(protocol.Full)), entry(q, says(protocol.Full)), entry(r, says(protocol.Paused))},
			&protocol.Error{Code: protocol.CodeBusy, Message: "3 providers could run it, none takes it now: is full (2); is paused (1)", Hint: "try again later, or see 'spare offers'"},
		},
		{
			"more replicas than providers", func(n *market.Need) { n.Replicas = 3 },
			[]market.Entry{entry(p, nil), entry(q, says(protocol.Full))},
			&protocol.Error{Code: protocol.CodeNoOffers, Message: "3 replicas need as many providers, only 2 can run it", Hint: "try --replicas 2, or see 'spare offers'"},
		},
		{
			"more replicas than free providers", func(n *market.Need) { n.Replicas = 2 },
			[]market.Entry{entry(p, nil), entry(q, says(protocol.Full))},
			&protocol.Error{Code: protocol.CodeBusy, Message: "2 replicas need as many providers, only 1 of 2 can take one now", Hint: "try --replicas 1, or again later"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := need()
			if c.need != nil {
				c.need(&n)
			}
			feasible, rejected := market.Rank(start, n, c.entries, near)
			p, err := market.Place(n, append(feasible, rejected...))
			var got *protocol.Error
			if !errors.As(err, &got) {
				t.Fatalf("placed %v, want %v", p, c.want)
			}
			if *got != *c.want {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestProviderNamesTheCeiling(t *testing.T) {
	offer := offerAt(0, nil)
	if got := need().Beyond(offer); got != "" {
		t.Errorf("of a task within all ceilings it says %q", got)
	}
	for want, change := range map[string]func(n *market.Need){
		"the task may use 8 GiB of memory, this node gives at most 1 GiB":                        func(n *market.Need) { n.Limits.MemoryBytes = 8 * gib },
		"the task may use 1073741825 bytes of output, this node gives at most 1073741824 bytes":  func(n *market.Need) { n.Limits.OutputBytes++ },
		"the task may use 3600001 ms of run time, this node gives at most 3600000 ms":            func(n *market.Need) { n.Limits.WallMs++ },
		"the task may use 2.5 T of gas, this node gives at most 1 T":                             func(n *market.Need) { n.Limits.Gas = 2_500_000_000_000 },
		"the task may use 2 GiB of files, this node gives at most 1 GiB":                         func(n *market.Need) { n.Limits.FileBytes = 2 * gib },
		"the task may use 101 files, this node gives at most 100":                                func(n *market.Need) { n.Limits.Files++ },
		"the task may use 67108865 bytes for its module, this node gives at most 67108864 bytes": func(n *market.Need) { n.ModuleBytes = 64<<20 + 1 },
	} {
		n := need()
		change(&n)
		if got := n.Beyond(offer); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestPlaceKeepsItsPromises checks what holds for every list: replicas are
// distinct, nobody is lost, none chosen is worse than a willing spare, and the
// order of distinct scores does not matter.
func TestPlaceKeepsItsPromises(t *testing.T) {
	rng := seeded(t)
	for range 1000 {
		n := need()
		n.Replicas = 1 + rng.IntN(3)
		var list []market.Candidate
		feasible := 0
		for i, score := range rng.Perm(rng.IntN(9)) {
			c := answered(peer.ID(rune('a'+i)), time.Duration(score))
			c.Feasible = rng.IntN(4) > 0
			if c.Feasible {
				feasible++
			}
			if rng.IntN(4) == 0 {
				c.Load = &protocol.Load{Slots: 1, Availability: protocol.Full}
			}
			list = append(list, c)
		}
		first, err := market.Place(n, list)
		if err != nil {
			if protocol.CodeOf(err) == protocol.CodeInternal {
				t.Fatalf("an error without a code: %v", err)
			}
			continue
		}
		if len(first.Chosen) != n.Replicas || len(first.Chosen)+len(first.Spares) != feasible {
			t.Fatalf("%d chosen and %d spares of %d feasible, %d wanted", len(first.Chosen), len(first.Spares), feasible, n.Replicas)
		}
		seen, best := map[peer.ID]bool{}, time.Duration(math.MaxInt64)
		for _, c := range slices.Concat(first.Chosen, first.Spares) {
			if seen[c.Provider] {
				t.Fatalf("%s is placed twice", c.Provider)
			}
			seen[c.Provider] = true
		}
		for _, c := range first.Spares {
			if c.Load.Availability == protocol.Open {
				best = min(best, c.Score)
			}
		}
		for _, c := range first.Chosen {
			if c.Score > best || c.Load.Availability != protocol.Open {
				t.Fatalf("%s with %v is chosen, a spare has %v", c.Provider, c.Score, best)
			}
		}
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		second, err := market.Place(n, list)
		if err != nil || !slices.Equal(providers(first.Chosen), providers(second.Chosen)) {
			t.Fatalf("another order of the list chooses %v, not %v", providers(second.Chosen), providers(first.Chosen))
		}
	}
}
