package market

import "time"

const (
	// usualRate is the gas per second at speed 1 of programs of which nothing is
	// known. Examples, CPython and esbuild were measured at 3e8 to 3e9; a guess
	// that is too high would have honest providers suspected.
	usualRate = 1e8
	// maxRate bounds what receipts are believed: a claim of more would make all
	// others look slow.
	maxRate = 1e10
	// tempoWeight is the weight of the newest run in what is learned.
	tempoWeight = 0.1
	// leastRun is how long a run takes from which something is learned: of a
	// shorter one, most goes into starting it.
	leastRun = 10 * time.Millisecond
	// slowShare is the share of the expected gas below which a replica is slow.
	slowShare = 0.25
	// Stride is over how long progress is judged: longer than a busy machine
	// keeps a program waiting now and then.
	Stride = 2 * time.Second
)

// Tempo is what results have shown of the programs of one module, in terms of a
// provider of speed 1. The zero Tempo is of a module that has not run.
type Tempo struct {
	Rate float64 // gas per second; 0: unknown
	Work float64 // seconds of a run; 0: unknown
}

// Learn notes a run, by its receipt, on a provider of the given speed.
func (t *Tempo) Learn(gas uint64, wall time.Duration, speed float64) {
	if speed <= 0 || wall <= 0 {
		return
	}
	t.Work = blend(t.Work, wall.Seconds()*speed, tempoWeight)
	if wall >= leastRun {
		t.Rate = blend(t.Rate, min(maxRate, float64(gas)/wall.Seconds()/speed), tempoWeight)
	}
}

// blend is the moving average of what was known, 0 for nothing, and the latest.
func blend(old, latest, weight float64) float64 {
	if old == 0 {
		return latest
	}
	return old + weight*(latest-old)
}

// Expects is the gas per second that a provider of the given speed should use.
func (t Tempo) Expects(speed float64) float64 {
	if t.Rate == 0 {
		return usualRate * speed
	}
	return t.Rate * speed
}

// Progress judges how one replica comes along, by the gas that its provider
// says it has used. The zero Progress is of one that does not run yet.
type Progress struct {
	since time.Time // when the stride began; zero: none has
	gas   uint64    // used by then
}

// Pause notes that the replica does not run now.
func (p *Progress) Pause() { p.since = time.Time{} }

// Hasten has the stride that has begun end sooner, by a share of its length.
func (p *Progress) Hasten(share float64) {
	if !p.since.IsZero() {
		p.since = p.since.Add(-time.Duration(share * float64(Stride)))
	}
}

// Seen takes how much gas a running replica has used by now. It reports
// whether a stride of 2 s is over, and whether the replica used less than a
// quarter of the gas in it that is expected, in gas per second.
func (p *Progress) Seen(now time.Time, gas uint64, expected float64) (over, slow bool) {
	took := now.Sub(p.since)
	switch {
	case p.since.IsZero():
	case took < Stride:
		return false, false
	default:
		over = true
		slow = float64(gas)-float64(p.gas) < slowShare*expected*took.Seconds()
	}
	p.since, p.gas = now, gas
	return over, slow
}

const (
	// hedgeShare is how much work may be done twice for being slow, of all work.
	hedgeShare = 0.05
	// hedgeMost bounds what is saved up for it, and what is owed for one spare
	// that was expected to cost more: that must not end hedging for good.
	hedgeMost = time.Minute
)

// Hedge is the budget for spares of replicas that are slow: a token bucket of 5 %
// of all work. Spares of those whose provider seems dead are not paid from it.
// The zero Hedge allows one spare.
type Hedge struct{ saved time.Duration }

// Earn notes that a run took so long and was of use.
func (h *Hedge) Earn(wall time.Duration) {
	h.saved = min(hedgeMost, h.saved+time.Duration(hedgeShare*float64(wall)))
}

// Spend takes what a spare is expected to cost, if there is anything left, and
// reports whether it may be started.
func (h *Hedge) Spend(cost time.Duration) bool {
	if h.saved < 0 {
		return false
	}
	h.saved = max(h.saved-cost, -hedgeMost)
	return true
}
