package main

import (
	"context"
	"fmt"
	"slices"
)

// comparison is one way to run tasks beside what it is compared with.
type comparison struct {
	name             string
	inFlight         int
	reference, spare echo
	targets          targets
	rounds           []round
}

// round is what both came to, one right after the other.
type round struct{ reference, spare figures }

type bench struct {
	options
	messages
	cases []*comparison
}

// measure runs all rounds, after one that warms everything up and does not
// count.
func (b *bench) measure(ctx context.Context) error {
	for n := range b.rounds + 1 {
		for _, c := range b.cases {
			r, err := b.turn(ctx, c, n%2 == 0)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if n > 0 {
				c.rounds = append(c.rounds, r)
			}
		}
	}
	return nil
}

// turn measures both sides of one comparison; who is first changes with the
// rounds.
func (b *bench) turn(ctx context.Context, c *comparison, spareFirst bool) (r round, err error) {
	sides := []struct {
		do  echo
		got *figures
	}{{c.reference, &r.reference}, {c.spare, &r.spare}}
	if spareFirst {
		slices.Reverse(sides)
	}
	for _, s := range sides {
		if *s.got, err = b.load(ctx, c.inFlight, b.lasts, s.do); err != nil {
			return r, err
		}
	}
	return r, nil
}

// summary is the median over the rounds of one figure: of the reference, of
// spare, and of their ratio within a round, with the least and the largest of
// the ratios.
type summary struct{ reference, spare, ratio, least, most float64 }

func summarise(rounds []round, figure func(figures) float64) summary {
	var reference, spare []float64
	for _, r := range rounds {
		reference, spare = append(reference, figure(r.reference)), append(spare, figure(r.spare))
	}
	return compare(reference, spare)
}

// compare summarises one figure of each of the same rounds.
func compare(reference, spare []float64) summary {
	var ratio []float64
	for i, x := range reference {
		ratio = append(ratio, spare[i]/x)
	}
	return summary{median(reference), median(spare), median(ratio), slices.Min(ratio), slices.Max(ratio)}
}

// median returns the middle of list, or the mean of the two in the middle.
func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
