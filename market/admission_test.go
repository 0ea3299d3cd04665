package market_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// stranger, creditor and ourselves are lines with so many queued.
func stranger(p peer.ID, queued int) market.Line {
	return market.Line{Requester: p, Queued: queued}
}

func creditor(p peer.ID, queued int) market.Line {
	return market.Line{Requester: p, Queued: queued, Account: market.Account{Received: 1}}
}

// rich has the full weight of 4.
func rich(p peer.ID, queued int) market.Line {
	return market.Line{Requester: p, Queued: queued, Account: market.Account{Received: 1e15}}
}

func ourselves(queued int) market.Line {
	return market.Line{Requester: self, Queued: queued, Self: true}
}

func TestAdmit(t *testing.T) {
	debtor := market.Line{Requester: "d", Account: market.Account{Served: 1e12, Received: 1e9}}
	lines := func(l ...market.Line) []market.Line { return l }
	for _, c := range []struct {
		name      string
		places    int
		others    []market.Line
		from      market.Line
		admitted  bool
		displaced peer.ID
	}{
		{"an empty queue", 8, nil, stranger("n", 0), true, ""},
		{"the last place", 8, lines(creditor("a", 7)), stranger("n", 0), true, ""},
		{"no places at all", 0, nil, creditor("n", 0), false, ""},
		{"a stranger may fill it alone", 8, nil, stranger("n", 7), true, ""},
		{"its own flood ends at the last place", 8, nil, stranger("n", 8), false, ""},
		{"a flood makes way for one with none", 8, lines(stranger("f", 8)), stranger("n", 0), true, "f"},
		{"and for one with fewer", 8, lines(stranger("f", 6)), stranger("n", 2), true, "f"},
		{"until both are equal", 8, lines(stranger("f", 4)), stranger("n", 4), false, ""},
		{"the last place of a stranger is not taken by a stranger", 2, lines(stranger("a", 1), stranger("b", 1)), stranger("n", 0), false, ""},
		{"a debtor is a stranger", 8, lines(stranger("a", 4), stranger("b", 4)), debtor, true, "a"},
		{"who served us goes before strangers", 8, lines(stranger("a", 5), stranger("b", 3)), creditor("c", 0), true, "a"},
		{"also with many", 8, lines(stranger("a", 2)), creditor("c", 6), true, "a"},
		{"but leaves the newcomers' place", 8, lines(stranger("a", 1)), creditor("c", 7), false, ""},
		{"of which there are more in a longer queue", 32, lines(stranger("a", 4)), creditor("c", 28), false, ""},
		{"a newcomer gets that place", 8, lines(creditor("c", 8)), stranger("n", 0), true, "c"},
		{"and no second one", 8, lines(creditor("c", 7)), stranger("n", 1), false, ""},
		{"a thousand new names get no second one either", 8, lines(creditor("c", 7), stranger("a", 1)), stranger("n", 0), false, ""},
		{"the newcomer's place is from the longest line", 8, lines(creditor("a", 3), creditor("b", 5)), stranger("n", 0), true, "b"},
		{"a creditor's flood makes way for another creditor", 8, lines(creditor("a", 7), stranger("s", 1)), creditor("c", 0), true, "a"},
		{"weight counts", 16, lines(rich("a", 12), stranger("s", 1)), creditor("c", 3), false, ""},
		{"but not against one who has none", 16, lines(rich("a", 12), creditor("b", 2), stranger("s", 2)), creditor("c", 0), true, "a"},
		{"we come first, before strangers", 4, lines(stranger("a", 2), creditor("c", 2)), ourselves(0), true, "a"},
		{"and before who served us", 4, lines(stranger("a", 1), creditor("c", 3)), ourselves(0), true, "c"},
		{"to the last place", 4, lines(stranger("a", 1)), ourselves(3), true, "a"},
		{"nobody displaces us", 4, lines(ourselves(4)), creditor("c", 0), false, ""},
		{"nor do newcomers", 4, lines(ourselves(4)), stranger("n", 0), false, ""},
		{"beside us strangers are fair to each other", 32, lines(ourselves(29), stranger("a", 3)), stranger("n", 0), true, "a"},
	} {
		admitted, displaced := market.Admit(c.places, c.others, c.from)
		if admitted != c.admitted || displaced != c.displaced {
			t.Errorf("%s: admitted %v for %q, want %v for %q", c.name, admitted, displaced, c.admitted, c.displaced)
		}
	}
}

