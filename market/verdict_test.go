package market_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// said is what one provider answered, by a letter for the digest, and what is
// known of it.
type said struct {
	what    byte
	witness market.Witness
}

func by(what byte, k float64) said {
	return said{what, market.Witness{Standing: passed(k)}}
}

func of(network string, s said) said {
	s.witness.Network = network
	return s
}

var (
	ownAnswer = said{'a', market.Witness{Own: true}}
	liar      = said{'x', market.Witness{Standing: market.Standing{Wrongs: 1, WrongAt: start}}}
)

// ballotsOf numbers the answers and lets their witnesses be looked up.
func ballotsOf(list []said) ([]market.Ballot, func(peer.ID) market.Witness) {
	var ballots []market.Ballot
	known := map[peer.ID]market.Witness{}
	for i, s := range list {
		p := peer.ID(rune('0' + i))
		ballots = append(ballots, market.Ballot{Attempt: i + 1, Provider: p, Digest: protocol.Digest{s.what}})
		known[p] = s.witness
	}
	return ballots, func(p peer.ID) market.Witness { return known[p] }
}

func TestJudge(t *testing.T) {
	off := market.Policy{Verify: protocol.VerifyOff}
	auto := market.Policy{Verify: protocol.VerifyAuto}
	checked := market.Policy{Verify: protocol.VerifyAuto, Checked: true}
	strict := market.Policy{Verify: protocol.VerifyStrict, Checked: true}
	arbiter := market.Policy{Verify: protocol.VerifyAuto, Checked: true, Arbiter: true}
	two := market.Policy{Quorum: 2}
	three := market.Policy{Quorum: 3, Verify: protocol.VerifyAuto}
	among := func(n int, p market.Policy) market.Policy { p.Most = n; return p }
	const hopeless, own = -1, -2
	for _, c := range []struct {
		name   string
		policy market.Policy
		said   []said
		accept byte // letter of the accepted digest, or 0
		more   int  // ballots asked for, hopeless, or own: one more, by the own node
	}{
		{"off: the first answer", off, []said{by('a', 0)}, 'a', 0},
		{"off: even of a liar", off, []said{liar}, 'x', 0},
		{"auto: nothing yet", auto, nil, 0, 1},
		{"auto: one good answer", auto, []said{by('a', 10)}, 'a', 0},
		{"auto: the answer of one not yet proven", auto, []said{by('a', 9)}, 0, 1},
		{"auto: one good answer, to be checked", checked, []said{by('a', 10)}, 0, 1},
		{"auto: a newcomer needs four more", auto, []said{by('a', 0)}, 0, 4},
		{"auto: four newcomers are too few", auto, []said{by('a', 0), by('a', 0), by('a', 0), by('a', 0)}, 0, 1},
		{"auto: five newcomers agree", auto, []said{by('a', 0), by('a', 0), by('a', 0), by('a', 0), by('a', 0)}, 'a', 0},
		{"auto: two with some checks agree", checked, []said{by('a', 7), by('a', 7)}, 'a', 0},
		{"auto: a newcomer confirms a proven one", checked, []said{by('a', 60), by('a', 0)}, 'a', 0},
		{"auto: two proven ones disagree", checked, []said{by('a', 20), by('b', 20)}, 0, 2},
		{"auto: a good answer and a newcomer's other one", auto, []said{by('a', 20), by('b', 0)}, 0, 1},
		{"auto: the third decides", checked, []said{by('a', 20), by('b', 20), by('b', 60)}, 0, 1},
		{"auto: the fourth decides", checked, []said{by('a', 20), by('b', 20), by('b', 60), by('b', 20)}, 'b', 0},
		{"auto: a liar's answer counts for nothing", auto, []said{liar, by('a', 10)}, 'a', 0},
		{"auto: a liar alone", auto, []said{liar}, 0, 1},
		{"auto: the own node is right", checked, []said{by('b', 500), by('b', 500), by('b', 500), ownAnswer}, 'a', 0},
		{"arbiter: two disagree", arbiter, []said{by('a', 20), by('b', 20)}, 0, own},
		{"arbiter: many are not believed against one", arbiter, []said{by('a', 300), by('a', 300), by('b', 0)}, 0, own},
		{"arbiter: also when nobody else is left", among(2, arbiter), []said{by('a', 300), by('b', 0)}, 0, own},
		{"arbiter: the own node has said", arbiter, []said{by('a', 300), by('a', 300), by('b', 0), {'b', market.Witness{Own: true}}}, 'b', 0},
		{"arbiter: those who agree need none", arbiter, []said{by('a', 20), by('a', 20)}, 'a', 0},
		{"arbiter: a liar's dissent does not count", arbiter, []said{by('a', 20), liar, by('a', 20)}, 'a', 0},
		{"auto: two newcomers, nobody left to ask", among(2, auto), []said{by('a', 0), by('a', 0)}, 'a', 0},
		{"auto: two newcomers that differ, nobody left", among(2, auto), []said{by('a', 0), by('b', 0)}, 0, hopeless},
		{"auto: a newcomer, nobody left", among(1, auto), []said{by('a', 0)}, 0, hopeless},
		{"auto: four of seven newcomers", auto, []said{by('a', 0), by('b', 0), by('a', 0), by('b', 0), by('a', 0), by('b', 0), by('a', 0)}, 0, hopeless},
		{"auto: never more than seven", auto, []said{by('a', 0), by('b', 0), by('a', 0), by('b', 0), by('a', 0), by('b', 0)}, 0, 1},
		{"strict: never one alone", strict, []said{by('a', 280)}, 0, 1},
		{"strict: two well known ones", strict, []said{by('a', 201), by('a', 201)}, 'a', 0},
		{"strict: two known less", strict, []said{by('a', 199), by('a', 199)}, 0, 1},
		{"strict: three", strict, []said{by('a', 21), by('a', 21), by('a', 21)}, 'a', 0},
		{"strict: nine newcomers", strict, slices.Repeat([]said{by('a', 0)}, 9), 0, 1},
		{"strict: ten newcomers", strict, slices.Repeat([]said{by('a', 0)}, 10), 'a', 0},
		{"strict: the own node", strict, []said{ownAnswer}, 'a', 0},
		{"strict: five newcomers, nobody left", among(5, strict), slices.Repeat([]said{by('a', 0)}, 5), 0, hopeless},
		{"quorum: one of two", two, []said{by('a', 500)}, 0, 1},
		{"quorum: two newcomers", two, []said{by('a', 0), by('a', 0)}, 'a', 0},
		{"quorum: a better known answer does not outvote it", two, []said{by('b', 200), by('a', 0), by('a', 0)}, 'a', 0},
		{"quorum: dissent", three, []said{by('a', 0), by('b', 0), by('a', 0)}, 0, 1},
		{"quorum: no more possible", among(4, three), []said{by('a', 0), by('b', 0), by('c', 0)}, 0, hopeless},
		{"quorum: still possible of seven", three, []said{by('a', 0), by('b', 0), by('c', 0), by('d', 0)}, 0, 2},
		{"quorum: all seven differ", two, []said{by('a', 0), by('b', 0), by('c', 0), by('d', 0), by('e', 0), by('f', 0), by('g', 0)}, 0, hopeless},
		{"quorum: not two of one network", two, []said{of("10.1", by('a', 0)), of("10.1", by('a', 0))}, 0, 1},
		{"quorum: two networks", two, []said{of("10.1", by('a', 0)), of("10.2", by('a', 0))}, 'a', 0},
		{"quorum: unknown networks are different ones", two, []said{of("", by('a', 0)), of("", by('a', 0))}, 'a', 0},
		{"quorum: a liar does not count", two, []said{by('x', 0), liar}, 0, 1},
		{"strict: one network counts once, by the best of it", strict, []said{of("n", by('a', 10)), of("n", by('a', 300)), of("m", by('a', 300))}, 'a', 0},
		{"strict: a network's two are one", strict, []said{of("n", by('a', 300)), of("n", by('a', 300))}, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			ballots, known := ballotsOf(c.said)
			got := c.policy.Judge(start, ballots, known)
			if got.Accepted != (c.accept != 0) || got.Accepted && got.Digest[0] != c.accept {
				t.Fatalf("%+v, want %q accepted", got, c.accept)
			}
			if got.Own != (c.more == own) {
				t.Errorf("the own node is wanted: %v", got.Own)
			}
			if got.Own {
				got.More = own
			}
			if (got.Hopeless != "") != (c.more == hopeless) || c.more != hopeless && got.More != c.more {
				t.Errorf("%d more, hopeless %q, want %d more", got.More, got.Hopeless, c.more)
			}
		})
	}
}

