package data

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	mrand "math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/node/mesh"
	"github.com/spare-network/spare/node/mesh/swarm"
	"github.com/spare-network/spare/protocol"
	"github.com/spare-network/spare/store"
)

// lively bounds how long anything may take; nothing is expected to take it.
const lively = 30 * time.Second

var testSecret = protocol.NetworkSecret{7, 8, 9}

// member is a node with a store, a mesh and a Data, and no tasks.
type member struct {
	*Data
	key   crypto.PrivKey
	store *store.Store
	mesh  *mesh.Mesh

	mu     sync.Mutex
	leases map[lease]bool // of others on its blobs, and whether as a module
	warm   []peer.ID
}

type lease struct {
	to    peer.ID
	nonce protocol.Nonce
	blob  protocol.Digest
}

func (m *member) Lease(p peer.ID, nonce []byte, blob protocol.Digest) (module, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	module, ok = m.leases[lease{p, protocol.Nonce(nonce), blob}]
	return module, ok
}

func start(t *testing.T, others ...*member) *member {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := &member{key: key, leases: make(map[lease]bool)}
	if m.store, err = store.Open(t.TempDir(), store.Config{}); err != nil {
		t.Fatal(err)
	}
	cfg := mesh.Default()
	cfg.Key, cfg.Network, cfg.Secret, cfg.Book, cfg.Logger = key, "test", testSecret, market.NewBook(), slog.New(slog.DiscardHandler)
	for _, o := range others {
		cfg.Bootstrap = append(cfg.Bootstrap, o.mesh.Addrs()...)
	}
	if m.mesh, err = mesh.New(cfg); err != nil {
		t.Fatal(err)
	}
	if m.Data, err = New(Config{
		Self: m.mesh.Self(), Key: key, NetworkID: testSecret.ID(), Blobs: m.store.Blobs(), Kept: m.store, Network: m.mesh,
		Exchange: m.mesh.Exchange, Leases: m, Warm: func(protocol.Digest) []peer.ID { return m.warm },
		Logger: slog.New(slog.DiscardHandler),
	}); err != nil {
		t.Fatal(err)
	}
	m.mesh.Handle(protocol.TreeStream, m.Serve)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.mesh.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, m.store.Close()); err != nil {
			t.Error(err)
		}
	})
	return m
}

// has puts a blob into the member's store.
func (m *member) has(t *testing.T, content []byte) *protocol.Blob {
	t.Helper()
	d, n, err := m.store.Blobs().Put(bytes.NewReader(content), protocol.MaxBlob)
	if err != nil {
		t.Fatal(err)
	}
	return &protocol.Blob{Digest: d[:], Size: uint64(n)}
}

// lets gives another a lease.
func (m *member) lets(to *member, b *protocol.Blob, module bool) protocol.Nonce {
	m.mu.Lock()
	defer m.mu.Unlock()
	nonce := protocol.NewNonce()
	m.leases[lease{to.mesh.Self(), nonce, b.Sum()}] = module
	return nonce
}

func (m *member) content(t *testing.T, b *protocol.Blob) []byte {
	t.Helper()
	f, _, err := m.store.Blobs().Open(b.Sum())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func noise(seed byte, size int) []byte {
	b := make([]byte, size)
	_, _ = mrand.NewChaCha8([32]byte{seed}).Read(b) // never fails
	return b
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), lively)
	t.Cleanup(cancel)
	return ctx
}

func TestPeersCarryABlobToEachOther(t *testing.T) {
	requester := start(t)
	requester.mesh.BoundTraffic(4 << 20) // or it may have sent all before the others have met
	for name, module := range map[string]bool{"an input": false, "a module": true} {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				if carries(t, requester, module) > 0 || t.Failed() {
					return
				}
			}
			t.Error("no peer carried anything")
		})
	}
}