// TestAdmissionIsFair fills a queue as rapid wants and holds it to the rules
// after each arrival.
func TestAdmissionIsFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		places := rapid.IntRange(1, 40).Draw(t, "places")
		var lines []market.Line
		for i := range rapid.IntRange(1, 12).Draw(t, "requesters") {
			l := market.Line{Requester: peer.ID(fmt.Sprintf("%02d", i))}
			l.Account.Received = rapid.SampledFrom([]uint64{0, 0, 1, 30e9, 1e12}).Draw(t, "received")
			l.Self = i == 0 && rapid.Bool().Draw(t, "self")
			lines = append(lines, l)
		}
		total := 0
		for range rapid.IntRange(1, 120).Draw(t, "arrivals") {
			if rapid.IntRange(0, 3).Draw(t, "served") == 0 {
				i := rapid.IntRange(0, len(lines)-1).Draw(t, "whose")
				if lines[i].Queued > 0 {
					lines[i].Queued--
					total--
				}
				continue
			}
			i := rapid.IntRange(0, len(lines)-1).Draw(t, "from")
			from := lines[i]
			others := slices.Delete(slices.Clone(lines), i, i+1)
			admitted, displaced := market.Admit(places, others, from)
			if total < places && (!admitted || displaced != "") {
				t.Fatalf("there is room, but admitted %v for %q", admitted, displaced)
			}
			if !admitted {
				refusedRightly(t, places, others, from)
				continue
			}
			lines[i].Queued++
			total++
			if displaced != "" {
				j := slices.IndexFunc(lines, func(l market.Line) bool { return l.Requester == displaced })
				if j < 0 || j == i || lines[j].Queued == 0 || lines[j].Self {
					t.Fatalf("%q is displaced", displaced)
				}
				lines[j].Queued--
				total--
			}
			if total > places {
				t.Fatalf("%d in %d places", total, places)
			}
		}
	})
}

// refusedRightly checks that nobody was refused who has a right to a place.
func refusedRightly(t *rapid.T, places int, others []market.Line, from market.Line) {
	t.Helper()
	share := max(1, places/8)
	strange := func(l market.Line) bool { return !l.Self && !l.Account.InCredit() }
	strangers, mine := 0, 0
	for _, l := range append(slices.Clone(others), from) {
		if strange(l) {
			strangers += l.Queued
		}
		if l.Self {
			mine += l.Queued
		}
	}
	if from.Self && mine < places {
		t.Fatal("we are refused while others have places")
	}
	if strange(from) && strangers < share && mine+strangers < places {
		t.Fatalf("newcomers hold %d of %d places and one is refused", strangers, places)
	}
	if !strange(from) && strangers > share {
		t.Fatalf("one in credit is refused while strangers hold %d of %d places", strangers, places)
	}
	for _, l := range others {
		if !l.Self && !from.Self && strange(l) == strange(from) && from.Queued == 0 && l.Queued > 1 {
			t.Fatalf("one with none is refused while another has %d", l.Queued)
		}
	}
}

func TestNextIsFairByWeight(t *testing.T) {
	// Pieces of different length, all the time queued.
	lines := []market.Line{rich("rich", 1), creditor("a", 1), creditor("b", 1), stranger("s", 1), stranger("t", 1)}
	length := map[peer.ID]float64{"rich": 0.3, "a": 2, "b": 0.1, "s": 0.5, "t": 0.05}
	used := map[peer.ID]float64{}
	var turns market.Turns
	const total = 1000.0
	for sum := 0.0; sum < total; {
		p, ok := turns.Next(lines)
		if !ok {
			t.Fatal("nobody is next")
		}
		turns.Charge(lines[slices.IndexFunc(lines, func(l market.Line) bool { return l.Requester == p })], length[p])
		used[p] += length[p]
		sum += length[p]
	}
	// 4 : 1 : 1 for those in credit, and 1 for both strangers together.
	for p, share := range map[peer.ID]float64{"rich": 4. / 7, "a": 1. / 7, "b": 1. / 7, "s": 0.5 / 7, "t": 0.5 / 7} {
		if got := used[p] / total; math.Abs(got-share) > 0.01 {
			t.Errorf("%s used %.3f of the time, want %.3f", p, got, share)
		}
	}
}

