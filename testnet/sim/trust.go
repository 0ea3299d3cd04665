package sim

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// Habit is how a dishonest provider lies.
type Habit int

// The habits. Those who collude tell one and the same lie about a task; each
// of the others tells a lie of its own.
const (
	// Alone: each liar lies in a share of its tasks, by itself.
	Alone Habit = iota
	// Together: liars agree on a share of the tasks, and lie in those.
	Together
	// Asleep: liars that collude are honest until they have passed Wake
	// checks, which they are supposed to know, and then lie always. A liar
	// that still sleeps supports the lie of another.
	Asleep
	// Knowing: liars that lie whenever nobody compares, and never else. It
	// shows what a provider gains that can tell a check from another task.
	Knowing
)

// Trust is one run of the trust simulator: one requester that starts out
// knowing nobody, and sends one task after another to providers drawn at
// random, a fast one more often than a slow one.
type Trust struct {
	Verify protocol.Verify
	Peers  int
	Liars  float64 // their fraction of the peers
	Habit  Habit
	Share  float64 // of tasks lied about, for Alone and Together
	Wake   float64 // checks passed, for Asleep
	// Renamed says that a liar that is found out comes back at once as a
	// newcomer.
	Renamed bool
	// Remote says that tasks must leave the own node, so that it is no arbiter
	// where answers differ.
	Remote bool
	Tasks  int
	// PerSecond is how many tasks start in a second, and InFlight how many
	// start until what one has taught is known.
	PerSecond float64
	InFlight  int
	Seed      uint64
}

// Tally is what became of a number of tasks.
type Tally struct {
	Tasks    int
	Replicas int
	Wrong    int // a lie was accepted
	Failed   int // nothing was accepted
}

// Work is the number of replicas for each task.
func (t Tally) Work() float64 { return float64(t.Replicas) / float64(max(1, t.Tasks)) }

// TrustReport is what a run has shown.
type TrustReport struct {
	// WarmUp is of the first 100 tasks for each peer, Later of all others.
	WarmUp, Later Tally
	// LiarsFound and HonestFound count how often one was found wrong.
	LiarsFound, HonestFound int
	Most                    int // replicas of one task
}

// WrongRate is the fraction of all tasks whose accepted result is a lie.
func (r TrustReport) WrongRate() float64 {
	return float64(r.WarmUp.Wrong+r.Later.Wrong) / float64(max(1, r.WarmUp.Tasks+r.Later.Tasks))
}

// warmUp is how many tasks for each peer are the warm-up.
const warmUp = 100

// trustRun is the state of a run.
type trustRun struct {
	Trust
	rng       *rand.Rand
	now       time.Time
	standings []market.Standing
	ids       []peer.ID
	liars     int       // the first so many peers
	reach     []float64 // running sum of the peers' weights
	unlearned [][]lesson
	report    TrustReport
}

// lesson is what is to be noted of a peer.
type lesson struct {
	peer      int
	unchecked bool
	right     bool
	why       string
}

// Run simulates. The same Trust gives the same report.
func (t Trust) Run() TrustReport {
	r := &trustRun{
		Trust:     t,
		rng:       rand.New(rand.NewPCG(t.Seed, 0)),
		standings: make([]market.Standing, t.Peers),
		liars:     int(math.Round(t.Liars * float64(t.Peers))),
		unlearned: make([][]lesson, max(1, t.InFlight)),
	}
	start := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	sum := 0.0
	for i := range t.Peers {
		r.ids = append(r.ids, peer.ID(binary.BigEndian.AppendUint32(nil, uint32(i))))
		sum += math.Exp(0.5 * r.rng.NormFloat64())
		r.reach = append(r.reach, sum)
	}
	for i := range t.Tasks {
		r.now = start.Add(time.Duration(float64(i) / t.PerSecond * float64(time.Second)))
		slot := &r.unlearned[i%len(r.unlearned)]
		r.learn(*slot)
		tally := &r.report.Later
		if i < warmUp*t.Peers {
			tally = &r.report.WarmUp
		}
		*slot = r.task(tally, (*slot)[:0])
	}
	return r.report
}

// own is the requester's own node among the drawn.
const own = -1

// ahead is how many peers are drawn before it is known how many are needed.
const ahead = 3

// draw adds peers that are not barred until there are n, or nobody is left.
func (r *trustRun) draw(drawn []int, n int) []int {
	for tries := 20 * r.Peers; len(drawn) < n && tries > 0; tries-- {
		i := sort.SearchFloat64s(r.reach, r.rng.Float64()*r.reach[len(r.reach)-1])
		if _, barred := r.standings[i].Barred(r.now); !barred && !slices.Contains(drawn, i) {
			drawn = append(drawn, i)
		}
	}
	return drawn
}

func (r *trustRun) witness(i int) market.Witness {
	if i == own {
		return market.Witness{Own: true}
	}
	return market.Witness{Standing: r.standings[i]}
}

func (r *trustRun) id(i int) peer.ID {
	if i == own {
		return "own"
	}
	return r.ids[i]
}

func (r *trustRun) index(p peer.ID) int {
	if p == "own" {
		return own
	}
	return int(binary.BigEndian.Uint32([]byte(p)))
}

func (r *trustRun) known(p peer.ID) market.Witness { return r.witness(r.index(p)) }

