package swarm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

const (
	// lookEvery is how often a fetch looks for sources that have fallen silent.
	lookEvery = 250 * time.Millisecond
	// patience is how long a source that was asked may send nothing. Then others
	// are asked; after so many times it is given up.
	patience   = 5 * time.Second
	maxStrikes = 3
	// leafPatience is how long one leaf may take.
	leafPatience = 2 * patience
	// grace is how long a fetch may take beside what its bytes take at the slowest.
	grace = 30 * time.Second
	// stall is how long nothing may come from anybody: a source that did not get
	// rid of a leaf in time (chunkTimeout) may shun this node, be let alone and be
	// asked again.
	stall = 4 * patience
	// sendTimeout bounds one message that says what is wanted, the dial included.
	sendTimeout = 5 * time.Second
	// maxSources bounds the peers that one blob is fetched from.
	maxSources = 32
)

var (
	// ErrNoSource is returned by [Fetch.Run] when all sources have gone, or
	// have nothing that is still wanted, or are too slow.
	ErrNoSource = errors.New("no peer sends what is missing")

	errClosed = errors.New("the node is stopping")
)

// Fetch brings the leaves of a blob that are not here. Make one with
// [Exchange.NewFetch], add sources, and run it.
type Fetch struct {
	x     *Exchange
	share *Share
	put   func(i int, b []byte) error
	name  string // of its protection of connections
	done  chan struct{}
	wg    sync.WaitGroup // messages on their way, and leaves that are put

	mu    sync.Mutex
	ctx   context.Context // of Run; nil before
	ended bool
	err   error
	wants
}

// NewFetch returns a Fetch of those leaves of the share that are missing. put
// keeps one leaf, which its digest has been checked for; it is called from many
// goroutines, once for each of missing, and the share has the leaf from then on.
// The rank says how many have begun to fetch the same blob before: each begins
// elsewhere in it, so that they ask the origin for different leaves.
func (x *Exchange) NewFetch(s *Share, missing []int, rank int, put func(i int, b []byte) error) *Fetch {
	f := &Fetch{x: x, share: s, put: put, done: make(chan struct{}), wants: newWants(s, missing, rank)}
	f.name = fmt.Sprintf("swarm-%p", f)
	return f
}

// Add makes a peer a source. The origin is known to have all leaves, and is
// asked for what no other source has; others tell what they have. A source must
// have opened the blob to this node.
func (f *Fetch) Add(p peer.ID, origin bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended || f.sources[p] != nil || len(f.sources) >= maxSources {
		return
	}
	s := f.add(p, origin)
	if f.ctx != nil {
		f.start(s)
	}
}

// start begins to ask a source. It is called with mu held.
func (f *Fetch) start(s *source) {
	ctx, cancel := context.WithCancel(f.ctx)
	s.stop = cancel
	f.wg.Go(func() {
		defer cancel()
		f.ask(ctx, s)
	})
}

// Run asks until all leaves are here, ctx ends, or too little comes. Leaves
// that have come are kept in any case.
func (f *Fetch) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer f.wg.Wait()
	defer cancel()
	f.x.begin(f) // before anybody is asked, who may answer at once
	defer f.x.forget(f)
	f.mu.Lock()
	f.ctx, f.heard = ctx, time.Now()
	last := f.heard.Add(allowance(len(f.missing)))
	for _, s := range f.sources {
		f.start(s)
	}
	if len(f.missing) == 0 {
		f.finish(nil)
	}
	f.mu.Unlock()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-f.done:
			return f.err
		case <-ctx.Done():
			f.end(context.Cause(ctx))
		case now := <-ticker.C:
			if f.look(now); now.After(last) {
				f.end(ErrNoSource)
			}
		}
	}
}

// allowance is how long so many leaves may take in all, whoever sends them.
func allowance(leaves int) time.Duration {
	return grace + protocol.AtSlowest(uint64(leaves)*protocol.LeafSize)
}

// end ends the fetch, with the first error that it is told.
func (f *Fetch) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finish(err)
}

// finish is end with mu held.
func (f *Fetch) finish(err error) {
	if !f.ended {
		f.ended, f.err = true, err
		close(f.done)
	}
}

// look gives up sources that have been silent for too long.
func (f *Fetch) look(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sources {
		if f.silent(s, now) && s.strikes >= maxStrikes {
			f.forget(s)
		}
	}
	if len(f.sources) == 0 || now.Sub(f.heard) > stall {
		f.finish(ErrNoSource)
	}
	f.wakeAll()
}

// asks reports whether a peer is a source.
func (f *Fetch) asks(p peer.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sources[p] != nil
}

// drop forgets a source that has gone. It is called with the Exchange's mu held.
func (f *Fetch) drop(p peer.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sources[p]; s != nil {
		f.forget(s)
		f.wakeAll()
	}
}

