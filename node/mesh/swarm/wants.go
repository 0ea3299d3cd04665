package swarm

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// window is how many leaves a source is asked for at once: one of others,
	// the origin beside others, and the origin alone at first and at most. What
	// several peers are asking the origin for at one time none of them has yet.
	peerWindow   = 4
	originWindow = 2
	aloneWindow  = 16
	// originIdle is how long the origin rests while others have all that is
	// missing. Then it is asked for a leaf, lest the others be slow.
	originIdle = 2 * time.Second
	// deniedFor is how long a source is not asked again for what it does not have.
	deniedFor = 2 * time.Second
)

// wants is what is still missing and who has it: which source is asked for which
// leaf next. It does no I/O and knows no clock; a Fetch's mu guards it. Leaves of
// equal bytes are one here, the first of them.
type wants struct {
	places  map[cid.Cid][]int // where each leaf is that was missing
	missing map[int]struct{}
	order   []int           // of asking for them; holds some that have come
	asked   map[int]*source // who is to send it
	held    map[int]int     // how many sources beside the origin have it
	sources map[peer.ID]*source
	putting int       // leaves that have come and are being kept
	heard   time.Time // when the last leaf came
}

// source is a peer that is asked for leaves.
type source struct {
	peer   peer.ID
	origin bool
	told   time.Time // when it was told what is wanted
	wake   chan struct{}
	stop   context.CancelFunc

	has     map[int]struct{}
	denied  map[int]time.Time // when it did not have it
	asked   map[int]time.Time
	cancels []cid.Cid // what it need not tell of any more
	window  int
	heard   time.Time // when a leaf came from it, or it was asked while it had nothing to do
	paused  time.Time // until when it is not asked
	muted   bool      // what it has does not count, since it does not send it
	slow    int       // how often a leaf was awaited from it in vain
	doubted time.Time // until when it stays muted, whatever it sends
	strikes int
}

func newWants(s *Share, missing []int, rank int) wants {
	w := wants{
		places: canonical(s.cids, missing), missing: make(map[int]struct{}), asked: make(map[int]*source),
		held: make(map[int]int), sources: make(map[peer.ID]*source),
	}
	for _, list := range w.places {
		w.missing[list[0]] = struct{}{}
	}
	for i := range w.missing {
		w.order = append(w.order, i)
	}
	first := int(part(rank) * float64(len(s.cids)))
	slices.SortFunc(w.order, func(a, b int) int {
		n := len(s.cids) // they go round
		return cmp.Compare((a-first+n)%n, (b-first+n)%n)
	})
	return w
}

// part is the rank's place in the sequence 0, 1/2, 1/4, 3/4, 1/8, …: however many
// there are, they are far from each other.
func part(rank int) (x float64) {
	for f := 0.5; rank > 0; rank, f = rank>>1, f/2 {
		x += f * float64(rank&1)
	}
	return x
}

func (w *wants) add(p peer.ID, origin bool) *source {
	s := &source{
		peer: p, origin: origin, wake: make(chan struct{}, 1), stop: func() {},
		has: make(map[int]struct{}), denied: make(map[int]time.Time), asked: make(map[int]time.Time),
		window: originWindow,
	}
	w.sources[p] = s
	s.wakeUp()
	return s
}

func (s *source) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (w *wants) wakeAll() {
	for _, s := range w.sources {
		s.wakeUp()
	}
}

// mustTell reports whether a source is to be told what is wanted, and notes that
// it is: at first, and again while it says nothing, since it may not have known
// yet that it may answer.
func (w *wants) mustTell(s *source, now time.Time) bool {
	if s.origin || len(s.has) > 0 || now.Sub(s.told) < patience {
		return false
	}
	s.told = now
	return true
}

// room is how many leaves more a source may be asked for now.
func (w *wants) room(s *source, now time.Time) int {
	most := peerWindow
	switch {
	case now.Before(s.paused):
		most = 0
	case s.origin && len(w.sources) > 1:
		most = originWindow
	case s.origin:
		most = s.window
	}
	return most - len(s.asked)
}

// pick chooses the next leaf for a source to be asked for, and notes that it is.
func (w *wants) pick(s *source, now time.Time) (int, bool) {
	if w.room(s, now) <= 0 {
		return 0, false
	}
	for n, i := range w.order {
		if w.mayAsk(s, i, now) && (!s.origin || w.held[i] == 0) {
			return w.choose(s, n, now), true
		}
	}
	if s.origin && len(s.asked) == 0 && now.Sub(s.heard) > originIdle {
		for n, i := range w.order {
			if w.mayAsk(s, i, now) {
				return w.choose(s, n, now), true
			}
		}
	}
	return 0, false
}

