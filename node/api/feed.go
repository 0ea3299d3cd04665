package api

import (
	"bytes"
	"context"
	"encoding/json"
	"hash/maphash"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spare-network/spare/protocol"
)

const (
	// feedEvery is how often the feed looks for what has changed.
	feedEvery = 500 * time.Millisecond
	// peersEvery is the same for peers, of which there may be a thousand.
	peersEvery = time.Second
	// sparing is how much longer the pause after a look is than the look, so that
	// looking costs less than half a percent of a CPU, and slowest how long at most.
	sparing = 200
	slowest = 10 * time.Second
	// statusEvery is how often the status is told that has not changed.
	statusEvery = 10 * time.Second
	// linger is how long the feed goes on without a reader, so that one that
	// comes back finds what it has missed.
	linger = 15 * time.Second

	maxReaders = 32
	maxRing    = 1024    // events kept for those who come back
	maxKept    = 4 << 20 // bytes of them
	maxNoted   = 8192    // tasks, or jobs, that have changed and were not told yet
	maxTold    = 100     // of them at once
)

// errReaders is told to one reader too many.
var errReaders = protocol.Errorf(protocol.CodeBusy, "%d streams of events are open already", maxReaders).
	WithHint("close a tab of the dashboard")

// glance is what the feed looks at.
type glance struct {
	status   func() Status
	donation func() Donation
	peers    func() []Peer
	task     func(id protocol.TaskID) (Task, error)
	job      func(id protocol.TaskID) (Job, error)
	watch    func(task, job func(protocol.TaskID)) (stop func())
}

// feed tells all readers of events what has changed. It looks only while it has
// readers, and each thing once for all of them.
type feed struct {
	at     glance
	boot   string
	logger *slog.Logger
	wanted chan struct{} // the first reader has come

	tasks, jobs notes

	// What was told last; only run uses it.
	was   map[string][]byte
	told  time.Time           // when the status was
	reset time.Time           // when readers were last told to ask anew
	peers map[string]sighting // by ID
	seed  maphash.Seed

	mu      sync.Mutex
	live    bool
	ready   chan struct{} // closed while it is live
	readers int
	left    time.Time // when the last reader left
	ring    []telling
	size    int           // bytes in ring
	first   uint64        // number of the first event that may be told again
	last    uint64        // number of the last event
	next    chan struct{} // closed with the next event
}

// telling is an event as it is sent.
type telling struct {
	number uint64
	lines  []byte
}

func newFeed(at glance, logger *slog.Logger) *feed {
	return &feed{
		at: at, boot: strings.ToLower(secret()[:8]), logger: logger, wanted: make(chan struct{}, 1),
		ready: make(chan struct{}), next: make(chan struct{}), seed: maphash.MakeSeed(),
	}
}