// TestAProviderFoundWrongIsReplaced shows that what a provider said before it
// was found wrong no longer counts in tasks that are not concluded.
func TestAProviderFoundWrongIsReplaced(t *testing.T) {
	strict := market.Policy{Verify: protocol.VerifyStrict, Checked: true}
	standings := map[peer.ID]*market.Standing{"p": {Passed: 30}, "q": {Passed: 300}, "r": {Passed: 300}}
	known := func(p peer.ID) market.Witness { return market.Witness{Standing: *standings[p]} }
	ballots := []market.Ballot{{Attempt: 1, Provider: "p"}, {Attempt: 2, Provider: "q"}}
	if got := strict.Judge(start, ballots, known); got.Accepted || got.More != 1 {
		t.Fatalf("two answers, one of them of a provider that is little known: %+v", got)
	}
	standings["p"].Wrong(start, "a lie in another task")
	if got := strict.Judge(start, ballots[:1], known); got.Accepted || got.More != 1 {
		t.Errorf("the answer of a liar alone: %+v", got)
	}
	without := strict.Judge(start, ballots[1:], known)
	if got := strict.Judge(start, ballots, known); got != without {
		t.Errorf("with the liar's ballot %+v, without it %+v", got, without)
	}
	ballots = append(ballots, market.Ballot{Attempt: 3, Provider: "r"})
	if got := strict.Judge(start, ballots, known); !got.Accepted {
		t.Errorf("with the one asked in its place: %+v", got)
	}
}

