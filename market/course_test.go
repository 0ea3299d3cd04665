package market

import (
	"fmt"
	"slices"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"

	"github.com/spare-network/spare/protocol"
)

// equalBallots is a Rule: q equal ballots, of at most most, accept.
func equalBallots(q, most int) func([]Ballot) Ruling {
	return func(list []Ballot) Ruling {
		count := make(map[protocol.Digest]int)
		best := 0
		for _, b := range list {
			if count[b.Digest]++; count[b.Digest] >= q {
				return Ruling{Accepted: true, Digest: b.Digest}
			}
			best = max(best, count[b.Digest])
		}
		if len(list)+q-best > most {
			return Ruling{Hopeless: "no quorum"}
		}
		return Ruling{More: q - best}
	}
}

func digestNo(n int) protocol.Digest { return protocol.DigestOf(fmt.Append(nil, n)) }

// model is a Course among providers that do what rapid wants of them, and
// what must be true of it at every moment.
type model struct {
	t      *rapid.T
	course Course
	quorum int
	digest []protocol.Digest // what attempt i+1 has said or will say
	said   []bool            // it has revealed, or answered with, that
	asked  map[int]bool      // to reveal or to send its output
	gone   map[int]bool      // withdrawn
	end    *End
}

func (m *model) do(todo Todo) {
	if m.end != nil && todo.End != m.end {
		m.t.Fatalf("the end %+v became %+v", m.end, todo.End)
	}
	if todo.End != nil && m.end == nil {
		m.end = todo.End
		m.checkEnd()
	}
	if m.end != nil && (todo.Start > 0 || len(todo.Reveal) > 0 || todo.Fetch > 0) {
		m.t.Fatalf("after the end: %+v", todo)
	}
	for _, i := range append(todo.Reveal, todo.Fetch) {
		if m.gone[i] {
			m.t.Fatalf("attempt %d is withdrawn and claimed then", i)
		}
		if m.course.Rule == nil && i != 0 {
			m.t.Fatalf("attempt %d is claimed where the first answer counts", i)
		}
		m.asked[i] = true
	}
	for _, i := range todo.Withdraw {
		if m.gone[i] {
			m.t.Fatalf("attempt %d is withdrawn twice", i)
		}
		m.gone[i] = true
	}
	for range todo.Start {
		n := m.course.Begin(peer.ID(fmt.Sprint(len(m.digest))))
		if n != len(m.digest)+1 {
			m.t.Fatalf("attempt %d follows %d others", n, len(m.digest))
		}
		// Half are right; the others lie together or alone.
		lie := rapid.IntRange(0, 5).Draw(m.t, "lie")
		digest := digestNo(0)
		if lie >= 3 {
			digest = digestNo(1 + (lie-3)*n)
		}
		m.digest, m.said = append(m.digest, digest), append(m.said, false)
	}
}

func (m *model) checkEnd() {
	if m.end.Attempt == 0 {
		if m.end.Hopeless == "" {
			m.t.Fatal("an end without a result has no reason")
		}
		return
	}
	if m.gone[m.end.Attempt] || !m.said[m.end.Attempt-1] {
		m.t.Fatalf("the result is of attempt %d, which is withdrawn or has said nothing", m.end.Attempt)
	}
	if m.course.Rule == nil {
		return
	}
	agreeing, dissenting := 0, []int(nil)
	for i, said := range m.said {
		switch {
		case said && m.digest[i] == m.digest[m.end.Attempt-1]:
			agreeing++
		case said && !m.gone[i+1]:
			dissenting = append(dissenting, i+1)
		}
	}
	if agreeing < m.quorum {
		m.t.Fatalf("%d agree, the quorum is %d", agreeing, m.quorum)
	}
	for _, i := range m.end.Dissenting {
		if m.digest[i-1] == m.digest[m.end.Attempt-1] {
			m.t.Fatalf("attempt %d agrees and is named dissenting", i)
		}
	}
	for _, i := range dissenting {
		if !slices.Contains(m.end.Dissenting, i) && !m.failed(i) {
			m.t.Fatalf("attempt %d dissents and is not named", i)
		}
	}
}

func (m *model) failed(i int) bool { return m.course.attempts[i-1].phase == failed }

// step tells of something that happens to attempt i.
func (m *model) step(i int, what Happening) {
	ev := Event{Attempt: i, What: what}
	if what == Revealed || what == Answered {
		ev.Digest = m.digest[i-1]
		if !m.gone[i] && !m.course.attempts[i-1].over() && m.end == nil {
			m.said[i-1] = true
		}
	}
	m.do(m.course.Step(ev))
}

