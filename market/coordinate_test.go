package market

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestCoordinates has nodes of a plane find out where they are from round trips
// to a few others each.
func TestCoordinates(t *testing.T) {
	const nodes, rounds, neighbours = 40, 60, 8
	rng := rand.New(rand.NewPCG(1, 2))
	real, learned := make([]Coordinate, nodes), make([]Coordinate, nodes)
	for i := range real {
		real[i] = Coordinate{X: 100 * rng.Float64(), Y: 60 * rng.Float64(), Height: 1 + 4*rng.Float64()}
		learned[i] = Origin()
	}
	for range rounds {
		for i := range learned {
			for k := range neighbours {
				j := (i + 1 + k*k) % nodes
				if i == j {
					continue
				}
				noisy := real[i].RoundTrip(real[j]) * (1 + 0.05*rng.Float64())
				learned[i] = learned[i].Moved(learned[j], time.Duration(noisy*float64(time.Millisecond)), rng)
				if !learned[i].Valid() {
					t.Fatalf("node %d is at %+v", i, learned[i])
				}
			}
		}
	}
	var errs []float64
	for i := range nodes {
		for j := range i {
			is := real[i].RoundTrip(real[j])
			errs = append(errs, math.Abs(learned[i].RoundTrip(learned[j])-is)/is)
		}
	}
	slices.Sort(errs)
	if median := errs[len(errs)/2]; median > 0.12 {
		t.Errorf("half of the round trips are told wrong by more than %.0f %%", 100*median)
	}
	if learned[0].Error > 0.3 {
		t.Errorf("it is not sure of itself: error %.2f", learned[0].Error)
	}
}

func TestCoordinatesOfLiars(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for name, c := range map[string]Coordinate{
		"zero": {}, "far": {X: 1e9, Height: 1, Error: 1}, "no number": {X: nan, Height: 1, Error: 1},
		"infinite": {Y: inf, Height: 1, Error: 1}, "below the ground": {Height: -1, Error: 1}, "too sure": {Height: 1, Error: -1},
		"height is no number": {Height: nan, Error: 1}, "error is no number": {Height: 1, Error: nan},
	} {
		if c.Valid() {
			t.Errorf("%s is valid: %+v", name, c)
		}
	}
	// One that is valid, wherever it says that it is, does not break others.
	rng := rand.New(rand.NewPCG(3, 4))
	own := Origin()
	for range 10_000 {
		other := Coordinate{
			X: mostMS * (2*rng.Float64() - 1), Y: mostMS * (2*rng.Float64() - 1), Height: leastHeight + 9000*rng.Float64(), Error: 1e-9 + rng.Float64(),
		}
		if own = own.Moved(other, time.Duration(rng.Int64N(int64(time.Minute))), rng); !own.Valid() {
			t.Fatalf("own place is %+v", own)
		}
	}
}

// Whatever one peer says of itself, it moves nobody further than it is away.
func TestNobodyIsMovedFarByOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		c := Coordinate{X: rng.Float64() * 100, Y: rng.Float64() * 100, Height: 1 + rng.Float64()*10, Error: 0.1 + rng.Float64()}
		o := Coordinate{
			X: c.X + 2*leastMS*rng.Float64(), Y: (2*rng.Float64() - 1) * mostMS, Height: leastHeight + rng.Float64()*(mostMS-leastHeight),
			Error: leastMS,
		}
		if rng.IntN(2) == 0 {
			o.Y = c.Y
		}
		rtt := time.Duration(1 + rng.IntN(int(100*time.Millisecond)))
		away := max(leastMS, float64(rtt)/float64(time.Millisecond))
		to := c.Moved(o, rtt, rng)
		if moved := math.Hypot(to.X-c.X, to.Y-c.Y); moved > 1.01*away || math.Abs(to.Height-c.Height) > 1.01*away {
			t.Fatalf("%s away at %+v, it moves from %+v to %+v", rtt, o, c, to)
		}
	}
}
