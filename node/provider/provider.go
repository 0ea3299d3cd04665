package provider

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// Runner runs guests in the sandbox.
type Runner interface {
	// Run blocks until the guest has ended. An error means that the provider
	// failed and another one may not; it is never the guest's doing.
	Run(ctx context.Context, x Execution) (Outcome, error)
	// Warm reports whether the module needs no fetching and no compiling for
	// this requester.
	Warm(requester peer.ID, module protocol.Digest) bool
	// WarmModules returns at most max digests of compiled modules, the most
	// recently used first.
	WarmModules(max int) []protocol.Digest
	// MeanRun returns the moving average of recent run times.
	MeanRun() time.Duration
}

// Execution is one replica to be run.
type Execution struct {
	Requester peer.ID
	Spec      *protocol.Spec
	SpecBytes []byte
	Module    func() (io.ReadCloser, error)  // called only when it must be compiled
	Data      io.Reader                      // the bytes of Spec's Transfers, one after another; nil: there are none
	Output    func(fd uint32, data []byte)   // what the guest writes while it runs; of fd 3, bytes of the file last begun
	File      func(path string, size uint64) // begins an output file, after the guest's end, sorted by path
	State     func(protocol.State)           // compiling, running
	Gas       func(used uint64)              // what the guest has used so far, now and then
	Still     func(still bool)               // the guest begins to stand still for this machine's owner, or goes on
}

// Outcome is how a guest ended.
type Outcome struct {
	ExitCode       int32
	Source         protocol.ExitSource
	Code           protocol.Code
	Message        string
	Stdout, Stderr []byte // what Output has not been given
	Wall           time.Duration
	Gas            uint64
}

// Blobs is the store's part for content-addressed bytes.
type Blobs interface {
	Has(d protocol.Digest) bool
	Open(d protocol.Digest) (*os.File, int64, error)
	PutExpected(want protocol.Digest, size int64, r io.Reader) error
	Pin(d protocol.Digest) (release func())
	// Drop forgets a blob whose bytes were found not to be d's.
	Drop(d protocol.Digest)
	// NewSpool returns what takes at most max bytes of a guest's output.
	NewSpool(max int64) *store.Spool
}

// Network is the mesh's part that a provider needs.
type Network interface {
	Open(ctx context.Context, to peer.ID, kind protocol.StreamKind) (*protocol.Conn, error)
	// Publish gossips an offer; Advertise puts its lasting part in the DHT.
	Publish(ctx context.Context, offer *protocol.SignedOffer) error
	Advertise(ctx context.Context, capability *protocol.SignedOffer) error
	// Reach returns nil when a member that this node knows answers now.
	Reach(ctx context.Context, member peer.ID) error
}

// Data moves large blobs among members.
type Data interface {
	// Fetch brings a blob that its requester has leased by the nonce, from that
	// one and from others who have it on its account.
	Fetch(ctx context.Context, from peer.ID, nonce protocol.Nonce, b *protocol.Blob, module bool) error
	// Hold notes that a requester has shown to have a blob that is here.
	Hold(from peer.ID, b *protocol.Blob, module bool)
}

// Ledger is what the node and others have done for each other.
type Ledger interface {
	// Served notes work that the requester has countersigned, once each.
	Served(requester peer.ID, gas uint64)
	Account(requester peer.ID) market.Account
}

// Config is what a Provider is made of.
type Config struct {
	Self      peer.ID
	Key       crypto.PrivKey
	NetworkID protocol.NetworkID
	Slots     int              // replicas that run at once
	Queue     int              // replicas that may wait for a slot
	Ceilings  *protocol.Limits // for one task
	// ModuleBytes is the ceiling for one module.
	ModuleBytes uint64
	Speed       float64 // work per second and slot, donor's unit
	Version     string
	Arch        string
	Runner      Runner
	Blobs       Blobs
	Results     Results
	Ledger      Ledger
	Network     Network
	Data        Data
	// Availability says whether the node donates now, and why not.
	Availability func() (protocol.Availability, string)
	// Access returns why tasks of another node may not run here, as a
	// [protocol.CodeBlocked], or nil. It is asked for every task, under a lock; nil:
	// all may.
	Access func(requester peer.ID) *protocol.Error
	// Begun is told of each replica for another node that is taken, under a lock; nil:
	// nobody is told.
	Begun func()
	// Ended is told of each replica of another node's that was started here, when
	// it has ended, and must take no time; nil: nobody is told.
	Ended func(Stay)
	// Members returns how many members are known to have offers.
	Members func() int
	// Labels are what the node's owner says of it.
	Labels map[string]string
	// Sequence returns the next sequence of an offer.
	Sequence func(now time.Time) (uint64, error)
	Logger   *slog.Logger
}

// seenNonces bounds the replicas that are remembered so as not to run them
// twice: some seconds of the busiest provider, hours of a common one.
const seenNonces = 1 << 16

