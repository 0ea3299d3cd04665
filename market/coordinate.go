package market

import (
	"math"
	"math/rand/v2"
	"time"
)

// Coordinate is where a node is in a plane whose distances are round trips, by
// Vivaldi (Dabek, Cox, Kaashoek and Morris, SIGCOMM 2004). Its height is what all
// of its round trips have in common, such as a slow line to its house. It is for
// people who look at a map: a node may say anything of its own, and nothing is
// placed by it.
type Coordinate struct {
	X, Y, Height float64 // milliseconds
	Error        float64 // relative, of the round trips that it tells
}

const (
	// mostMS bounds coordinates, and round trips from which they are learned.
	mostMS = 10_000
	// leastMS and leastHeight keep small round trips apart from none.
	leastMS     = 1e-3
	leastHeight = 1e-2
	// mostError is that of a node that has measured nothing.
	mostError = 1.5
	// learning is by how much a measurement moves a node, and its error, at most.
	learning = 0.25
)

// Origin is where a node is that has measured nothing.
func Origin() Coordinate { return Coordinate{Height: leastHeight, Error: mostError} }

// Valid reports whether c may be of an honest node.
func (c Coordinate) Valid() bool {
	return math.Abs(c.X) <= mostMS && math.Abs(c.Y) <= mostMS && // neither of which a NaN is
		c.Height >= leastHeight && c.Height <= mostMS && c.Error >= leastMS && c.Error <= mostError
}

// RoundTrip is what c and o tell of the round trip between them, in milliseconds.
func (c Coordinate) RoundTrip(o Coordinate) float64 {
	return math.Hypot(c.X-o.X, c.Y-o.Y) + c.Height + o.Height
}

// Moved is c after a round trip to a node at o, which must be valid, was measured.
// The surer o is in comparison, the further c moves.
func (c Coordinate) Moved(o Coordinate, rtt time.Duration, rng *rand.Rand) Coordinate {
	measured := min(mostMS, max(leastMS, float64(rtt)/float64(time.Millisecond)))
	told := c.RoundTrip(o)
	weight := c.Error / (c.Error + o.Error)
	wrong := math.Abs(told-measured) / measured
	c.Error = min(mostError, max(leastMS, c.Error+learning*weight*(wrong-c.Error)))

	// No further than what was measured: o may be of somebody who draws all maps awry.
	force := min(measured, max(-measured, learning*weight*(measured-told)))
	dx, dy := c.X-o.X, c.Y-o.Y
	if apart := math.Hypot(dx, dy); apart > leastMS {
		dx, dy = dx/apart, dy/apart
		c.Height += force * min(1, (c.Height+o.Height)/apart)
	} else { // in any direction
		dy, dx = math.Sincos(2 * math.Pi * rng.Float64())
	}
	c.X, c.Y = c.X+force*dx, c.Y+force*dy
	c.Height = min(mostMS, max(leastHeight, c.Height))
	if !c.Valid() {
		return Origin()
	}
	return c
}