// Any interleaving of events leads to at most one end, and when providers come
// to do what they are asked, to exactly one.
func TestCourseHasOneEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, asked: make(map[int]bool), gone: make(map[int]bool)}
		m.course.Wanted = rapid.IntRange(1, 4).Draw(t, "wanted")
		m.course.Most = 7
		if rapid.Bool().Draw(t, "vote") {
			m.quorum = rapid.IntRange(1, 4).Draw(t, "quorum")
			m.course.Quorum, m.course.Wanted = m.quorum, max(m.course.Wanted, m.quorum)
			m.course.Rule = equalBallots(m.quorum, m.course.Most)
		}
		m.do(m.course.Next())
		for range rapid.IntRange(0, 60).Draw(t, "events") {
			i := rapid.IntRange(0, len(m.digest)+1).Draw(t, "attempt")
			what := Happening(rapid.IntRange(int(Leased), int(Answered)).Draw(t, "what"))
			if i < 1 || i > len(m.digest) {
				m.do(m.course.Step(Event{Attempt: i, What: what}))
				continue
			}
			m.step(i, what)
			if len(m.digest) > 200 {
				break
			}
		}
		// From here on all providers work, in any order.
		for round := 0; m.end == nil; round++ {
			if round > 100 {
				t.Fatalf("no end: %+v", m.course.attempts)
			}
			for i := 1; i <= len(m.digest) && m.end == nil; i++ {
				switch {
				case m.gone[i]:
				case m.course.Rule == nil, m.course.attempts[i-1].phase >= fetching:
					m.step(i, Answered)
				case m.asked[i]:
					m.step(i, Revealed)
				default:
					m.step(i, Committed)
				}
			}
		}
	})
}

func TestCourseStartsASpareOnSuspicionAndTakesALateAnswer(t *testing.T) {
	c := Course{Wanted: 1, Most: 7}
	if todo := c.Next(); todo.Start != 1 {
		t.Fatalf("at first: %+v", todo)
	}
	first := c.Begin("a")
	c.Step(Event{Attempt: first, What: Leased})
	if todo := c.Step(Event{Attempt: first, What: Suspected}); todo.Start != 1 {
		t.Fatalf("under suspicion: %+v", todo)
	}
	spare := c.Begin("b")
	if todo := c.Step(Event{Attempt: first, What: Unreachable}); todo.Start != 0 {
		t.Errorf("a second spare for the same loss: %+v", todo)
	}
	todo := c.Step(Event{Attempt: first, What: Answered})
	if todo.End == nil || todo.End.Attempt != first || !slices.Equal(todo.Withdraw, []int{spare}) {
		t.Errorf("the late answer: %+v", todo)
	}
}

func TestCourseFetchesFromAnotherWhoAgrees(t *testing.T) {
	c := Course{Wanted: 3, Quorum: 2, Most: 7, Rule: equalBallots(2, 7)}
	for range c.Next().Start {
		c.Begin("")
	}
	c.Step(Event{Attempt: 1, What: Committed})
	if todo := c.Step(Event{Attempt: 2, What: Committed}); !slices.Equal(todo.Reveal, []int{1, 2}) {
		t.Fatalf("with a quorum of commitments: %+v", todo)
	}
	c.Step(Event{Attempt: 1, What: Revealed, Digest: digestNo(1)})
	todo := c.Step(Event{Attempt: 2, What: Revealed, Digest: digestNo(1)})
	if todo.Fetch == 0 || !slices.Equal(todo.Withdraw, []int{3}) {
		t.Fatalf("with a quorum: %+v", todo)
	}
	other := 3 - todo.Fetch
	if next := c.Step(Event{Attempt: todo.Fetch, What: Unreachable}); next.Fetch != other {
		t.Fatalf("its output does not come: %+v", next)
	}
	if next := c.Step(Event{Attempt: other, What: Failed}); next.Start == 0 {
		t.Fatalf("nor does the other's: %+v", next)
	}
}

// An arbiter comes in even when as many answers are there as may be asked for.
func TestCourseHasRoomForAnArbiter(t *testing.T) {
	c := Course{Wanted: 2, Quorum: 2, Most: 2, Rule: func(said []Ballot) Ruling {
		switch len(said) {
		case 2:
			return Ruling{More: 1, Own: true}
		case 3:
			return Ruling{Accepted: true, Digest: said[2].Digest}
		}
		return Ruling{More: 2 - len(said)}
	}}
	for i, p := range []peer.ID{"a", "b"} {
		c.Begin(p)
		c.Step(Event{Attempt: i + 1, What: Committed})
	}
	c.Step(Event{Attempt: 1, What: Revealed, Digest: digestNo(1)})
	if todo := c.Step(Event{Attempt: 2, What: Revealed, Digest: digestNo(2)}); todo.Start != 1 || !todo.Own {
		t.Fatalf("answers differ: %+v", todo)
	}
	own := c.Begin("self")
	if todo := c.Next(); todo.Start != 0 {
		t.Errorf("the arbiter is asked already: %+v", todo)
	}
	c.Step(Event{Attempt: own, What: Committed})
	if todo := c.Step(Event{Attempt: own, What: Revealed, Digest: digestNo(2)}); todo.Fetch != 2 {
		t.Errorf("the arbiter has said: %+v", todo)
	}
}

func TestOutputThatIsHereIsTaken(t *testing.T) {
	c := Course{Wanted: 3, Quorum: 1, Most: 5, Rule: equalBallots(1, 5)}
	d := digestNo(0)
	for range 2 {
		c.Begin("x")
	}
	c.Step(Event{Attempt: 1, What: Committed})
	c.Step(Event{Attempt: 2, What: Committed})
	c.Step(Event{Attempt: 2, What: Revealed, Digest: d}) // and its output is claimed
	c.Step(Event{Attempt: 1, What: Revealed, Digest: d})
	c.Step(Event{Attempt: 2, What: Unreachable}) // now that of 1 is
	if todo := c.Step(Event{Attempt: 2, What: Answered, Digest: d}); todo.End == nil {
		t.Errorf("it waits for another's: %+v", todo)
	}
}