// TestACourseIsRuledByAPolicy takes a task through its course with a provider
// that lies.
func TestACourseIsRuledByAPolicy(t *testing.T) {
	p := market.Policy{Verify: protocol.VerifyAuto}
	known := func(peer.ID) market.Witness { return market.Witness{Standing: passed(8)} }
	first := known("")
	course := market.Course{
		Wanted: p.Start(start, seeded(t), []market.Witness{first, first}), Most: p.Limit(),
		Rule: func(b []market.Ballot) market.Ruling { return p.Judge(start, b, known) },
	}
	course.Quorum = course.Wanted
	answer := func(attempt int) protocol.Digest {
		if attempt == 2 {
			return protocol.Digest{'b'}
		}
		return protocol.Digest{'a'}
	}
	var events []market.Event
	providers := 0
	todo := course.Next()
	for todo.End == nil {
		for range todo.Start {
			providers++
			i := course.Begin(peer.ID(rune('o' + providers)))
			events = append(events, market.Event{Attempt: i, What: market.Committed})
		}
		for _, i := range todo.Reveal {
			events = append(events, market.Event{Attempt: i, What: market.Revealed, Digest: answer(i)})
		}
		if i := todo.Fetch; i > 0 {
			events = append(events, market.Event{Attempt: i, What: market.Answered, Digest: answer(i)})
		}
		if len(events) == 0 {
			t.Fatalf("nothing to do and no end: %+v", course.Ballots())
		}
		todo = course.Step(events[0])
		events = events[1:]
	}
	if todo.End.Attempt == 0 || answer(todo.End.Attempt) != answer(1) || !slices.Equal(todo.End.Dissenting, []int{2}) {
		t.Errorf("the end is %+v", *todo.End)
	}
	wrong := 0
	for _, l := range market.Lessons(start, course.Ballots(), known) {
		if !l.Right {
			wrong++
			if l.Provider != "q" {
				t.Errorf("%s is found wrong", l.Provider)
			}
		}
	}
	if wrong != 1 {
		t.Errorf("%d are found wrong, want the liar", wrong)
	}
}