// task places one task, judges it and returns what it teaches.
func (r *trustRun) task(tally *Tally, lessons []lesson) []lesson {
	policy := market.Policy{Verify: r.Verify, Arbiter: !r.Remote}
	var room [protocol.MaxReplicas]int
	var witnesses [ahead]market.Witness
	drawn, chosen := r.draw(room[:0], ahead), witnesses[:0]
	for _, i := range drawn {
		chosen = append(chosen, r.witness(i))
	}
	wanted := policy.Start(r.now, r.rng, chosen)
	plot := r.Habit == Together && r.rng.Float64() < r.Share
	ballots := make([]market.Ballot, 0, protocol.MaxReplicas)
	var ruling market.Ruling
	for {
		if drawn = r.draw(drawn, wanted); len(drawn) < wanted {
			wanted, policy.Most = len(drawn), len(drawn) // nobody is left to ask
		}
		for len(ballots) < wanted {
			i := drawn[len(ballots)]
			ballots = append(ballots, market.Ballot{
				Attempt: len(ballots) + 1, Provider: r.id(i),
				Digest: r.answer(i, &plot, policy.Checked),
			})
		}
		ruling = policy.Judge(r.now, ballots, r.known)
		if ruling.More == 0 {
			break
		}
		wanted = len(ballots) + ruling.More
		if ruling.Own {
			drawn = slices.Insert(drawn[:len(ballots):len(ballots)], len(ballots), own)
		}
	}
	tally.Tasks++
	tally.Replicas += len(ballots)
	r.report.Most = max(r.report.Most, len(ballots))
	switch {
	case !ruling.Accepted:
		tally.Failed++
	case ruling.Digest != protocol.Digest{}:
		tally.Wrong++
	}
	learned := market.Lessons(r.now, ballots, r.known)
	for _, l := range learned {
		lessons = append(lessons, lesson{peer: r.index(l.Provider), right: l.Right, why: l.Why})
	}
	if learned == nil {
		for i := range ballots {
			if drawn[i] != own {
				lessons = append(lessons, lesson{peer: drawn[i], unchecked: true})
			}
		}
	}
	return lessons
}

// answer is what peer i says is the result: the zero digest is right.
func (r *trustRun) answer(i int, plot *bool, checked bool) protocol.Digest {
	if i == own || i >= r.liars {
		return protocol.Digest{}
	}
	lie := false
	switch r.Habit {
	case Alone:
		lie = r.rng.Float64() < r.Share
	case Together:
		lie = *plot
	case Asleep:
		*plot = *plot || r.standings[i].Passed >= r.Wake
		lie = *plot
	case Knowing:
		lie = !checked
	}
	switch {
	case !lie:
		return protocol.Digest{}
	case r.Habit == Together || r.Habit == Asleep:
		return protocol.Digest{1}
	default:
		d := protocol.Digest{2}
		binary.BigEndian.PutUint32(d[1:], uint32(i))
		return d
	}
}

// learn notes what earlier tasks have taught.
func (r *trustRun) learn(lessons []lesson) {
	for _, l := range lessons {
		s := &r.standings[l.peer]
		switch {
		case l.unchecked:
			s.Unchecked()
		case l.right:
			s.Agreed()
		default:
			s.Wrong(r.now, l.why)
			if l.peer >= r.liars {
				r.report.HonestFound++
				continue
			}
			r.report.LiarsFound++
			if r.Renamed {
				*s = market.Standing{}
			}
		}
	}
}

// Bound is the wrong-accept rate that analysis promises for the whole run, and
// false where there is no promise. With L liars, a fraction f of all, that can
// be barred w times until the end:
//
//   - Strict, at a steady share: 1e-6. That is what Judge demands of the odds
//     of each accepted result, by Sarmenta's group credibility, which supposes
//     f <= 0.2 and takes all wrong answers for equal ones.
//   - Auto: a liar that is let alone is checked with a probability of at least
//     0.05, and the check finds it unless its first witness is another of
//     those it colludes with, so c = 0.05, or 0.05 (1-f). It tells (1-c)/c
//     lies in the mean for each time it is found. So the rate is at most
//     L w (1-c)/c over the tasks.
//   - Auto, renamed: each name first passes 10 checks, tells (1-c)/c lies and
//     is found, whence f (1-c)/c over 11 + (1-c)/c.
//   - Strict, asleep: of two witnesses the second is a liar, too, with
//     probability f; else one is found. So there are f/(1-f) lies for each time
//     one is found, L w f/(1-f) over the tasks; renamed, each name first
//     passes Wake checks.
//   - Renamed, without an arbiter: none. Liars that come back while those of the
//     honest who were outvoted are barred become ever more of those who remain.
//   - Knowing: every lie is believed.
func (t Trust) Bound() (float64, bool) {
	f := t.Liars
	liars, tasks := math.Round(f*float64(t.Peers)), float64(t.Tasks)
	strict := t.Verify == protocol.VerifyStrict
	start := time.Unix(0, 0)
	end, lives := start.Add(time.Duration(tasks/t.PerSecond*float64(time.Second))), 1.0
	for at, s := start, (market.Standing{}); ; lives++ {
		s.Wrong(at, "")
		if at, _ = s.Barred(at); at.After(end) {
			break
		}
	}
	c := 0.05
	if t.Habit == Together || t.Habit == Asleep {
		c *= 1 - f
	}
	lies := (1 - c) / c
	switch {
	case f == 0:
		return 0, true
	case strict && t.Habit == Asleep && t.Renamed:
		return f * f / (1 - f) / t.Wake, !t.Remote
	case strict && t.Habit == Asleep:
		return liars * lives * f / (1 - f) / tasks, true
	case strict:
		return 1e-6, f <= 0.2
	case t.Habit == Knowing:
		return 1, false
	case t.Renamed:
		return f * lies / (11 + lies), !t.Remote
	default:
		return liars * lives * lies / tasks, true
	}
}
