package market

import (
	"math"
	"math/rand/v2"
	"time"
)

const (
	// Probes is how many peers are drawn and probed for a task of one replica;
	// each further replica takes one more.
	Probes = 4
	// assumedSize is the work, in seconds at speed 1, of a task of which
	// nothing is known. Below 0.3 s the round trip decides anyway, and above
	// 15 s only speed and wait do, so that only the order of magnitude matters;
	// one second is where the policy was tuned with sizes unknown.
	assumedSize = 1.0
	// priorRTT stands for a round trip that has not been measured: the median
	// of PlanetLab's. It is never 0, which would draw every stranger first.
	priorRTT = 135 * time.Millisecond
	// explore is the share of draws with flatter weights, in which strangers
	// and far peers have their chance.
	explore = 0.2
)

// work is S, the expected work of the task in seconds at speed 1.
func (n Need) work() float64 {
	if n.Size > 0 {
		return n.Size
	}
	return assumedSize
}

// reach is T: how much a round trip counts when peers are drawn. The longer
// the task, the farther it may travel.
func (n Need) reach() time.Duration {
	return min(max(seconds(0.03*n.work()), 10*time.Millisecond), 500*time.Millisecond)
}

func (n Need) replicas() int { return max(1, n.Replicas) }

// rtt is the measured round trip, or what stands for it.
func (c Candidate) rtt() time.Duration {
	if c.RTTKnown {
		return c.RTT
	}
	return priorRTT
}

// Draw returns up to k of the feasible candidates, drawn at random without
// replacement, and before them the requester's own node, whose load costs
// nothing to ask. A peer's weight is s^1.5 exp(-rtt/T), and in a fifth of the
// draws s^2 exp(-rtt/10T), with s its speed and T = 0.03 S within 10 to 500 ms.
//
// Half of the draws are among the peers that have the module warm, if there
// are any: with many peers none of those would be drawn otherwise, and each
// task would be fetched and compiled anew. The other half lets the module
// spread when the warm ones are busy.
//
// Those that said a moment ago that they take nothing are drawn only when
// fewer than the replicas wanted are left without them.
func Draw(rng *rand.Rand, need Need, feasible []Candidate, k int) []Candidate {
	var drawn, unwilling []Candidate
	willing := make([]Candidate, 0, len(feasible))
	for _, c := range feasible {
		switch {
		case need.unwilling(c) != "":
			unwilling = append(unwilling, c)
		case c.Provider == need.Self:
			drawn = append(drawn, c)
		default:
			willing = append(willing, c)
		}
	}
	own := len(drawn)
	warm := func(c Candidate) bool { return c.Warm }
	drawn, willing = draw(rng, need, drawn, willing, k/2, warm)
	drawn, _ = draw(rng, need, drawn, willing, k-(len(drawn)-own), anyone)
	if len(drawn) < need.replicas() {
		drawn, _ = draw(rng, need, drawn, unwilling, k-(len(drawn)-own), anyone)
	}
	return drawn
}

func anyone(Candidate) bool { return true }

// draw moves up to k of the candidates in from that pass fit to drawn.
func draw(rng *rand.Rand, need Need, drawn, from []Candidate, k int, fit func(Candidate) bool) (_, rest []Candidate) {
	weights := make([]float64, len(from))
	for range k {
		speedPower, reach := 1.5, need.reach()
		if rng.Float64() < explore {
			speedPower, reach = 2, 10*reach
		}
		// In logarithms, since exp(-rtt/T) of far peers is 0 in a float64 and
		// they must still be drawn when there is nobody else.
		highest := math.Inf(-1)
		for i, c := range from {
			weights[i] = math.Inf(-1)
			if fit(c) {
				weights[i] = speedPower*math.Log(c.Speed) - float64(c.rtt())/float64(reach)
			}
			highest = max(highest, weights[i])
		}
		if math.IsInf(highest, -1) {
			break
		}
		total := 0.0
		for i := range from {
			weights[i] = math.Exp(weights[i] - highest)
			total += weights[i]
		}
		i, point := 0, rng.Float64()*total
		for j, w := range weights[:len(from)] {
			if w > 0 {
				i = j // the last of these, should rounding leave the point beyond
				if point -= w; point < 0 {
					break
				}
			}
		}
		drawn = append(drawn, from[i])
		last := len(from) - 1
		from[i], from = from[last], from[:last]
	}
	return drawn, from
}

// seconds converts s to a Duration, at most a year: what follows from the
// claims of peers may be beyond every Duration, or no number.
func seconds(s float64) time.Duration {
	const year = 365 * 24 * time.Hour
	if !(s < year.Seconds()) {
		return year
	}
	return time.Duration(max(0, s) * float64(time.Second))
}