func TestStart(t *testing.T) {
	witnesses := func(k ...float64) (list []market.Witness) {
		for _, x := range k {
			list = append(list, market.Witness{Standing: passed(x)})
		}
		return list
	}
	own := market.Witness{Own: true}
	for _, c := range []struct {
		name   string
		policy market.Policy
		chosen []market.Witness
		want   int
	}{
		{"off", market.Policy{Verify: protocol.VerifyOff}, witnesses(0), 1},
		{"a quorum", market.Policy{Quorum: 3, Verify: protocol.VerifyOff}, witnesses(300, 300, 300, 300), 3},
		{"auto: newcomers", market.Policy{Verify: protocol.VerifyAuto}, witnesses(0, 0), 5},
		{"auto: a newcomer and a proven one", market.Policy{Verify: protocol.VerifyAuto}, witnesses(0, 60), 2},
		{"auto: some checks", market.Policy{Verify: protocol.VerifyAuto}, witnesses(7, 7, 7), 2},
		{"auto: the own node", market.Policy{Verify: protocol.VerifyAuto}, []market.Witness{own}, 1},
		{"auto: two providers there are", market.Policy{Verify: protocol.VerifyAuto, Most: 2}, witnesses(0, 0), 2},
		{"strict: newcomers", market.Policy{Verify: protocol.VerifyStrict}, nil, 10},
		{"strict: known ones", market.Policy{Verify: protocol.VerifyStrict}, witnesses(25, 25, 25), 3},
		{"strict: well known ones", market.Policy{Verify: protocol.VerifyStrict}, witnesses(280, 280, 280), 2},
		{"strict: the own node", market.Policy{Verify: protocol.VerifyStrict}, []market.Witness{own}, 1},
	} {
		p := c.policy
		if got := p.Start(start, seeded(t), c.chosen); got != c.want {
			t.Errorf("%s: %d replicas, want %d", c.name, got, c.want)
		}
		if p.Checked && c.policy.Quorum > 1 {
			t.Errorf("%s: a fixed quorum is drawn as a check", c.name)
		}
	}
	t.Run("a share of the proven ones' tasks is checked", func(t *testing.T) {
		for _, k := range []float64{10, 15, 20, 200} {
			const tasks = 40_000
			rng, checks := rand.New(rand.NewPCG(3, 4)), 0
			for range tasks {
				p := market.Policy{Verify: protocol.VerifyAuto}
				if n := p.Start(start, rng, witnesses(k, k)); (n > 1) != p.Checked {
					t.Fatalf("%d replicas, checked %v", n, p.Checked)
				} else if p.Checked {
					checks++
				}
			}
			want := max(0.05, 1/k)
			if got := float64(checks) / tasks; math.Abs(got-want) > 0.01 {
				t.Errorf("after %v checks %.3f of the answers are checked, want %.3f", k, got, want)
			}
		}
	})
}

