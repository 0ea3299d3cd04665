package swarm

import (
	"slices"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/spare-network/spare/protocol"
)

// wanting returns the wants of n leaves, all of them missing.
func wanting(n, rank int) (*wants, []cid.Cid) {
	s, missing := new(Share), []int(nil)
	for i := range n {
		s.cids = append(s.cids, leafCID(protocol.DigestOf([]byte{byte(i)})))
		missing = append(missing, i)
	}
	w := newWants(s, missing, rank)
	return &w, s.cids
}

// picks asks a source for all that it may be asked for.
func picks(w *wants, s *source, now time.Time) (list []int) {
	for {
		i, ok := w.pick(s, now)
		if !ok {
			return list
		}
		list = append(list, i)
	}
}

func TestEachRankBeginsElsewhere(t *testing.T) {
	var firsts []int
	for rank := range 8 {
		w, _ := wanting(64, rank)
		firsts = append(firsts, w.order[0])
		if sorted := slices.Sorted(slices.Values(w.order)); len(sorted) != 64 || sorted[0] != 0 || sorted[63] != 63 {
			t.Errorf("rank %d has another order: %v", rank, w.order)
		}
	}
	if want := []int{0, 32, 16, 48, 8, 40, 24, 56}; !slices.Equal(firsts, want) {
		t.Errorf("they begin at %v, want %v", firsts, want)
	}
}

func TestOriginIsAskedForWhatNobodyElseHas(t *testing.T) {
	now := time.Unix(1e9, 0)
	w, cids := wanting(6, 0)
	origin, other := w.add("origin", true), w.add("other", false)
	for _, i := range []int{0, 1, 2, 3, 4} {
		w.has(other, cids[i])
	}
	if got := picks(w, origin, now); !slices.Equal(got, []int{5}) {
		t.Errorf("the origin is asked for %v", got)
	}
	if got := picks(w, other, now); !slices.Equal(got, []int{0, 1, 2, 3}) {
		t.Errorf("the other is asked for %v", got)
	}
	if places := w.take(origin, cids[5], now); !slices.Equal(places, []int{5}) {
		t.Errorf("leaf 5 is wanted at %v", places)
	}
	if places := w.take(origin, cids[5], now); len(places) > 0 {
		t.Errorf("the second time at %v", places)
	}
	if got := picks(w, origin, now.Add(originIdle/2)); len(got) > 0 {
		t.Errorf("the origin is asked for %v, which the other has", got)
	}
	if got := picks(w, origin, now.Add(2*originIdle)); !slices.Equal(got, []int{4}) {
		t.Errorf("when it has rested it is asked for %v", got)
	}
}

func TestWhatASilentSourceWasAskedForIsAskedElsewhere(t *testing.T) {
	now := time.Unix(1e9, 0)
	w, cids := wanting(3, 0)
	origin, other := w.add("origin", true), w.add("other", false)
	for _, c := range cids {
		w.has(other, c)
	}
	if got := picks(w, other, now); len(got) != 3 {
		t.Fatalf("the other is asked for %v", got)
	}
	now = now.Add(patience)
	if w.silent(other, now) {
		t.Error("it is given up too soon")
	}
	now = now.Add(1)
	if !w.silent(other, now) || w.silent(origin, now) {
		t.Error("who is silent?")
	}
	if got := picks(w, other, now); len(got) > 0 {
		t.Errorf("it is asked again at once for %v", got)
	}
	if got := picks(w, origin, now); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("the origin is asked for %v", got)
	}
	w.take(other, cids[0], now) // late
	if len(other.cancels) > 0 || len(origin.cancels) != 1 {
		t.Errorf("%d and %d cancels", len(other.cancels), len(origin.cancels))
	}
	if got := picks(w, other, now); !slices.Equal(got, []int{2}) {
		t.Errorf("when it has spoken it is asked for %v", got)
	}
	w.forget(other)
	if w.held[2] != 0 || w.asked[2] != nil {
		t.Error("what it had counts")
	}
}

func TestWhatIsDeniedIsAskedElsewhere(t *testing.T) {
	now := time.Unix(1e9, 0)
	w, cids := wanting(2, 0)
	origin, other := w.add("origin", true), w.add("other", false)
	w.has(other, cids[0])
	picks(w, other, now)
	w.lacks(other, cids[0], now)
	if got := picks(w, origin, now); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("the origin is asked for %v", got)
	}
	w.lacks(origin, cids[1], now)
	if got := picks(w, origin, now); len(got) > 0 {
		t.Errorf("it is asked at once again for %v", got)
	}
	if got := picks(w, origin, now.Add(deniedFor)); !slices.Equal(got, []int{1}) {
		t.Errorf("later it is asked for %v", got)
	}
}

func TestEqualLeavesComeOnce(t *testing.T) {
	s := new(Share)
	zero, one := leafCID(protocol.DigestOf([]byte{0})), leafCID(protocol.DigestOf([]byte{1}))
	s.cids = []cid.Cid{zero, one, zero, zero}
	w := newWants(s, []int{0, 1, 3}, 0)
	if len(w.missing) != 2 {
		t.Errorf("%d are missing", len(w.missing))
	}
	if got := w.take(w.add("origin", true), zero, time.Unix(1e9, 0)); !slices.Equal(got, []int{0, 3}) {
		t.Errorf("the leaf is wanted at %v", got)
	}
}

// A source that says it has all and sends a leaf now and then, soon enough not to
// be silent, does not keep the origin from being asked.
func TestOneDrippingSourceHoldsNothingUp(t *testing.T) {
	const leaves = 250
	w, cids := wanting(leaves, 0)
	now := time.Unix(1e9, 0)
	start, last := now, now
	origin, evil := w.add("origin", true), w.add("evil", false)
	for _, c := range cids {
		w.has(evil, c)
	}
	for ; len(w.missing) > 0 && now.Sub(start) < allowance(leaves); now = now.Add(lookEvery) {
		for _, s := range []*source{origin, evil} {
			if w.silent(s, now) && s.strikes >= maxStrikes {
				w.forget(s)
			}
		}
		for _, i := range picks(w, origin, now) {
			w.take(origin, cids[i], now)
		}
		picks(w, evil, now)
		if now.Sub(last) >= 4750*time.Millisecond {
			for i := range evil.asked {
				w.take(evil, cids[i], now)
				break
			}
			last = now
		}
	}
	if len(w.missing) > 0 {
		t.Errorf("after %v, %d of %d leaves are missing", now.Sub(start), len(w.missing), leaves)
	}
}
