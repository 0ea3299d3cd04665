package market_test

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

const (
	gib  = 1 << 30
	self = peer.ID("self")
)

// need is a task that every offer of these tests can run.
func need() market.Need {
	return market.Need{
		Limits:  &protocol.Limits{MemoryBytes: gib, OutputBytes: gib, WallMs: 3_600_000, Gas: 1e12, FileBytes: gib, Files: 100},
		Profile: protocol.Profile, Module: protocol.DigestOf([]byte("module")), ModuleBytes: 1000,
		Replicas: 1, Self: self,
	}
}

// entry is a provider that can run need, heard of just now.
func entry(p peer.ID, change func(*protocol.Offer)) market.Entry {
	o := offerAt(0, &protocol.Load{Slots: 2})
	if change != nil {
		change(o)
	}
	return market.Entry{Provider: p, Offer: o, Received: start, Load: o.Load, LoadAt: start}
}

// near knows every peer at the same small distance.
func near(peer.ID) market.Known { return market.Known{RTT: time.Millisecond, RTTKnown: true} }

func seeded(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// wish has a task wish for labels, and site gives an offer some.
func wish(texts ...string) func(*market.Need) {
	return func(n *market.Need) {
		var err error
		if n.Labels, err = protocol.ParseWishes(texts); err != nil {
			panic(err)
		}
	}
}

func site(name string) func(*protocol.Offer) {
	return func(o *protocol.Offer) { o.Labels = map[string]string{"site": name, "gpu": "no"} }
}

func TestRankHeedsWhoIsBlocked(t *testing.T) {
	entries := []market.Entry{entry("blocked", nil), entry("refuses", nil), entry("free", nil)}
	known := func(p peer.ID) market.Known {
		switch p {
		case "blocked":
			return market.Known{Blocked: "it is blocked by this node's owner"}
		case "refuses":
			return market.Known{Barred: "it runs nothing of this node: mines\x1b coins"}
		}
		return market.Known{}
	}
	n := need()
	for on, want := range map[peer.ID]string{"": "free", "blocked": "", "refuses": "refuses", "free": "free"} {
		n.On = on
		feasible, rejected := market.Rank(start, n, entries, known)
		if want == "" && len(feasible) > 0 || want != "" && (len(feasible) != 1 || string(feasible[0].Provider) != want) {
			t.Errorf("asked for %q: %v are feasible, want %q", on, providers(feasible), want)
		}
		for _, c := range rejected {
			if c.Provider == "blocked" && (on == "" || on == "blocked") && c.Reason != "it is blocked by this node's owner" {
				t.Errorf("the blocked one is rejected as %q", c.Reason)
			}
			if c.Provider == "refuses" && on == "" && c.Reason != "it runs nothing of this node: mines coins" {
				t.Errorf("the one that refuses is rejected as %q", c.Reason)
			}
		}
	}
	n.On = "blocked"
	feasible, rejected := market.Rank(start, n, entries, known)
	_, err := market.Place(n, slices.Concat(feasible, rejected))
	if got := err.Error(); protocol.CodeOf(err) != protocol.CodeBlocked || !strings.Contains(got, " cannot be asked: it is blocked by this node's owner; 'spare unblock ") {
		t.Errorf("one that is blocked, asked for by name: %v", got)
	}
}

func TestShortageNamesLabels(t *testing.T) {
	berlin, paris := entry("a", site("berlin")), entry("b", site("paris"))
	small := entry("d", func(o *protocol.Offer) { site("berlin")(o); o.Files = 1 })
	for _, c := range []struct {
		name    string
		wishes  []string
		entries []market.Entry
		want    string
	}{
		{
			"nobody has it",
			[]string{"site=oslo"},
			[]market.Entry{berlin, paris, entry("c", site("paris"))},
			"3 peers known, none has site=oslo: there are gpu=no (3), site=paris (2), site=berlin (1)",
		},
		{
			"each has one",
			[]string{"site=paris", "rack"},
			[]market.Entry{paris, entry("c", func(o *protocol.Offer) { o.Labels = map[string]string{"rack": "a"} })},
			"2 peers known, none has rack and site=paris together: there are gpu=no (1), rack=a (1), site=paris (1)",
		},
		{
			"nobody has labels",
			[]string{"site=oslo", "gpu!=yes"},
			[]market.Entry{entry("a", nil), entry(self, nil)},
			"this node and 1 peer known, none has site=oslo: nobody has labels",
		},
		{
			"who has it gives too little",
			[]string{"site=berlin"},
			[]market.Entry{small, paris},
			"2 peers known, none can run it: gives at most 1 files, the task may use 100 (1); has site=paris, the task wants site=berlin (1)",
		},
		{"the only one", []string{"site=oslo"}, []market.Entry{entry(self, site("berlin"))}, "this node has site=berlin, the task wants site=oslo"},
	} {
		n := need()
		wish(c.wishes...)(&n)
		slices.SortFunc(n.Labels, func(a, b protocol.Wish) int { return strings.Compare(a.String(), b.String()) })
		feasible, rejected := market.Rank(start, n, c.entries, near)
		_, err := market.Place(n, slices.Concat(feasible, rejected))
		var e *protocol.Error
		if !errors.As(err, &e) || e.Code != protocol.CodeNoOffers || e.Message != c.want {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestRankSaysWhyNot(t *testing.T) {
	cases := []struct {
		name  string
		need  func(*market.Need)
		offer func(*protocol.Offer)
		peer  peer.ID
		want  string // reason of the rejected; empty: feasible
	}{
		{name: "all that is needed", peer: "p"},
		{name: "the own node", peer: self},
		{name: "less memory", peer: "p", need: func(n *market.Need) { n.Limits.MemoryBytes = 8 * gib }, offer: func(o *protocol.Offer) { o.MemoryBytes = 2 * gib }, want: "gives at most 2 GiB of memory, the task may use 8 GiB"},
		{name: "one page less", peer: "p", offer: func(o *protocol.Offer) { o.MemoryBytes = gib - protocol.PageSize }, want: "gives at most 1023 MiB of memory, the task may use 1 GiB"},
		{name: "one byte less than a fraction", peer: "p", need: func(n *market.Need) { n.Limits.OutputBytes = 1100 }, offer: func(o *protocol.Offer) { o.OutputBytes = 1099 }, want: "gives at most 1099 bytes of output, the task may use 1100 bytes"},
		{name: "less output", peer: "p", offer: func(o *protocol.Offer) { o.OutputBytes = 1536 << 10 }, want: "gives at most 1.5 MiB of output, the task may use 1 GiB"},
		{name: "less time", peer: "p", offer: func(o *protocol.Offer) { o.WallMs = 90_000 }, want: "gives at most 1m30s of run time, the task may use 1h"},
		{name: "less gas", peer: "p", offer: func(o *protocol.Offer) { o.Gas = 1_500_000_000 }, want: "gives at most 1.5 G of gas, the task may use 1 T"},
		{name: "one gas less", peer: "p", offer: func(o *protocol.Offer) { o.Gas-- }, want: "gives at most 999.99 G of gas, the task may use 1 T"},
		{name: "fewer bytes of files", peer: "p", offer: func(o *protocol.Offer) { o.FileBytes = 512 << 20 }, want: "gives at most 512 MiB of files, the task may use 1 GiB"},
		{name: "fewer files", peer: "p", offer: func(o *protocol.Offer) { o.Files = 99 }, want: "gives at most 99 files, the task may use 100"},
		{name: "smaller modules", peer: "p", offer: func(o *protocol.Offer) { o.ModuleBytes = 999 }, want: "gives at most 999 B for its module, the task may use 1000 B"},
		{name: "another profile", peer: "p", offer: func(o *protocol.Offer) { o.Profile = 9 }, want: "has sandbox profile 9, needs 3"},
		{name: "no slots", peer: "p", offer: func(o *protocol.Offer) { o.Load.Slots = 0 }, want: "offers no slots"},
		{name: "a capability without load", peer: "p", offer: func(o *protocol.Offer) { o.Load = nil }},
		{name: "tried", peer: "p", need: func(n *market.Need) { n.Exclude = map[peer.ID]string{"p": "queue\x1b full"} }, want: "tried before: queue full"},
		{name: "tried, nobody knows why", peer: "p", need: func(n *market.Need) { n.Exclude = map[peer.ID]string{"p": ""} }, want: "tried before"},
		{name: "local, the own node", peer: self, need: func(n *market.Need) { n.Where = protocol.WhereLocal }},
		{name: "local, a peer", peer: "p", need: func(n *market.Need) { n.Where = protocol.WhereLocal }, want: "the task stays on its own node"},
		{name: "remote, the own node", peer: self, need: func(n *market.Need) { n.Where = protocol.WhereRemote }, want: "the task must leave its own node"},
		{name: "remote, a peer", peer: "p", need: func(n *market.Need) { n.Where = protocol.WhereRemote }},
		{name: "a label as wished", peer: "p", need: wish("site=berlin", "gpu", "rack!=a"), offer: site("berlin")},
		{name: "the own node's label", peer: self, need: wish("site=paris"), offer: site("berlin"), want: "has site=berlin, the task wants site=paris"},
		{name: "no such label", peer: "p", need: wish("tpu"), offer: site("berlin"), want: "has no label tpu, the task wants tpu"},
		{name: "no label at all", peer: "p", need: wish("site=paris"), want: "has no label site, the task wants site=paris"},
		{name: "a label that is not wanted", peer: "p", need: wish("site!=berlin"), offer: site("berlin"), want: "has site=berlin, which the task does not want"},
		{name: "a label before a ceiling", peer: "p", need: wish("gpu", "site=paris"), offer: func(o *protocol.Offer) { site("berlin")(o); o.Files = 1 }, want: "has site=berlin, the task wants site=paris"},
		{name: "asked for by name, without the label", peer: "p", need: func(n *market.Need) { wish("site=paris")(n); n.On = "p" }, want: "has no label site, the task wants site=paris"},
		{name: "asked for by name", peer: "p", need: func(n *market.Need) { n.On = "p" }},
		{name: "another asked for", peer: "p", need: func(n *market.Need) { n.On = "q" }, want: "another provider is asked for by name"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := need()
			if c.need != nil {
				c.need(&n)
			}
			feasible, rejected := market.Rank(start, n, []market.Entry{entry(c.peer, c.offer)}, near)
			if c.want == "" {
				if len(feasible) != 1 || !feasible[0].Feasible {
					t.Fatalf("rejected: %v", rejected)
				}
				return
			}
			if len(rejected) != 1 || rejected[0].Feasible || rejected[0].Reason != c.want {
				t.Errorf("got %v, want the reason %q", rejected, c.want)
			}
		})
	}
}

func TestRankKnowsWhatIsKnown(t *testing.T) {
	n := need()
	know := map[peer.ID]market.Known{
		"near":   {RTT: time.Millisecond, RTTKnown: true},
		"ready":  {Warm: true},
		"broken": {RTT: -time.Second, RTTKnown: true},
		self:     {RTT: time.Hour, RTTKnown: true},
	}
	entries := []market.Entry{
		entry("near", nil), entry("ready", nil), entry("broken", nil), entry(self, nil),
		entry("told", func(o *protocol.Offer) { o.Warm = [][]byte{make([]byte, 32), n.Module[:]} }),
		entry("boaster", func(o *protocol.Offer) { o.Speed = 1e6 }),
	}
	feasible, _ := market.Rank(start.Add(time.Second), n, entries, func(p peer.ID) market.Known { return know[p] })
	got := map[peer.ID]market.Candidate{}
	for _, c := range feasible {
		got[c.Provider] = c
		if c.LoadAge != time.Second {
			t.Errorf("%s: load of age %v, want 1s", c.Provider, c.LoadAge)
		}
	}
	for _, c := range []struct {
		name string
		ok   bool
	}{
		{"the own node is at no distance", got[self].RTTKnown && got[self].RTT == 0},
		{"a measured round trip is kept", got["near"].RTTKnown && got["near"].RTT == time.Millisecond},
		{"an unknown round trip stays unknown", !got["told"].RTTKnown},
		{"no round trip is negative", got["broken"].RTT == 0},
		{"own receipts tell what is warm", got["ready"].Warm},
		{"the offer tells what is warm", got["told"].Warm},
		{"another module's warmth is not ours", !got["near"].Warm},
		{"no speed is beyond belief", got["boaster"].Speed < 100},
	} {
		if !c.ok {
			t.Error(c.name + ": not so")
		}
	}
}

func TestRankDoesNotDependOnOrder(t *testing.T) {
	rng := seeded(t)
	n := need()
	n.Exclude = map[peer.ID]string{"c": "refused"}
	var entries []market.Entry
	for i := range 12 {
		entries = append(entries, entry(peer.ID(rune('a'+i)), func(o *protocol.Offer) {
			o.Speed = 1 + rng.Float64()
			o.MemoryBytes = uint64(rng.IntN(3)) * gib
		}))
	}
	feasible, rejected := market.Rank(start, n, entries, near)
	if len(feasible)+len(rejected) != len(entries) {
		t.Fatalf("%d feasible and %d rejected of %d", len(feasible), len(rejected), len(entries))
	}
	for _, c := range rejected {
		if c.Reason == "" || c.Feasible {
			t.Errorf("%s is rejected without a reason", c.Provider)
		}
	}
	for range 20 {
		rng.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		f, r := market.Rank(start, n, entries, near)
		if !reflect.DeepEqual(f, feasible) || !reflect.DeepEqual(r, rejected) {
			t.Fatal("the order of the entries changes the result")
		}
	}
}

func TestDrawSkipsThoseWhoSaidNo(t *testing.T) {
	says := func(a protocol.Availability) func(*protocol.Offer) {
		return func(o *protocol.Offer) { o.Load.Availability = a }
	}
	cases := []struct {
		name     string
		after    time.Duration
		entries  []market.Entry
		where    protocol.Where
		replicas int
		want     []peer.ID
	}{
		{"one that is full", 0, []market.Entry{entry("a", nil), entry("b", says(protocol.Full))}, protocol.WhereAny, 1, []peer.ID{"a"}},
		{"one that was full a while ago", 5 * time.Second, []market.Entry{entry("a", nil), entry("b", says(protocol.Full))}, protocol.WhereAny, 1, []peer.ID{"a", "b"}},
		{"one that is paused, until it says otherwise", 50 * time.Second, []market.Entry{entry("a", nil), entry("b", says(protocol.Paused))}, protocol.WhereAny, 1, []peer.ID{"a"}},
		{"one whose owner is back", 0, []market.Entry{entry("a", nil), entry("b", says(protocol.OwnerBusy))}, protocol.WhereAny, 1, []peer.ID{"a"}},
		{"one that says what we do not know", 0, []market.Entry{entry("a", nil), entry("b", says(99))}, protocol.WhereAny, 1, []peer.ID{"a"}},
		{"but not when nobody else is there", 0, []market.Entry{entry("a", says(protocol.Full)), entry("b", says(protocol.Paused))}, protocol.WhereAny, 1, []peer.ID{"a", "b"}},
		{"nor when there are too few for the replicas", 0, []market.Entry{entry("a", nil), entry("b", says(protocol.Full))}, protocol.WhereAny, 2, []peer.ID{"a", "b"}},
		{"the own node while its owner is busy and a peer is free", 0, []market.Entry{entry("a", nil), entry(self, says(protocol.OwnerBusy))}, protocol.WhereAny, 1, []peer.ID{"a"}},
		{"but the owner's own task stays when told to", 0, []market.Entry{entry("a", nil), entry(self, says(protocol.OwnerBusy))}, protocol.WhereLocal, 1, []peer.ID{self}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			rng := seeded(t)
			n := need()
			n.Where, n.Replicas = c.where, c.replicas
			feasible, _ := market.Rank(start.Add(c.after), n, c.entries, near)
			for range 50 {
				drawn := market.Draw(rng, n, feasible, market.Probes)
				if got := providers(drawn); !slices.Equal(sorted(got), c.want) {
					t.Fatalf("drew %v, want %v", got, c.want)
				}
			}
		})
	}
}

func providers(list []market.Candidate) (ids []peer.ID) {
	for _, c := range list {
		ids = append(ids, c.Provider)
	}
	return ids
}

func sorted(ids []peer.ID) []peer.ID {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return ids
}