// cut forgets the origin when a connection to it has ended, though there be
// another: that may be to a later run of it, which knows nothing of the fetch, and
// what it was asked for on the old one never comes. It is called with the
// Exchange's mu held.
func (f *Fetch) cut(p peer.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sources[p]; s != nil && s.origin {
		f.forget(s)
		f.wakeAll()
	}
}

// wrong notes that a source has sent what nobody wants: other bytes than it was
// asked for, or what was wanted a moment ago.
func (f *Fetch) wrong(p peer.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sources[p]
	if s == nil {
		return
	}
	if f.suspect(s); s.strikes >= maxStrikes {
		f.forget(s)
	}
	f.wakeAll()
}

// ask tells one source what is wanted, until ctx ends, and then that nothing is.
func (f *Fetch) ask(ctx context.Context, s *source) {
	f.x.net.Protect(s.peer, f.name)
	defer f.x.net.Unprotect(s.peer, f.name)
	opts := &network.MessageSenderOpts{MaxRetries: 1, SendTimeout: sendTimeout}
	dialling, cancel := context.WithTimeout(ctx, sendTimeout)
	sender, err := f.x.net.NewMessageSender(dialling, s.peer, opts)
	cancel()
	if err != nil {
		f.lose(s)
		return
	}
	defer sender.Reset() //nolint:errcheck // nothing is left to be told
	for {
		select {
		case <-s.wake:
			if m := f.message(s, time.Now()); !m.Empty() {
				if err := sender.SendMsg(ctx, m); err != nil {
					f.lose(s)
					return
				}
			}
		case <-ctx.Done():
			ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if m := f.cancels(s); !m.Empty() {
				_ = sender.SendMsg(ending, m) // the other end forgets it in time
			}
			return
		}
	}
}

// lose forgets a source that cannot be asked.
func (f *Fetch) lose(s *source) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sources[s.peer] == s {
		f.forget(s)
		f.wakeAll()
	}
}

// message is what a source is to be told now.
func (f *Fetch) message(s *source, now time.Time) message.BitSwapMessage {
	m := message.New(false)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended || f.sources[s.peer] != s {
		return m
	}
	if f.mustTell(s, now) {
		for i := range f.missing {
			m.AddEntry(f.share.cids[i], 1, pb.Message_Wantlist_Have, false)
		}
	}
	for _, c := range s.cancels {
		m.Cancel(c)
	}
	s.cancels = nil
	for {
		i, ok := f.pick(s, now)
		if !ok {
			return m
		}
		m.AddEntry(f.share.cids[i], 2, pb.Message_Wantlist_Block, true)
	}
}

// cancels says that nothing is wanted any more.
func (f *Fetch) cancels(s *source) message.BitSwapMessage {
	m := message.New(false)
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.missing {
		if _, asked := s.asked[i]; asked || !s.origin {
			m.Cancel(f.share.cids[i])
		}
	}
	for _, c := range s.cancels {
		m.Cancel(c)
	}
	return m
}

// wanted reports whether a leaf is, or was, wanted.
func (f *Fetch) wanted(c cid.Cid) bool { return len(f.places[c]) > 0 } // which does not change

// receive takes what a source has sent.
func (f *Fetch) receive(ctx context.Context, from peer.ID, m message.BitSwapMessage) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sources[from]
	if s == nil || f.ended || f.ctx == nil {
		return
	}
	for _, c := range m.Haves() {
		f.has(s, c)
	}
	s.wakeUp()
	for _, c := range m.DontHaves() {
		f.lacks(s, c, now)
	}
	changed := len(m.DontHaves()) > 0 // for others than s
	for _, b := range m.Blocks() {
		if f.ended {
			return
		}
		if places := f.take(s, b.Cid(), now); len(places) > 0 {
			changed = true
			f.wg.Add(1)
			f.putting++
			f.mu.Unlock()
			err := f.keep(places, b.RawData())
			if err == nil {
				f.x.announce(ctx, b)
			}
			f.mu.Lock()
			f.putting--
			f.wg.Done()
			if err != nil || len(f.missing) == 0 && f.putting == 0 {
				f.finish(err)
			}
		}
	}
	if changed {
		f.wakeAll()
	}
}

func (f *Fetch) keep(places []int, b []byte) error {
	for _, i := range places {
		if err := f.put(i, b); err != nil {
			return err
		}
	}
	return nil
}

// canonical maps the CID of each of these leaves to where it is.
func canonical(cids []cid.Cid, missing []int) map[cid.Cid][]int {
	places := make(map[cid.Cid][]int, len(missing))
	for _, i := range missing {
		places[cids[i]] = append(places[cids[i]], i)
	}
	return places
}