func TestLessons(t *testing.T) {
	for _, c := range []struct {
		name string
		said []said
		want string // + right, - wrong, . nothing, for each
	}{
		{"one alone teaches nothing", []said{by('a', 300)}, "."},
		{"two newcomers agree", []said{by('a', 0), by('a', 0)}, "++"},
		{"two disagree", []said{by('a', 100), by('b', 100)}, ".."},
		{"two newcomers against one", []said{by('a', 0), by('a', 0), by('b', 0)}, "..."},
		{"too little to find a newcomer wrong", []said{by('a', 0), by('a', 0), by('a', 0), by('b', 0)}, "+++."},
		{"enough", []said{by('a', 10), by('a', 10), by('b', 0), by('a', 10)}, "++-+"},
		{"the accepted group judges, wherever it stands", []said{by('b', 0), by('a', 30), by('a', 30), by('a', 30)}, "-+++"},
		{"newcomers do not overturn a proven one", []said{by('b', 0), by('b', 0), by('a', 30)}, "..."},
		{"the own node is always right and never judged", []said{by('b', 300), by('b', 300), ownAnswer, by('a', 0)}, "--.+"},
		{"the own node checks one", []said{by('a', 0), ownAnswer}, "+."},
		{"a liar is no witness", []said{by('x', 0), liar}, ".."},
	} {
		t.Run(c.name, func(t *testing.T) {
			ballots, known := ballotsOf(c.said)
			got := []byte(strings.Repeat(".", len(ballots)))
			for _, l := range market.Lessons(start, ballots, known) {
				i := l.Provider[0] - '0'
				got[i] = '+'
				if !l.Right {
					got[i] = '-'
				}
				if l.Right == (l.Why != "") {
					t.Errorf("right %v, because %q", l.Right, l.Why)
				}
			}
			if string(got) != c.want {
				t.Errorf("learned %s, want %s", got, c.want)
			}
		})
	}
}

// TestJudgeIsSound lets rapid choose ballots and standings, and holds Judge to
// what must be true of every ruling.
func TestJudgeIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []said
		for range rapid.IntRange(0, 16).Draw(t, "ballots") {
			s := by(byte('a'+rapid.IntRange(0, 3).Draw(t, "digest")), rapid.Float64Range(0, 290).Draw(t, "passed"))
			s.witness.Network = rapid.SampledFrom([]string{"", "n", "m"}).Draw(t, "network")
			if rapid.IntRange(0, 5).Draw(t, "lied") == 0 {
				s.witness.Standing.Wrongs = 1
				s.witness.Standing.WrongAt = start.Add(-time.Duration(rapid.IntRange(0, 20).Draw(t, "minutes")) * time.Minute)
			}
			s.witness.Own = rapid.IntRange(0, 20).Draw(t, "own") == 0
			list = append(list, s)
		}
		p := market.Policy{
			Quorum:  rapid.IntRange(0, 5).Draw(t, "quorum"),
			Verify:  rapid.SampledFrom([]protocol.Verify{protocol.VerifyAuto, protocol.VerifyStrict}).Draw(t, "verify"),
			Most:    rapid.IntRange(0, 20).Draw(t, "most"),
			Checked: rapid.Bool().Draw(t, "checked"),
		}
		ballots, known := ballotsOf(list)
		got := p.Judge(start, ballots, known)
		outcomes := 0
		for _, is := range []bool{got.Accepted, got.More > 0, got.Hopeless != ""} {
			if is {
				outcomes++
			}
		}
		if outcomes != 1 {
			t.Fatalf("not one ruling: %+v", got)
		}
		if got.More > 0 && len(ballots)+got.More > protocol.MaxReplicas {
			t.Fatalf("%d ballots and %d more", len(ballots), got.More)
		}
		if got.Accepted {
			// Recount by itself: who said that, and could be heard?
			support := 0
			for _, s := range list {
				_, barred := s.witness.Standing.Barred(start)
				if s.what == got.Digest[0] && (!barred || s.witness.Own) {
					support++
				}
			}
			if support == 0 || p.Quorum > 1 && support < p.Quorum {
				t.Fatalf("%+v is accepted on the word of %d", got, support)
			}
		}
		// The order in which answers come changes nothing about their worth,
		// unless two groups are equally good.
		if len(ballots) > 1 && p.Quorum <= 1 {
			turned := slices.Clone(ballots)
			slices.Reverse(turned)
			if again := p.Judge(start, turned, known); again.Accepted != got.Accepted {
				t.Fatalf("in another order %+v becomes %+v", got, again)
			}
		}
		for _, l := range market.Lessons(start, ballots, known) {
			if known(l.Provider).Own {
				t.Fatal("the own node is judged")
			}
		}
	})
}
