// Package data moves blobs between members: who lacks one greets those who may
// have it, and then they carry its leaves to each other. It knows who may read
// what here, and why: a lease on a task that names it, a grant of its requester,
// or, for modules and for what was added by `spare add`, being a member.
//
// It does not know what a task is, or when a blob is wanted, and does not carry
// leaves itself: that is node/mesh/swarm's.
package data

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/node/mesh/swarm"
	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

const (
	// maxHeld bounds the blobs of one shelf whose leaves are served at once, and maxTrees
	// the trees that are remembered, of 128 KiB at most.
	maxHeld  = 256
	maxTrees = 64
	// maxKnown bounds what is remembered to be here, and on whose account.
	maxKnown = 1 << 14
	// maxReading bounds the blobs that are read to make their trees.
	maxReading = 2
	// greetTimeout bounds a greeting of one who need not answer.
	greetTimeout = 3 * time.Second
	// originTimeout is how long the one who should have the blob may take: to
	// make its tree it reads all of it.
	originTimeout = 15 * time.Second
	// lately is how long one who has asked for a blob is named to others.
	lately = 10 * time.Minute
	// slack is how much longer a blob is open to one who has greeted than it takes at
	// the slowest: a fetch waits about so long for who falls silent. A grant holds so
	// long that the clocks of two peers may differ by skew.
	slack = time.Minute
	skew  = 10 * time.Minute
)

// openFor is how long a blob of this size is open to one who has greeted, who may
// read it no longer than it must be able to.
func openFor(size int64) time.Duration { return slack + protocol.AtSlowest(uint64(size)) }

// grantFor is how long a grant for a blob of this size holds.
func grantFor(size int64) time.Duration { return skew + openFor(size) }

// Network is the mesh's part that is needed.
type Network interface {
	Open(ctx context.Context, to peer.ID, kind protocol.StreamKind) (*protocol.Conn, error)
	// Announce tells members for some minutes that data with this digest are
	// here, and Holders returns those who have told so.
	Announce(ctx context.Context, d protocol.Digest) error
	Holders(ctx context.Context, d protocol.Digest, max int) []peer.ID
}

// Leases is the requester's part that knows who runs its tasks.
type Leases interface {
	// Lease reports whether a provider may have a blob for the attempt named by
	// the nonce, and whether the blob is a module. It counts how often one asks.
	Lease(provider peer.ID, nonce []byte, blob protocol.Digest) (module, ok bool)
}

// Blobs is the store's part for content-addressed bytes.
type Blobs interface {
	Has(d protocol.Digest) bool
	Open(d protocol.Digest) (*os.File, int64, error)
	Drop(d protocol.Digest)
	Pin(d protocol.Digest) (release func())
	Partial(d protocol.Digest, size int64, owner string) (*store.Partial, error)
}

// Config is what a Data is made of.
type Config struct {
	Self      peer.ID
	Key       crypto.PrivKey
	NetworkID protocol.NetworkID
	Blobs     Blobs
	Kept      Kept
	Network   Network
	Exchange  func() *swarm.Exchange // of the Network, once that is open
	Leases    Leases
	// Warm returns some members that have compiled a module.
	Warm   func(module protocol.Digest) []peer.ID
	Logger *slog.Logger
}

// Data is one node's part. Its methods may be called from many goroutines.
type Data struct {
	cfg     Config
	reading chan struct{}
	trees   *lru.Cache[protocol.Digest, *protocol.Tree]
	news    chan struct{} // something was added

	adding sync.Mutex // orders changes of added; held across I/O
	added  []*protocol.Added

	mu     sync.Mutex
	held   [shelves]*simplelru.LRU[arrival, *holding] // what is whole
	known  *simplelru.LRU[key, struct{}]              // blobs that are here on these accounts
	coming map[arrival]*coming
	public map[protocol.Digest]int // blobs of what was added, and how often they are
	keeps  map[string]*kept        // of what was added, by CID
}

