//go:build unix

package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// kind is what happens to a node.
type kind int

const (
	killed  kind = iota // SIGKILL, and started again as who it was
	renamed             // SIGKILL, and started again with a new identity
	stopped             // SIGSTOP, and SIGCONT
	cut                 // its link loses everything, and loses nothing again
	parted              // so do all links between two halves of the network
	jumped              // its clock jumps, and jumps back
	filled              // its disk is full, and is not any more
	kinds
)

func (k kind) String() string {
	return [...]string{"kill -9, same identity", "kill -9, new identity", "SIGSTOP", "link cut", "partition", "clock jump", "disk full"}[k]
}

// kindWords are how the command line names them.
func kindWords() []string {
	return []string{"kill", "rename", "stop", "cut", "part", "jump", "fill"}
}

// stalls reports whether nothing goes on at a node while it lasts, so that its
// work must be resumed elsewhere in time.
func (k kind) stalls() bool { return k != jumped && k != filled }

// kills reports whether what a node has not done by then is lost there.
func (k kind) kills() bool { return k == killed || k == renamed }

// weights are how often each kind happens in comparison.
var weights = [kinds]int{killed: 3, renamed: 3, stopped: 3, cut: 3, parted: 1, jumped: 2, filled: 1}

// plan is one fault to come.
type plan struct {
	after time.Duration // since the one before
	what  kind
	node  int // never the requester, which is 0; of a partition, the first of those beyond it
	lasts time.Duration
	jump  time.Duration
}

// schedule makes faults at random.
type schedule struct {
	rng   *rand.Rand
	nodes int
	every time.Duration
	bag   []kind
}

func newSchedule(seed uint64, nodes int, every time.Duration, possible []kind) *schedule {
	s := &schedule{rng: rand.New(rand.NewPCG(seed, 0)), nodes: nodes, every: every}
	for _, k := range possible {
		s.bag = append(s.bag, slices.Repeat([]kind{k}, weights[k])...)
	}
	return s
}

// next returns the next fault: they come as a Poisson process, and last from
// too short to be noticed to long enough to be given up for.
func (s *schedule) next() plan {
	return plan{
		after: time.Duration(s.rng.ExpFloat64() * float64(s.every)),
		what:  s.bag[s.rng.IntN(len(s.bag))],
		node:  1 + s.rng.IntN(s.nodes-1),
		lasts: 200*time.Millisecond + time.Duration(s.rng.Int64N(int64(3*time.Second))),
		jump:  (time.Duration(s.rng.Int64N(int64(48*time.Hour))) - 24*time.Hour).Truncate(time.Second),
	}
}