// mayAsk reports whether nobody is asked for the leaf, and s may be.
func (w *wants) mayAsk(s *source, i int, now time.Time) bool {
	if _, ok := w.missing[i]; !ok || w.asked[i] != nil || now.Sub(s.denied[i]) < deniedFor {
		return false
	}
	_, has := s.has[i]
	return has || s.origin
}

func (w *wants) choose(s *source, n int, now time.Time) int {
	i := w.order[n]
	if len(s.asked) == 0 {
		s.heard = now
	}
	s.asked[i], w.asked[i] = now, s
	return i
}

// has notes that a source has a leaf.
func (w *wants) has(s *source, c cid.Cid) {
	i, ok := w.find(c)
	if _, known := s.has[i]; ok && !known && !s.origin {
		s.has[i] = struct{}{}
		delete(s.denied, i)
		w.count(s, i, 1)
	}
}

// count counts a leaf of a source, or does so no longer.
func (w *wants) count(s *source, i, n int) {
	if !s.muted {
		w.held[i] += n
	}
}

// mute has what a source has not count, or count again.
func (w *wants) mute(s *source, muted bool) {
	if s.muted == muted {
		return
	}
	n := 1
	if muted {
		n = -1
	}
	for i := range s.has {
		w.held[i] += n
	}
	s.muted = muted
}

// lacks notes that a source has not got a leaf, or does not give it.
func (w *wants) lacks(s *source, c cid.Cid, now time.Time) {
	i, ok := w.find(c)
	if !ok {
		return
	}
	s.denied[i] = now
	if _, known := s.has[i]; known {
		delete(s.has, i)
		w.count(s, i, -1)
	}
	w.release(s, i)
}

// find returns the leaf of a CID when it is missing.
func (w *wants) find(c cid.Cid) (int, bool) {
	list := w.places[c]
	if len(list) == 0 {
		return 0, false
	}
	_, ok := w.missing[list[0]]
	return list[0], ok
}

// release lets others be asked for a leaf that s was asked for.
func (w *wants) release(s *source, i int) {
	delete(s.asked, i)
	if w.asked[i] == s {
		delete(w.asked, i)
	}
}

// take notes that a leaf has come, and returns where it is wanted: nowhere when
// it had come before.
func (w *wants) take(from *source, c cid.Cid, now time.Time) []int {
	i, ok := w.find(c)
	if !ok {
		return nil
	}
	w.heard, from.heard, from.strikes, from.paused = now, now, 0, time.Time{}
	from.window = min(from.window+1, aloneWindow)
	if now.After(from.doubted) {
		w.mute(from, false)
	}
	delete(w.missing, i)
	delete(w.held, i)
	for _, s := range w.sources {
		_, asked := s.asked[i]
		_, has := s.has[i]
		w.release(s, i)
		delete(s.has, i)
		delete(s.denied, i)
		if s != from && (asked || !has && !s.origin) {
			s.cancels = append(s.cancels, c)
		}
	}
	if len(w.order) > 2*len(w.missing)+peerWindow {
		w.order = slices.DeleteFunc(w.order, func(i int) bool { _, ok := w.missing[i]; return !ok })
	}
	return w.places[c]
}

// silent reports whether a source has sent nothing for long of what it was asked
// for. Then it is let alone for a while, and others are asked.
func (w *wants) silent(s *source, now time.Time) bool {
	w.doubt(s, now)
	if len(s.asked) == 0 || now.Sub(s.heard) <= patience {
		return false
	}
	w.suspect(s)
	s.paused = now.Add(patience)
	return true
}

// doubt lets others be asked for leaves that a source has been asked for long
// ago, however often it sends one. The origin is asked for what it has, too: for
// twice as long each time, since one that says it has all would hold all up.
func (w *wants) doubt(s *source, now time.Time) {
	late := false
	for i, since := range s.asked {
		if !s.origin && now.Sub(since) > leafPatience {
			w.release(s, i)
			s.denied[i], late = now, true
		}
	}
	if late {
		s.slow++
		s.doubted = now.Add(patience << min(s.slow, 10))
		w.mute(s, true)
	}
}

// suspect lets others be asked for what a source should have sent.
func (w *wants) suspect(s *source) {
	for i := range s.asked {
		w.release(s, i)
	}
	s.strikes++
	s.window = originWindow
	w.mute(s, true)
}

// forget gives a source up.
func (w *wants) forget(s *source) {
	for i := range s.asked {
		w.release(s, i)
	}
	w.mute(s, true)
	delete(w.sources, s.peer)
	s.stop()
}