// key names what is held: a blob, and on whose account it is here. A module, or
// what was added, is here on nobody's: every member may read it.
type key struct {
	blob  protocol.Digest
	scope peer.ID
}

// arrival names who brought a blob on an account: what one says to be the leaves
// of a module may be wrong, and says nothing of what another does.
type arrival struct {
	key
	by peer.ID // its scope, of what was here before
}

// everybody is the scope of what every member may read.
const everybody peer.ID = ""

// New returns a Data that keeps what was added before.
func New(cfg Config) (*Data, error) {
	trees, err := lru.New[protocol.Digest, *protocol.Tree](maxTrees)
	if err != nil {
		return nil, fmt.Errorf("remember trees: %w", err)
	}
	var held [shelves]*simplelru.LRU[arrival, *holding]
	for i := range held {
		if held[i], err = simplelru.NewLRU(maxHeld, func(_ arrival, h *holding) { h.share.Close() }); err != nil {
			return nil, fmt.Errorf("remember blobs: %w", err)
		}
	}
	known, err := simplelru.NewLRU[key, struct{}](maxKnown, nil)
	if err != nil {
		return nil, fmt.Errorf("remember blobs: %w", err)
	}
	d := &Data{
		cfg: cfg, trees: trees, held: held, known: known, news: make(chan struct{}, 1),
		reading: make(chan struct{}, maxReading), coming: make(map[arrival]*coming),
		public: make(map[protocol.Digest]int), keeps: make(map[string]*kept),
	}
	return d, d.load()
}

// holding is a blob whose leaves are served: whole, or what has come of it.
type holding struct {
	blobs Blobs
	blob  protocol.Digest
	tree  *protocol.Tree
	share *swarm.Share

	mu      sync.Mutex
	settled chan struct{}  // of what is coming: closed when it has come, or has not
	whole   bool           // it is the blob, and these its leaves
	partial *store.Partial // until then; nil if it does not come any more
	has     []bool         // of partial
	fetch   *swarm.Fetch   // while it is coming
	askers  []asker        // who has asked for it here, the latest last
}

type asker struct {
	peer peer.ID
	at   time.Time
}

// HasLeaf implements [swarm.Leaves]. The blob may be here on another account while
// it comes on this one; whether these are its leaves is then not known.
func (h *holding) HasLeaf(i int) bool {
	h.mu.Lock()
	whole, has := h.whole, h.partial != nil && h.has[i]
	h.mu.Unlock()
	return has || whole && h.blobs.Has(h.blob)
}

// ReadLeaf implements [swarm.Leaves].
func (h *holding) ReadLeaf(i int) ([]byte, error) {
	at, size := h.tree.Leaf(i)
	b := make([]byte, size)
	h.mu.Lock()
	whole, partial := h.whole, h.partial
	h.mu.Unlock()
	if !whole && partial != nil {
		if _, err := partial.ReadAt(b, at); err == nil || !errors.Is(err, os.ErrClosed) {
			return b, err
		}
		<-h.settled // which is being told
		h.mu.Lock()
		whole = h.whole
		h.mu.Unlock()
	}
	if !whole {
		return nil, errGone
	}
	f, _, err := h.blobs.Open(h.blob)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, err = f.ReadAt(b, at)
	return b, err
}

// errGone is returned for leaves of what has not come.
var errGone = errors.New("it does not come any more")

// settle tells that what was coming is whole, or does not come any more.
func (h *holding) settle(whole bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fetch, h.partial, h.whole = nil, nil, whole
	close(h.settled)
}

// put keeps a leaf that has come.
func (h *holding) put(i int, b []byte) error {
	at, _ := h.tree.Leaf(i)
	h.mu.Lock()
	partial := h.partial
	h.mu.Unlock()
	if partial == nil {
		return errGone // as the fetch has
	}
	if _, err := partial.WriteAt(b, at); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.has[i] = true
	return nil
}

