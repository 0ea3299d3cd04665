package provider

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
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
}

// Network is the mesh's part that a provider needs.
type Network interface {
	Open(ctx context.Context, to peer.ID, kind protocol.StreamKind) (*protocol.Conn, error)
	// Publish gossips an offer; Advertise puts its lasting part in the DHT.
	Publish(ctx context.Context, offer *protocol.SignedOffer) error
	Advertise(ctx context.Context, capability *protocol.SignedOffer) error
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
	Network     Network
	// Availability says whether the node donates now, and why not.
	Availability func() (protocol.Availability, string)
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
	self    string // the peer ID in text
	seen    *lru.Cache[protocol.Nonce, struct{}]
	changed chan struct{} // wakes the offer loop
	// transfers has room for the blobs that may come in at once.
	transfers chan struct{}
	// known are the blobs that requesters have sent or proved to have.
	known *lru.Cache[fetchKey, struct{}]

	mu          sync.Mutex
	open        map[protocol.Nonce]*replica
	fetching    map[fetchKey]chan struct{} // closed when the transfer has ended
	transfersOf map[peer.ID]*places
}

// replica is one admitted Run.
type replica struct {
	nonce     protocol.Nonce
	requester peer.ID
	detached  bool
	cancel    context.CancelCauseFunc

	mu      sync.Mutex
	state   protocol.State
	running time.Time // when the guest started
	ended   time.Time // when it ended; zero while it has not
}

// New returns a Provider. Its handlers serve at once; Run publishes its offers.
func New(cfg Config) (*Provider, error) {
	seen, err := lru.New[protocol.Nonce, struct{}](seenNonces)
	if err != nil {
		return nil, fmt.Errorf("remember nonces: %w", err)
	}
	known, err := lru.New[fetchKey, struct{}](maxKnown)
	if err != nil {
		return nil, fmt.Errorf("remember blobs: %w", err)
	}
	return &Provider{
		cfg:       cfg,
		self:      cfg.Self.String(),
		seen:      seen,
		changed:   make(chan struct{}, 1),
		transfers: make(chan struct{}, maxTransfers),
		open:      make(map[protocol.Nonce]*replica),
		known:     known,
		fetching:  make(map[fetchKey]chan struct{}),

		transfersOf: make(map[peer.ID]*places),
	}, nil
}

// Load returns the provider's load at this moment.
func (p *Provider) Load() *protocol.Load {
	p.mu.Lock()
	admitted := len(p.open)
	p.mu.Unlock()
	return p.load(admitted)
}

func (p *Provider) load(admitted int) *protocol.Load {
	availability, _ := p.cfg.Availability()
	if availability == protocol.Open && admitted >= p.cfg.Slots+p.cfg.Queue {
		availability = protocol.Full
	}
	running := min(admitted, p.cfg.Slots)
	return &protocol.Load{
		Slots:        uint32(p.cfg.Slots),
		Running:      uint32(running),
		Queued:       uint32(admitted - running),
		MeanRunUs:    uint64(p.cfg.Runner.MeanRun().Microseconds()),
		Availability: availability,
	}
}

// admit decides on one Run. It returns the replica and the load that includes
// it, or a refusal.
func (p *Provider) admit(r *replica, spec *protocol.Spec) (*protocol.Load, *protocol.Refusal) {
	if why := p.ceiling(spec); why != "" {
		return nil, &protocol.Refusal{Code: string(protocol.CodeRefused), Message: why, Load: p.Load()}
	}
	// A pause protects the owner of the machine from strangers, not from the
	// owner's own tasks.
	if availability, why := p.cfg.Availability(); availability != protocol.Open && r.requester != p.cfg.Self {
		return nil, &protocol.Refusal{Code: string(protocol.CodeRefused), Message: protocol.SafeText(why), Load: p.Load()}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open) >= p.cfg.Slots+p.cfg.Queue {
		return nil, &protocol.Refusal{
			Code:    string(protocol.CodeBusy),
			Message: fmt.Sprintf("%d run or wait here already", len(p.open)),
			Load:    p.load(len(p.open)),
		}
	}
	if again, _ := p.seen.ContainsOrAdd(r.nonce, struct{}{}); again {
		return nil, &protocol.Refusal{Code: string(protocol.CodeReplay), Message: "this replica was asked for before", Load: p.load(len(p.open))}
	}
	p.open[r.nonce] = r
	return p.load(len(p.open)), nil
}

// ceiling says what of the spec is beyond this provider, or "".
func (p *Provider) ceiling(s *protocol.Spec) string {
	if s.Profile != protocol.Profile {
		return fmt.Sprintf("the task needs sandbox profile %d, this node has %d", s.Profile, protocol.Profile)
	}
	return market.Need{Limits: s.Limits, ModuleBytes: s.Module.Size}.Beyond(p.capability())
}

// release forgets an admitted replica and returns the load without it.
func (p *Provider) release(r *replica) *protocol.Load {
	p.mu.Lock()
	delete(p.open, r.nonce)
	load := p.load(len(p.open))
	p.mu.Unlock()
	p.noteChange()
	return load
}

// noteChange wakes the offer loop, which judges whether the change matters.
func (p *Provider) noteChange() {
	select {
	case p.changed <- struct{}{}:
	default: // it is awake already
	}
}

func (r *replica) setState(s protocol.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = s
	if s == protocol.StateRunning {
		r.running = time.Now()
	}
}

// guestEnded stops the clock: how long its files take to be sent is not the
// guest's.
func (r *replica) guestEnded() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended.IsZero() {
		r.ended = time.Now()
	}
}

// progress is what a Beat says of the replica.
func (r *replica) progress(now time.Time) *protocol.Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	pr := &protocol.Progress{Nonce: r.nonce[:], State: r.state}
	if !r.ended.IsZero() {
		now = r.ended
	}
	if !r.running.IsZero() {
		pr.WallUs = uint64(now.Sub(r.running).Microseconds())
	}
	return pr
}
