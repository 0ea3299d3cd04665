package provider

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

var testNetwork = protocol.NetworkSecret{4, 5, 6}.ID()

// fakeRunner runs what the test says, without a sandbox.
type fakeRunner struct {
	run  func(ctx context.Context, x Execution) (Outcome, error)
	warm bool
}

func (f *fakeRunner) Run(ctx context.Context, x Execution) (Outcome, error) { return f.run(ctx, x) }
func (f *fakeRunner) Warm(peer.ID, protocol.Digest) bool                    { return f.warm }
func (f *fakeRunner) WarmModules(int) []protocol.Digest                     { return nil }
func (f *fakeRunner) MeanRun() time.Duration                                { return time.Millisecond }

// echo is a guest that prints its args and ends with 3.
func echo(_ context.Context, x Execution) (Outcome, error) {
	return Outcome{ExitCode: 3, Stdout: []byte(x.Spec.Args[0]), Wall: time.Millisecond, Gas: 77}, nil
}

// until is a guest that runs until it is cancelled.
func until(ctx context.Context, x Execution) (Outcome, error) {
	x.State(protocol.StateRunning)
	<-ctx.Done()
	return Outcome{}, context.Cause(ctx)
}

// scene is a provider with one requester at the other end of a pipe.
type scene struct {
	t                 *testing.T
	provider          *Provider
	runner            *fakeRunner
	self              peer.ID // the provider
	key, requesterKey crypto.PrivKey
	requester         peer.ID
	home              string
	store             *store.Store
	module            []byte
	blobs             map[protocol.Digest][]byte // what the requester gives
	tasks             *protocol.Conn             // the requester's end
	replies           chan *protocol.Reply       // read from it, closed at its end
	wg                sync.WaitGroup

	results *shelf
	ledger  *book
	stop    func() // ends the provider's Run, and waits for it

	mu           sync.Mutex
	availability protocol.Availability
	denied       []peer.ID
	also         peer.ID // another requester with the same blobs; empty: none
	stays        []Stay
	asked        func() // called once, when it has been said what availability was
	published    []*protocol.Offer
	advertised   int
	outputs      [2]bytes.Buffer // streamed
	files        []string        // likewise: "PATH SIZE BYTES"
	streams      int
	given        []protocol.Digest // blobs asked for
	giving       int               // transfers under way
	mostGiving   int
	unreachable  map[peer.ID]bool
	tried        int                      // members that were to be reached
	swarm        map[protocol.Digest]bool // blobs that peers carry, and whether as a module
	known        map[protocol.Digest]bool // blobs known to be here, and whether as a module
}

// Fetch plays the peers that carry a blob.
func (s *scene) Fetch(_ context.Context, from peer.ID, _ protocol.Nonce, b *protocol.Blob, module bool) error {
	s.mu.Lock()
	as, ok := s.swarm[b.Sum()]
	s.mu.Unlock()
	if !ok || as != module || from != s.requester {
		return errors.New("no peer has it")
	}
	return s.store.Blobs().PutExpected(b.Sum(), int64(b.Size), bytes.NewReader(s.blobs[b.Sum()]))
}

func (s *scene) Hold(_ peer.ID, b *protocol.Blob, module bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[b.Sum()] = module
}

// shelf is a store of held results in memory.
type shelf struct {
	mu       sync.Mutex
	held     map[protocol.Nonce]store.Held
	blobs    map[protocol.Nonce][]protocol.Digest
	released int
}

func newShelf() *shelf {
	return &shelf{held: make(map[protocol.Nonce]store.Held), blobs: make(map[protocol.Nonce][]protocol.Digest)}
}

func (h *shelf) HoldResult(requester peer.ID, nonce protocol.Nonce, record []byte, blobs []protocol.Digest, expires time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held[nonce] = store.Held{Requester: requester, Nonce: nonce, Record: record, Blobs: blobs, Expires: expires}
	h.blobs[nonce] = blobs
	return nil
}

func (h *shelf) HeldResults() ([]store.Held, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.held)), nil
}

func (h *shelf) ReleaseResults(nonces []protocol.Nonce) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range nonces {
		delete(h.held, n)
	}
	h.released += len(nonces)
	return nil
}

// book is a ledger in memory.
type book struct {
	mu       sync.Mutex
	served   map[peer.ID]uint64
	accounts map[peer.ID]market.Account
}

func (b *book) Served(p peer.ID, gas uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.served[p] += gas
}

func (b *book) Account(p peer.ID) market.Account {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.accounts[p]
}

func newIdentity(t *testing.T) (crypto.PrivKey, peer.ID) {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, id
}