// note remembers who asks, and returns others who have lately.
func (h *holding) note(p peer.ID, now time.Time) (others []peer.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rest := h.askers[:0]
	for _, a := range h.askers {
		if a.peer != p && now.Sub(a.at) < lately {
			rest = append(rest, a)
			others = append(others, a.peer)
		}
	}
	if len(rest) >= 4*protocol.MaxHolders {
		rest = append(rest[:0], rest[1:]...)
	}
	h.askers = append(rest, asker{p, now})
	return others[max(0, len(others)-protocol.MaxHolders):]
}

// share serves a holding to those to whom it is opened.
func (d *Data) share(a arrival, h *holding) {
	h.share = d.cfg.Exchange().Share(string(a.scope), h.tree, h)
}

// hold goes on serving a holding, in the place of one that may be there. It is
// called with mu held.
func (d *Data) hold(a arrival, h *holding) {
	shelf := d.held[shelfOf(a.key, h.tree)]
	if old, ok := shelf.Peek(a); ok {
		old.share.Close() // Add replaces it unseen
	}
	shelf.Add(a, h)
}

// shelves keep apart what is served, so that who asks for many small files does
// not end the fetch of a large one, nor a member that of who holds a lease.
const shelves = 3

func shelfOf(k key, tree *protocol.Tree) int {
	switch {
	case tree.Size < protocol.MinTree:
		return 0
	case k.scope == everybody:
		return 1
	default:
		return 2
	}
}

// find returns what is served of a blob that is here. It is called with mu held.
func (d *Data) find(k key) *holding {
	for _, shelf := range d.held {
		if h, ok := shelf.Get(arrival{k, k.scope}); ok {
			return h
		}
	}
	return nil
}

// whole returns the holding of a blob that is here, whose tree is made when
// need be.
func (d *Data) whole(ctx context.Context, k key) (*holding, error) {
	d.mu.Lock()
	h := d.find(k)
	d.mu.Unlock()
	if h != nil && d.cfg.Blobs.Has(k.blob) {
		return h, nil
	}
	tree, err := d.treeOf(ctx, k.blob)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// Another may have made it meanwhile, and have opened it to a peer.
	if h := d.find(k); h != nil {
		return h, nil
	}
	h = &holding{blobs: d.cfg.Blobs, blob: k.blob, tree: tree, whole: true}
	a := arrival{k, k.scope}
	d.share(a, h)
	d.hold(a, h)
	return h, nil
}

// treeOf returns the tree of a blob that is here. One that is damaged is
// dropped.
func (d *Data) treeOf(ctx context.Context, blob protocol.Digest) (*protocol.Tree, error) {
	if tree, ok := d.trees.Get(blob); ok && d.cfg.Blobs.Has(blob) {
		return tree, nil
	}
	select {
	case d.reading <- struct{}{}:
		defer func() { <-d.reading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if tree, ok := d.trees.Get(blob); ok { // another has made it meanwhile
		return tree, nil
	}
	f, _, err := d.cfg.Blobs.Open(blob)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	tree, sum, err := protocol.ReadTree(f)
	if err != nil {
		return nil, err
	}
	if sum != blob {
		d.cfg.Blobs.Drop(blob)
		return nil, protocol.Errorf(protocol.CodeBlob, "the blob %s is damaged here", blob.CID())
	}
	d.trees.Add(blob, tree)
	return tree, nil
}

// Hold notes that a blob is here on a requester's account, who has proved to
// have it, so that those whom that one names may read it here; a module may be
// read by all. It costs nothing until somebody asks.
func (d *Data) Hold(from peer.ID, b *protocol.Blob, module bool) {
	if b.Size < protocol.MinTree {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known.Add(keyOf(from, b.Sum(), module), struct{}{})
}

func keyOf(from peer.ID, blob protocol.Digest, module bool) key {
	if module {
		from = everybody
	}
	return key{blob, from}
}