// run looks for changes whenever there are readers, until ctx ends.
func (f *feed) run(ctx context.Context) error {
	for {
		select {
		case <-f.wanted:
			f.tell(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// tell looks for changes until the last reader has been gone for a while.
func (f *feed) tell(ctx context.Context) {
	defer f.at.watch(f.tasks.note, f.jobs.note)()
	f.was, f.peers = map[string][]byte{}, map[string]sighting{}
	// What there is by now, each reader asks for itself.
	f.look("status", f.at.status())
	f.look("donation", f.at.donation())
	f.lookAtPeers()
	f.told = time.Now()
	f.begin()
	tick := time.NewTicker(feedEvery)
	defer tick.Stop()
	often, rarely := pace{every: feedEvery}, pace{every: peersEvery}
	for ctx.Err() == nil && f.goesOn() {
		often.when(f.changes)
		rarely.when(func() {
			if change, any := f.lookAtPeers(); any {
				f.publish("peers", change)
			}
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	f.end()
	f.tasks.take(maxNoted)
	f.jobs.take(maxNoted)
}

// changes tells what has changed but peers.
func (f *feed) changes() {
	now := time.Now()
	if s := f.at.status(); f.look("status", s) || now.Sub(f.told) >= statusEvery {
		f.told = now
		f.publish("status", s)
	}
	if d := f.at.donation(); f.look("donation", d) {
		f.publish("donation", d)
	}
	if now.Sub(f.reset) >= statusEvery {
		if tasks, jobs := f.tasks.overflown(), f.jobs.overflown(); tasks || jobs {
			f.reset = now
			f.tasks.take(maxNoted) // readers ask for these
			f.jobs.take(maxNoted)
			f.publish("reset", struct{}{})
		}
	}
	for _, id := range f.tasks.take(maxTold) {
		if t, err := f.at.task(id); err == nil { // or it is kept no longer
			f.publish("task", t)
		}
	}
	for _, id := range f.jobs.take(maxTold) {
		if j, err := f.at.job(id); err == nil {
			f.publish("job", j)
		}
	}
}

// look reports whether something is not as it was.
func (f *feed) look(what string, now any) bool {
	b, err := json.Marshal(now)
	if err != nil || bytes.Equal(b, f.was[what]) {
		return false
	}
	f.was[what] = b
	return true
}

// PeerChanges are peers that are not as they were.
type PeerChanges struct {
	Changed []Peer   `json:"changed"`
	Gone    []string `json:"gone" doc:"Peer IDs"`
}

// lookAtPeers returns what has changed of peers, if anything has.
func (f *feed) lookAtPeers() (PeerChanges, bool) {
	change := PeerChanges{Changed: []Peer{}, Gone: []string{}}
	now := make(map[string]sighting, len(f.peers))
	for _, p := range f.at.peers() {
		s, known := f.peers[p.Peer]
		if next := f.sight(p); !known || !next.like(s) {
			change.Changed = append(change.Changed, p)
			s = next
		}
		now[p.Peer] = s
	}
	for id := range f.peers {
		if _, there := now[id]; !there {
			change.Gone = append(change.Gone, id)
		}
	}
	f.peers = now
	return change, len(change.Changed)+len(change.Gone) > 0
}

// oldOffer parts offers that are fresh from those that may expire, in
// milliseconds.
const oldOffer = 30_000

// sighting is a peer as it was told.
type sighting struct {
	rest uint64  // hash of all but the round trip
	rtt  float64 // in milliseconds; below 0 when unknown
}

// like reports whether nobody could tell the two apart: round trips that differ
// by a tenth are the same.
func (s sighting) like(told sighting) bool {
	return s.rest == told.rest && (s.rtt < 0) == (told.rtt < 0) && math.Abs(s.rtt-told.rtt) <= 0.1+told.rtt/10
}

// sight rounds speeds to percents, and offers that were renewed in time are alike.
func (f *feed) sight(p Peer) sighting {
	s := sighting{rtt: -1}
	if p.RTTMS != nil {
		s.rtt, p.RTTMS = *p.RTTMS, nil
	}
	if p.OfferAgeMS != nil {
		rounded := *p.OfferAgeMS / oldOffer
		p.OfferAgeMS = &rounded
	}
	p.Speed = math.Round(100*p.Speed) / 100
	if b, err := json.Marshal(p); err == nil {
		s.rest = maphash.Bytes(f.seed, b)
	}
	return s
}

// publish adds an event.
func (f *feed) publish(kind string, data any) {
	b, err := json.Marshal(data)
	if err != nil {
		f.logger.Error("cannot tell an event", "kind", kind, "err", err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	t := telling{number: f.last, lines: lines(kind, f.id(f.last), b)}
	f.ring = append(f.ring, t)
	f.size += len(t.lines)
	drop := 0
	for drop < len(f.ring)-1 && (len(f.ring)-drop > maxRing || f.size > maxKept) {
		f.size -= len(f.ring[drop].lines)
		drop++
	}
	clear(f.ring[:drop])
	f.ring = f.ring[drop:]
	f.first = f.ring[0].number
	close(f.next)
	f.next = make(chan struct{})
}

// lines is an event as https://html.spec.whatwg.org/multipage/server-sent-events.html
// has it, without an ID when that is empty. JSON has no line breaks.
func lines(kind, id string, data []byte) []byte {
	b := make([]byte, 0, len(kind)+len(id)+len(data)+32)
	if id != "" {
		b = append(append(append(b, "id: "...), id...), '\n')
	}
	b = append(append(b, "event: "...), kind...)
	b = append(append(b, "\ndata: "...), data...)
	return append(b, "\n\n"...)
}

func (f *feed) id(number uint64) string { return f.boot + "-" + strconv.FormatUint(number, 10) }

// begin lets readers in. A number is left out, since nobody knows what has changed
// before.
func (f *feed) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live, f.ring, f.size = true, nil, 0
	f.last++
	f.first = f.last + 1
	f.left = time.Now() // the first reader may have gone already
	close(f.ready)
}

// goesOn reports whether there are readers, or were a moment ago.
func (f *feed) goesOn() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers == 0 && time.Since(f.left) >= linger {
		f.rest()
	}
	return f.live
}

func (f *feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rest()
}

// rest makes the next reader wait for begin. It is called with mu held.
func (f *feed) rest() {
	if f.live {
		f.live, f.ring, f.size, f.ready = false, nil, 0, make(chan struct{})
	}
}

// enter lets a reader in, who has seen the event with an ID or none. It returns
// the number of the event after which the reader is told on, and whether that is
// all it has missed.
func (f *feed) enter(ctx context.Context, seen string) (after uint64, whole bool, err error) {
	f.mu.Lock()
	if f.readers >= maxReaders {
		f.mu.Unlock()
		return 0, false, errReaders
	}
	f.readers++
	ready := f.ready
	if !f.live {
		select {
		case f.wanted <- struct{}{}:
		default:
		}
	}
	f.mu.Unlock()
	select {
	case <-ready:
	case <-ctx.Done():
		f.leave()
		return 0, false, context.Cause(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	boot, number, _ := strings.Cut(seen, "-")
	n, bad := strconv.ParseUint(number, 10, 64)
	if bad == nil && boot == f.boot && n+1 >= f.first && n <= f.last {
		return n, true, nil
	}
	return f.last, seen == "", nil
}

func (f *feed) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers--
	f.left = time.Now()
}

// lost has readers ask for everything again.
func (f *feed) lost() {
	f.tasks.overflow()
	f.jobs.overflow()
}

// since returns the events after a number and what is closed when there are
// more; false when some of them are kept no longer, since the reader is slow.
func (f *feed) since(after uint64) (list []telling, next <-chan struct{}, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.live || after+1 < f.first {
		return nil, nil, false
	}
	for i := range f.ring {
		if f.ring[i].number > after {
			list = append(list, f.ring[i:]...)
			break
		}
	}
	return list, f.next, true
}

// pace has something done at most as often as it says, and more rarely when it
// takes long.
type pace struct {
	every time.Duration
	next  time.Time
}

func (p *pace) when(do func()) {
	began := time.Now()
	if began.Before(p.next) {
		return
	}
	do()
	pause := min(slowest, sparing*time.Since(began))
	// A little less, since tickers are not on the point.
	p.next = began.Add(max(p.every, pause) - p.every/10)
}

// notes are IDs of what has changed, each once.
type notes struct {
	mu    sync.Mutex
	has   map[protocol.TaskID]bool
	order []protocol.TaskID
	over  bool
}

func (n *notes) note(id protocol.TaskID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.has[id]:
	case len(n.order) >= maxNoted:
		n.over, n.order, n.has = true, nil, nil // a reset tells them all
	default:
		if n.has == nil {
			n.has = map[protocol.TaskID]bool{}
		}
		n.has[id] = true
		n.order = append(n.order, id)
	}
}

// take returns the first of them.
func (n *notes) take(most int) []protocol.TaskID {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.order[:min(most, len(n.order))]
	if n.order = n.order[len(list):]; len(n.order) == 0 {
		n.order, n.has = nil, nil
	}
	for _, id := range list {
		delete(n.has, id)
	}
	return list
}

func (n *notes) overflow() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.over = true
}

// overflown reports, once, whether there were too many.
func (n *notes) overflown() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	over := n.over
	n.over = false
	return over
}