// carries has three peers fetch a blob, and returns how many bytes they have sent.
func carries(t *testing.T, requester *member, module bool) (carried uint64) {
	content := noise(byte(mrand.Uint32()), 16*protocol.LeafSize+5)
	b := requester.has(t, content)
	before := requester.mesh.Exchange().Sent()
	var providers []*member
	for range 3 {
		providers = append(providers, start(t, requester))
	}
	var wg sync.WaitGroup
	for _, p := range providers {
		nonce := requester.lets(p, b, module)
		wg.Go(func() {
			if err := p.Fetch(within(t), requester.mesh.Self(), nonce, b, module); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, p := range providers {
		if !t.Failed() && !bytes.Equal(p.content(t, b), content) {
			t.Error("other bytes")
		}
		carried += p.mesh.Exchange().Sent()
	}
	sent := requester.mesh.Exchange().Sent() - before
	t.Logf("the requester sent %.1f times the blob, the others %.1f", float64(sent)/float64(b.Size), float64(carried)/float64(b.Size))
	return carried
}

// Whoever greets first for a blob makes its holding, which is opened to all of them.
func TestThoseWhoGreetAtOnceReadTheSame(t *testing.T) {
	m := start(t)
	for i := range 20 {
		b := m.has(t, noise(byte(i), protocol.MinTree))
		k := key{b.Sum(), m.mesh.Self()}
		found := make([]*holding, 8)
		var wg sync.WaitGroup
		for j := range found {
			wg.Go(func() {
				h, err := m.whole(t.Context(), k)
				if err != nil {
					t.Error(err)
				}
				found[j] = h
			})
		}
		wg.Wait()
		for _, h := range found {
			if h != m.served(k) {
				t.Fatal("one of them reads what is closed")
			}
		}
	}
}

// served is what the member serves of a blob that is here.
func (m *member) served(k key) *holding {
	m.Data.mu.Lock()
	defer m.Data.mu.Unlock()
	return m.find(k)
}

func TestWhoMayRead(t *testing.T) {
	requester := start(t)
	holder, stranger := start(t, requester), start(t, requester)
	input, module := requester.has(t, noise(2, protocol.MinTree)), requester.has(t, noise(3, protocol.MinTree))
	for b, isModule := range map[*protocol.Blob]bool{input: false, module: true} {
		if err := holder.Fetch(within(t), requester.mesh.Self(), requester.lets(holder, b, isModule), b, isModule); err != nil {
			t.Fatal(err)
		}
	}
	private := holder.has(t, noise(4, protocol.MinTree)) // of the node's own user
	grant := func(by *member, b *protocol.Blob, to *member) *protocol.Grant {
		g, err := protocol.SignGrant(testSecret.ID(), by.key, b.Sum(), to.mesh.Self(), time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	other := protocol.NewNonce()
	for _, test := range []struct {
		what    string
		at      *member
		blob    *protocol.Blob
		nonce   []byte
		grant   *protocol.Grant
		allowed bool
	}{
		{"an input without a grant", holder, input, nil, nil, false},
		{"an input with its requester's grant", holder, input, nil, grant(requester, input, stranger), true},
		{"an input with another peer's grant", holder, input, nil, grant(requester, input, holder), false},
		{"an input with a grant of another blob", holder, input, nil, grant(requester, module, stranger), false},
		{"an input with one's own grant", holder, input, nil, grant(stranger, input, stranger), false},
		{"a module", holder, module, nil, nil, true},
		{"what the holder's user has", holder, private, nil, nil, false},
		{"what the holder's user has, with a grant", holder, private, nil, grant(requester, private, stranger), false},
		{"at the requester without a lease", requester, input, nil, nil, false},
		{"at the requester with another's lease", requester, input, other[:], nil, false},
		{"a module at the requester without a lease", requester, module, nil, nil, false},
	} {
		sum := test.blob.Sum()
		_, err := stranger.greet(within(t), test.at.mesh.Self(), lively, &protocol.TreeRequest{Digest: sum[:], Nonce: test.nonce, Grant: test.grant})
		if (err == nil) != test.allowed {
			t.Errorf("%s: %v", test.what, err)
		}
	}
}

// An input is read for a task of minutes: who has greeted for it may not read it
// for hours.
func TestAGrantHoldsAsLongAsItsBlobMayTake(t *testing.T) {
	requester := start(t)
	provider := start(t, requester)
	for _, size := range []int{protocol.MinTree, 8 << 20} {
		b := requester.has(t, noise(5, size))
		sum, nonce := b.Sum(), requester.lets(provider, b, false)
		before := time.Now()
		reply, err := provider.greet(within(t), requester.mesh.Self(), lively, &protocol.TreeRequest{Digest: sum[:], Nonce: nonce[:]})
		if err != nil {
			t.Fatal(err)
		}
		holds := time.UnixMilli(reply.Grant.ExpiresUnixMs).Sub(before)
		if least := protocol.AtSlowest(uint64(size)); holds < least+skew || holds > least+skew+2*slack {
			t.Errorf("a grant for %d bytes holds %s", size, holds)
		}
	}
}

func TestFetchGoesOnWhereItStopped(t *testing.T) {
	requester := start(t)
	provider := start(t, requester)
	content := noise(5, 8*protocol.LeafSize)
	b := requester.has(t, content)
	scope := string(requester.mesh.Self())
	for owner, has := range map[string]int{scope: 5, "another requester": 7} {
		partial, err := provider.store.Blobs().Partial(b.Sum(), int64(b.Size), owner)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := partial.WriteAt(content[:has*protocol.LeafSize], 0); err != nil {
			t.Fatal(err)
		}
		if _, err := partial.WriteAt([]byte("damage"), 10); err != nil { // in the first leaf
			t.Fatal(err)
		}
		partial.Park()
	}
	if err := provider.Fetch(within(t), requester.mesh.Self(), requester.lets(provider, b, false), b, false); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(provider.content(t, b), content) {
		t.Error("other bytes")
	}
	if sent := requester.mesh.Exchange().Sent(); sent != 4*protocol.LeafSize {
		t.Errorf("the requester sent %d bytes for the four leaves that were missing", sent)
	}
}

func TestWhatIsHereForAnotherMustBeShownAnew(t *testing.T) {
	first := start(t)
	second, provider := start(t, first), start(t, first)
	b := first.has(t, noise(8, protocol.MinTree))
	if err := provider.Fetch(within(t), first.mesh.Self(), first.lets(provider, b, false), b, false); err != nil {
		t.Fatal(err)
	}
	// It knows the digest, and has heard of the leaves.
	tree, err := first.treeOf(t.Context(), b.Sum())
	if err != nil {
		t.Fatal(err)
	}
	second.trees.Add(b.Sum(), tree)
	for _, module := range []bool{false, true} {
		if err := provider.Fetch(within(t), second.mesh.Self(), second.lets(provider, b, module), b, module); !errors.Is(err, errElsewhere) {
			t.Errorf("as a module %v: %v", module, err)
		}
	}
	provider.Hold(second.mesh.Self(), b, false) // it has shown it otherwise
	if err := provider.Fetch(within(t), second.mesh.Self(), protocol.NewNonce(), b, false); err != nil {
		t.Error(err)
	}
}

func TestWrongTreeBringsNoBlob(t *testing.T) {
	requester := start(t)
	provider := start(t, requester)
	wanted, other := noise(6, protocol.MinTree), requester.has(t, noise(7, protocol.MinTree))
	sum := protocol.DigestOf(wanted)
	want := &protocol.Blob{Digest: sum[:], Size: protocol.MinTree}
	// The requester answers with the tree of other bytes, which it serves.
	requester.mesh.Handle(protocol.TreeStream, func(ctx context.Context, conn *protocol.Conn) {
		defer conn.Close()
		h, err := requester.whole(ctx, key{other.Sum(), everybody})
		if err != nil || conn.Recv(new(protocol.TreeRequest)) != nil {
			return
		}
		h.share.Open(conn.Peer(), time.Now().Add(time.Hour))
		_ = conn.Send(&protocol.TreeReply{Size: protocol.MinTree, Leaves: h.tree.Bytes()})
	})
	err := provider.Fetch(within(t), requester.mesh.Self(), protocol.NewNonce(), want, false)
	if protocol.CodeOf(err) != protocol.CodeBlob || provider.store.Blobs().Has(sum) || provider.store.Blobs().Has(other.Sum()) {
		t.Errorf("fetch: %v", err)
	}
	if h := provider.served(key{sum, requester.mesh.Self()}); h != nil {
		t.Error("it is served")
	}
}

// A requester lies about the leaves of a blob that another's account brings
// meanwhile.
func TestLiedLeavesAreNotReadFromAnothersBlob(t *testing.T) {
	m := start(t)
	secret := noise(50, 4*protocol.LeafSize)
	tree, _, err := protocol.ReadTree(bytes.NewReader(noise(51, 4*protocol.LeafSize)))
	if err != nil {
		t.Fatal(err)
	}
	d := protocol.DigestOf(secret)
	p, err := m.store.Blobs().Partial(d, tree.Size, "R1")
	if err != nil {
		t.Fatal(err)
	}
	h := &holding{blobs: m.store.Blobs(), blob: d, tree: tree, partial: p, has: make([]bool, 4), settled: make(chan struct{})}
	m.has(t, secret)
	if h.HasLeaf(2) {
		t.Error("while it is coming it has a leaf that has not come")
	}
	if err := p.Finish(); err == nil {
		t.Fatal("finished")
	}
	read := make(chan error)
	go func() { // before the end of it is told
		_, err := h.ReadLeaf(2)
		read <- err
	}()
	h.settle(false)
	if err := <-read; err == nil {
		t.Error("while its end is told it reads the other's bytes")
	}
	if _, err := h.ReadLeaf(2); err == nil || h.HasLeaf(2) {
		t.Error("afterwards it reads the other's bytes")
	}
}

// answers has the member answer every greeting with the tree of some bytes, of
// which it serves what there is.
func (m *member) answers(t *testing.T, content []byte, leaves func(*protocol.Tree) swarm.Leaves) {
	t.Helper()
	tree, _, err := protocol.ReadTree(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	share := m.mesh.Exchange().Share("", tree, leaves(tree))
	m.mesh.Handle(protocol.TreeStream, func(_ context.Context, conn *protocol.Conn) {
		defer conn.Close()
		if conn.Recv(new(protocol.TreeRequest)) == nil {
			share.Open(conn.Peer(), time.Now().Add(time.Hour))
			_ = conn.Send(&protocol.TreeReply{Size: uint64(tree.Size), Leaves: tree.Bytes()})
		}
	})
}

// stuck are leaves that are here, but never come.
type stuck struct{ end <-chan struct{} }

func (stuck) HasLeaf(int) bool { return true }
func (s stuck) ReadLeaf(int) ([]byte, error) {
	<-s.end
	return nil, io.EOF
}

// The origin sends nothing, and the only holder is not reached at first.
func TestAHolderIsGreetedAgain(t *testing.T) {
	origin := start(t)
	holder := start(t, origin)
	provider := start(t, origin, holder)
	content := noise(11, 4*protocol.LeafSize)
	b := holder.has(t, content)
	holder.Hold(origin.mesh.Self(), b, true)
	origin.answers(t, content, func(*protocol.Tree) swarm.Leaves { return stuck{t.Context().Done()} })
	var once sync.Once
	holder.mesh.Handle(protocol.TreeStream, func(ctx context.Context, conn *protocol.Conn) {
		once.Do(conn.Reset)
		holder.Serve(ctx, conn)
	})
	provider.warm = []peer.ID{holder.mesh.Self()}
	if err := provider.Fetch(within(t), origin.mesh.Self(), protocol.NewNonce(), b, true); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(provider.content(t, b), content) {
		t.Error("other bytes")
	}
}

// One requester names the same module as another, lies about its leaves, and sends
// none.
func TestOneRequesterDoesNotHoldUpAnothersModule(t *testing.T) {
	honest := start(t)
	evil := start(t, honest)
	provider := start(t, honest, evil)
	b := honest.has(t, noise(9, 8*protocol.LeafSize))
	evil.answers(t, noise(10, 8*protocol.LeafSize), func(*protocol.Tree) swarm.Leaves { return stuck{t.Context().Done()} })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	ended := make(chan struct{})
	wg.Go(func() {
		defer close(ended)
		if err := provider.Fetch(ctx, evil.mesh.Self(), protocol.NewNonce(), b, true); ctx.Err() == nil {
			t.Errorf("who does not have it holds nothing up: %v", err)
		}
	})
	for begun := false; !begun && !t.Failed(); time.Sleep(time.Millisecond) {
		provider.Data.mu.Lock()
		for _, c := range provider.coming {
			begun = begun || c.h != nil
		}
		provider.Data.mu.Unlock()
	}
	if err := provider.Fetch(within(t), honest.mesh.Self(), honest.lets(provider, b, true), b, true); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
		t.Error("the other has ended before")
	default:
	}
}