// Provider runs other nodes' replicas, and its own node's.
type Provider struct {
	cfg     Config
	self    string          // the peer ID in text
	ctx     context.Context // its lifetime, ended by Run
	stop    context.CancelCauseFunc
	wg      sync.WaitGroup // replicas, and output on its way
	seen    *lru.Cache[protocol.Nonce, struct{}]
	handed  *lru.Cache[protocol.Nonce, *protocol.Error] // replicas handed over, and why, for who claims them
	changed chan struct{}                               // wakes the offer loop
	toKeep  chan struct{}                               // wakes keepResults
	// transfers has room for the blobs that may come in at once.
	transfers chan struct{}
	// known are the blobs that requesters have sent or proved to have.
	known *lru.Cache[fetchKey, struct{}]
	// vouching has room for the members that are tried at once.
	vouching chan struct{}

	// ceilings are those of the Config, as they are now.
	ceilings atomic.Pointer[protocol.Limits]
	// renew has the capability advertised anew.
	renew atomic.Bool
	// sweeps counts the calls of HandOver.
	sweeps atomic.Uint64

	// mu guards what follows, and all fields of accounts, replicas and
	// exchanges that are not constant.
	mu          sync.Mutex
	stopping    bool // nothing begins any more
	slots       int  // replicas that run at once
	queue       int  // replicas that may wait for one
	asked       Asked
	accounts    map[peer.ID]*account
	waiting     []*account // those with replicas that only want a slot
	turns       market.Turns
	admitted    int   // replicas that have not ended
	running     int   // those of them that have a slot
	guests      int   // those of these whose guest runs
	since       int64 // sum of the Unix times in ms at which they began
	held        holding
	discarded   []*transcript              // for unlock
	released    []protocol.Nonce           // persisted results that are not wanted any more
	fetching    map[fetchKey]chan struct{} // closed when the transfer has ended
	transfersOf map[peer.ID]*places
}

var errStopping = protocol.Errorf(protocol.CodeShutdown, "the provider is stopping")

// New returns a Provider that holds the results of an earlier run of its node.
// Its handlers serve at once, until Run ends.
func New(cfg Config) (*Provider, error) {
	seen, err := lru.New[protocol.Nonce, struct{}](seenNonces)
	if err != nil {
		return nil, fmt.Errorf("remember nonces: %w", err)
	}
	handed, err := lru.New[protocol.Nonce, *protocol.Error](maxHanded)
	if err != nil {
		return nil, fmt.Errorf("remember what was handed over: %w", err)
	}
	known, err := lru.New[fetchKey, struct{}](maxKnown)
	if err != nil {
		return nil, fmt.Errorf("remember blobs: %w", err)
	}
	p := &Provider{
		cfg:       cfg,
		self:      cfg.Self.String(),
		seen:      seen,
		handed:    handed,
		changed:   make(chan struct{}, 1),
		toKeep:    make(chan struct{}, 1),
		transfers: make(chan struct{}, maxTransfers),
		known:     known,
		vouching:  make(chan struct{}, maxVouching),
		accounts:  make(map[peer.ID]*account),
		fetching:  make(map[fetchKey]chan struct{}),

		transfersOf: make(map[peer.ID]*places),
	}
	p.slots, p.queue = cfg.Slots, cfg.Queue
	p.ceilings.Store(cfg.Ceilings)
	p.ctx, p.stop = context.WithCancelCause(context.Background())
	return p, p.restore(time.Now())
}

// Run publishes the provider's offers and keeps its results, until ctx ends.
// Replicas that still run then are cancelled.
func (p *Provider) Run(ctx context.Context) error {
	var keeping sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	keeping.Go(func() { p.keepResults(ctx) })
	err := p.publishOffers(ctx)
	cancel()
	keeping.Wait()
	p.mu.Lock()
	p.stopping = true
	var open []*replica
	for _, a := range p.accounts {
		for _, r := range a.active {
			open = append(open, r)
		}
	}
	p.mu.Unlock()
	for _, r := range open {
		p.cancel(r, errStopping)
	}
	p.stop(errStopping)
	p.wg.Wait()
	p.closeResults()
	return err
}

// unlock releases mu and frees what has been given up under it.
func (p *Provider) unlock() {
	list := p.discarded
	p.discarded = nil
	p.mu.Unlock()
	for _, t := range list {
		t.drop()
	}
}

// Load returns the provider's load at this moment.
func (p *Provider) Load() *protocol.Load {
	availability, _ := p.cfg.Availability()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.load(availability)
}

// load is what every answer tells. It is called with mu held.
func (p *Provider) load(availability protocol.Availability) *protocol.Load {
	if availability == protocol.Open && p.admitted >= p.slots+p.queue {
		availability = protocol.Full
	}
	running := min(p.admitted, p.slots)
	return &protocol.Load{
		Slots:        uint32(p.slots),
		Running:      uint32(running),
		Queued:       uint32(p.admitted - running),
		MeanRunUs:    uint64(p.meanRun().Microseconds()),
		Availability: availability,
	}
}

// meanRun is how long recent runs took, or those under way have taken so far
// if that is longer: long ones must count before they end. It is called with mu
// held.
func (p *Provider) meanRun() time.Duration {
	mean := p.cfg.Runner.MeanRun()
	if p.guests > 0 {
		sofar := time.Now().UnixMilli() - p.since/int64(p.guests)
		mean = max(mean, time.Duration(sofar)*time.Millisecond)
	}
	return mean
}

// noteChange wakes the offer loop, which judges whether the change matters.
func (p *Provider) noteChange() {
	select {
	case p.changed <- struct{}{}:
	default: // it is awake already
	}
}