// inScene runs a test in virtual time.
func inScene(t *testing.T, runner *fakeRunner, f func(t *testing.T, s *scene)) {
	t.Helper()
	dir := t.TempDir()
	key, self := newIdentity(t)
	requesterKey, requester := newIdentity(t)
	synctest.Test(t, func(t *testing.T) {
		st, err := store.Open(dir, store.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		s := &scene{
			t: t, runner: runner, self: self, key: key, requester: requester, requesterKey: requesterKey,
			home: dir, store: st, module: []byte("\x00asm module"), blobs: make(map[protocol.Digest][]byte),
			results: newShelf(), ledger: &book{served: make(map[peer.ID]uint64), accounts: make(map[peer.ID]market.Account)},
			unreachable: make(map[peer.ID]bool),
			swarm:       make(map[protocol.Digest]bool), known: make(map[protocol.Digest]bool),
		}
		s.blobs[protocol.DigestOf(s.module)] = s.module
		s.start()
		s.connect()
		defer s.wg.Wait()
		defer func() { s.stop() }()
		defer func() { s.tasks.Reset() }()
		f(t, s)
	})
}

// start starts the provider, which may have been stopped before.
func (s *scene) start() {
	s.t.Helper()
	var err error
	s.provider, err = New(Config{
		Self: s.self, Key: s.key, NetworkID: testNetwork, Slots: 2, Queue: 2,
		Ceilings:    &protocol.Limits{MemoryBytes: 1 << 30, OutputBytes: 1 << 30, WallMs: 60_000, Gas: 1e12, FileBytes: 1 << 30, Files: 100},
		ModuleBytes: 1 << 20, Speed: 1, Runner: s.runner, Blobs: s.store.Blobs(), Network: s, Data: s,
		Results: s.results, Ledger: s.ledger,
		Availability: func() (protocol.Availability, string) {
			s.mu.Lock()
			said, then := s.availability, s.asked
			s.asked = nil
			s.mu.Unlock()
			if then != nil {
				then()
			}
			return said, "the owner said so"
		},
		Access: func(p peer.ID) *protocol.Error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if slices.Contains(s.denied, p) {
				return protocol.Errorf(protocol.CodeBlocked, "mines coins")
			}
			return nil
		},
		Ended: func(stay Stay) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.stays = append(s.stays, stay)
		},
		Members:  func() int { return 3 },
		Labels:   map[string]string{"site": "berlin"},
		Sequence: func(now time.Time) (uint64, error) { return uint64(now.UnixNano()), nil },
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.provider.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
}

// connect opens a task stream.
func (s *scene) connect() { s.connectAs(s.requester) }

// connectAs opens one of another requester.
func (s *scene) connectAs(requester peer.ID) {
	ours, theirs := net.Pipe()
	s.tasks = protocol.NewConn(ours, s.self, protocol.MaxTaskMessage)
	there := protocol.NewConn(theirs, requester, protocol.MaxTaskMessage)
	provider := s.provider
	s.wg.Go(func() { provider.ServeTasks(context.Background(), there) })
	replies := make(chan *protocol.Reply, 1<<14) // never full: a pipe has no buffer of its own
	s.replies = replies
	tasks := s.tasks
	s.wg.Go(func() {
		defer close(replies)
		for {
			reply := new(protocol.Reply)
			if tasks.Recv(reply) != nil {
				return
			}
			replies <- reply
		}
	})
}

// Open plays the requester that serves blobs and takes output.
func (s *scene) Open(_ context.Context, to peer.ID, kind protocol.StreamKind) (*protocol.Conn, error) {
	if to != s.requester && to != s.also {
		return nil, errors.New("no route")
	}
	ours, theirs := net.Pipe()
	conn := protocol.NewConn(theirs, s.self, kind.MaxMessage())
	s.wg.Go(func() {
		defer conn.Reset()
		if kind == protocol.BlobStream {
			s.giveBlob(conn)
		} else {
			s.takeOutput(conn)
		}
	})
	return protocol.NewConn(ours, to, kind.MaxMessage()), nil
}

func (s *scene) giveBlob(conn *protocol.Conn) {
	request := new(protocol.BlobRequest)
	if conn.Recv(request) != nil {
		return
	}
	s.mu.Lock()
	s.given = append(s.given, protocol.Digest(request.Digest))
	s.giving++
	s.mostGiving = max(s.mostGiving, s.giving)
	s.mu.Unlock()
	time.Sleep(time.Millisecond) // on its way
	s.mu.Lock()
	s.giving--
	b := s.blobs[protocol.Digest(request.Digest)]
	s.mu.Unlock()
	if b == nil {
		_ = conn.Send(&protocol.BlobHeader{Code: string(protocol.CodeBlob)})
		return
	}
	if len(request.Challenge) > 0 {
		proof := protocol.NewBlobProof(protocol.Challenge(request.Challenge))
		proof.Write(b)
		_ = conn.Send(&protocol.BlobHeader{Proof: proof.Sum(nil)})
		return
	}
	_ = conn.Send(&protocol.BlobHeader{Size: uint64(len(b))})
	_, _ = conn.Write(b)
}

func (s *scene) takeOutput(conn *protocol.Conn) {
	if conn.Recv(new(protocol.OutputHeader)) != nil {
		return
	}
	s.mu.Lock()
	s.streams++
	s.mu.Unlock()
	for {
		chunk := new(protocol.OutputChunk)
		if conn.Recv(chunk) != nil {
			return
		}
		if h := chunk.File; h != nil {
			s.mu.Lock()
			s.files = append(s.files, fmt.Sprintf("%s %d ", h.Path, h.Size))
			s.mu.Unlock()
			continue
		}
		if chunk.Fd == 0 {
			return
		}
		s.mu.Lock()
		if chunk.Fd == 3 {
			s.files[len(s.files)-1] += string(chunk.Data)
		} else {
			s.outputs[chunk.Fd-1].Write(chunk.Data)
		}
		s.mu.Unlock()
	}
}

func (s *scene) Publish(_ context.Context, so *protocol.SignedOffer) error {
	_, o, err := so.Open(testNetwork)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.published = append(s.published, o)
	return err
}

func (s *scene) Advertise(_ context.Context, so *protocol.SignedOffer) error {
	_, o, err := so.Open(testNetwork)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advertised++
	if o.GetLoad() != nil {
		return errors.New("a capability record with a load")
	}
	return err
}

// gives sets what the requester gives when it is asked for a blob; nil: nothing.
func (s *scene) gives(d protocol.Digest, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[d] = b
}

// is sets what the provider's owner allows.
func (s *scene) is(a protocol.Availability) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.availability = a
}