func TestNext(t *testing.T) {
	var turns market.Turns
	if p, ok := turns.Next(nil); ok {
		t.Errorf("%q is next of nobody", p)
	}
	if p, ok := turns.Next([]market.Line{stranger("a", 0), rich("b", 0), ourselves(0)}); ok {
		t.Errorf("%q is next with nothing queued", p)
	}
	lines := []market.Line{stranger("a", 3), rich("b", 3), ourselves(3)}
	for range 5 {
		turns.Charge(lines[2], 1000)
		if p, _ := turns.Next(lines); p != self {
			t.Fatalf("%q goes before us", p)
		}
	}
	lines = lines[:2]
	t.Run("one that was idle saves up nothing", func(t *testing.T) {
		var turns market.Turns
		both := []market.Line{creditor("idle", 1), creditor("busy", 1)}
		for range 100 {
			turns.Charge(both[1], 1)
			turns.Next(both[1:])
		}
		idle := 0
		for range 20 {
			p, _ := turns.Next(both)
			if p == "idle" {
				idle++
			}
			turns.Charge(both[slices.IndexFunc(both, func(l market.Line) bool { return l.Requester == p })], 1)
		}
		if idle < 9 || idle > 11 {
			t.Errorf("back from a pause it had %d of 20 turns, want half", idle)
		}
	})
	t.Run("too high an estimate is given back", func(t *testing.T) {
		var turns market.Turns
		turns.Charge(lines[1], 100)
		turns.Charge(lines[0], 1)
		turns.Charge(lines[1], -99.9)
		if p, _ := turns.Next(lines); p != "b" {
			t.Errorf("%q is next, want b", p)
		}
	})
	t.Run("what is no number changes nothing", func(t *testing.T) {
		var turns market.Turns
		for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			turns.Charge(lines[0], x)
		}
		turns.Charge(lines[1], 1)
		if p, _ := turns.Next(lines); p != "a" {
			t.Errorf("%q is next, want a", p)
		}
	})
}

// TestNobodyStarves lets rapid choose who floods, and under how many new
// names, and how long pieces are. Whoever waits has a turn before the others
// have used more time than the fair queueing theorem allows: a longest piece
// each, for its weight.
func TestNobodyStarves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const longest = 5.0
		creditors := rapid.IntRange(1, 5).Draw(t, "creditors")
		names := rapid.IntRange(0, 40).Draw(t, "new names")
		fresh := rapid.Bool().Draw(t, "always fresh names")
		var turns market.Turns
		used := make(map[peer.ID]float64)
		strangers := 0.0
		var lines []market.Line
		for i := range creditors {
			l := creditor(peer.ID(fmt.Sprintf("c%d", i)), 1)
			if rapid.Bool().Draw(t, "rich") {
				l = rich(l.Requester, 1)
			}
			lines = append(lines, l)
		}
		for round := range rapid.IntRange(50, 200).Draw(t, "rounds") {
			all := slices.Clone(lines)
			for i := range names {
				name := fmt.Sprintf("s%d", i)
				if fresh {
					name += fmt.Sprintf(" of round %d", round)
				}
				all = append(all, stranger(peer.ID(name), 1))
			}
			p, ok := turns.Next(all)
			if !ok {
				t.Fatal("nobody is next")
			}
			i := slices.IndexFunc(all, func(l market.Line) bool { return l.Requester == p })
			piece := rapid.Float64Range(0.01, longest).Draw(t, "piece")
			turns.Charge(all[i], piece)
			used[p] += piece
			if i >= creditors {
				strangers += piece
			}
		}
		weights := 0.0
		weight := func(l market.Line) float64 {
			if l.Account.Received > 1 {
				return 4
			}
			return 1 + 3.0/60e9
		}
		for _, l := range lines {
			weights += weight(l)
		}
		group := max(1, weights/7)
		for _, l := range lines {
			if names > 0 {
				apart := used[l.Requester]/weight(l) - strangers/group
				if room := longest/weight(l) + longest/group; math.Abs(apart) > room+1e-6 {
					t.Fatalf("%s is %.2f s apart from the strangers, at most %.2f is fair", l.Requester, apart, room)
				}
			}
			for _, m := range lines {
				apart := used[l.Requester]/weight(l) - used[m.Requester]/weight(m)
				if room := longest/weight(l) + longest/weight(m); math.Abs(apart) > room+1e-6 {
					t.Fatalf("%s and %s are %.2f s apart, at most %.2f is fair", l.Requester, m.Requester, apart, room)
				}
			}
		}
	})
}

func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		name string
		load *protocol.Load
		want time.Duration
	}{
		{"nothing known", nil, 50 * time.Millisecond},
		{"half of a queue of long pieces", &protocol.Load{Slots: 2, Queued: 8, MeanRunUs: 1e6}, 2 * time.Second},
		{"short ones", &protocol.Load{Slots: 2, Queued: 64, MeanRunUs: 1000}, 50 * time.Millisecond},
		{"very long ones", &protocol.Load{Slots: 1, Queued: 64, MeanRunUs: 1e9}, 5 * time.Second},
		{"no slots", &protocol.Load{Queued: 2, MeanRunUs: 1e6}, time.Second},
		{"none has run yet", &protocol.Load{Slots: 1, Queued: 4}, 2 * time.Second},
		{"absurd", &protocol.Load{Slots: 1, Queued: math.MaxUint32, MeanRunUs: math.MaxUint64}, 5 * time.Second},
	} {
		if got := market.RetryAfter(c.load); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