// Reach plays a network in which some members cannot be reached.
func (s *scene) Reach(ctx context.Context, member peer.ID) error {
	s.mu.Lock()
	s.tried++
	away := s.unreachable[member]
	s.mu.Unlock()
	if away {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (s *scene) spec() *protocol.Spec {
	d := protocol.DigestOf(s.module)
	return &protocol.Spec{
		Module: &protocol.Blob{Digest: d[:], Size: uint64(len(s.module))}, Args: []string{"prog"},
		Stdin: protocol.NewBlob(nil), Profile: protocol.Profile,
		Limits: &protocol.Limits{MemoryBytes: 1 << 20, OutputBytes: 1 << 20, WallMs: 1000, Gas: 1e9, FileBytes: 1 << 20, Files: 10},
	}
}

// ask sends a Run of spec.
func (s *scene) ask(id uint64, spec *protocol.Spec) *protocol.Run {
	s.t.Helper()
	raw, err := spec.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	nonce := protocol.NewNonce()
	run := &protocol.Run{Spec: raw, Nonce: nonce[:], Task: string(protocol.NewTaskID()), Attempt: 1}
	s.send(id, run)
	return run
}

func (s *scene) send(id uint64, run *protocol.Run) {
	s.t.Helper()
	if err := s.tasks.Send(&protocol.Ask{Id: id, Body: &protocol.Ask_Run{Run: run}}); err != nil {
		s.t.Fatal(err)
	}
}

// next returns the next reply that is not mere progress.
func (s *scene) next() *protocol.Reply {
	s.t.Helper()
	for reply := range s.replies {
		if _, progress := reply.Body.(*protocol.Reply_Progress); !progress {
			return reply
		}
	}
	s.t.Fatal("the stream ended")
	return nil
}

// running awaits a lease, and that its guest runs.
func (s *scene) running() {
	s.t.Helper()
	if s.next().GetLease() == nil {
		s.t.Fatal("no lease")
	}
	time.Sleep(time.Second)
}

// outcome skips the lease.
func (s *scene) outcome() *protocol.Outcome {
	s.t.Helper()
	for {
		reply := s.next()
		if o := reply.GetOutcome(); o != nil {
			if err := o.Validate(); err != nil {
				s.t.Fatal(err)
			}
			return o
		}
		if refusal := reply.GetRefusal(); refusal != nil {
			s.t.Fatalf("refused: %s %s", refusal.Code, refusal.Message)
		}
	}
}
