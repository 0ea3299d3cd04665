package mesh

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// lively bounds how long anything may take; nothing is expected to take it.
const lively = 30 * time.Second

var testSecret = protocol.NetworkSecret{1, 2, 3}

// node is a Mesh under test with its parts.
type node struct {
	*Mesh
	key  crypto.PrivKey
	book *market.Book
	log  *lockedBuffer
	stop func() // ends Run and waits for it

	mu         sync.Mutex
	remembered map[peer.ID]peer.AddrInfo
	sequence   uint64
}

func newKey(t testing.TB) crypto.PrivKey {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// start runs a Mesh until the test ends. Each edit changes its Config.
func start(t testing.TB, edits ...func(*Config)) *node {
	t.Helper()
	n := &node{book: market.NewBook(), log: new(lockedBuffer), remembered: make(map[peer.ID]peer.AddrInfo)}
	cfg := Default()
	cfg.Key, cfg.Network, cfg.Secret, cfg.Book = newKey(t), "test", testSecret, n.book
	cfg.Logger = slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.Remember = func(p peer.AddrInfo) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.remembered[p.ID] = p
	}
	for _, edit := range edits {
		edit(&cfg)
	}
	n.key = cfg.Key
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Mesh = m
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(lively):
			t.Error("Run did not return")
		}
	})
	t.Cleanup(func() {
		n.stop()
		if t.Failed() && os.Getenv("MESH_LOG") != "" {
			t.Logf("log of %s:\n%s", m.Self(), n.log)
		}
	})
	return n
}

func via(others ...*node) func(*Config) {
	return func(c *Config) {
		for _, o := range others {
			c.Bootstrap = append(c.Bootstrap, o.Addrs()...)
		}
	}
}

// offer signs the next offer of n, with a load unless it is for the DHT.
func (n *node) offer(t testing.TB, edits ...func(*protocol.Offer)) *protocol.SignedOffer {
	t.Helper()
	n.mu.Lock()
	n.sequence = max(n.sequence+1, uint64(time.Now().UnixNano()))
	o := newOffer(n.Self(), n.sequence)
	n.mu.Unlock()
	for _, edit := range edits {
		edit(o)
	}
	return sign(t, n.key, o)
}

func newOffer(provider peer.ID, sequence uint64) *protocol.Offer {
	return &protocol.Offer{
		Provider: provider.String(), Sequence: sequence, TtlMs: 60_000,
		MemoryBytes: 1 << 30, OutputBytes: 1 << 20, WallMs: 1000, Speed: 1, Profile: protocol.Profile,
		Load: &protocol.Load{Slots: 2},
	}
}

func withoutLoad(o *protocol.Offer) { o.Load = nil }

func sign(t testing.TB, key crypto.PrivKey, o *protocol.Offer) *protocol.SignedOffer {
	t.Helper()
	so, err := protocol.SignOffer(testSecret.ID(), key, o)
	if err != nil {
		t.Fatal(err)
	}
	return so
}

func (n *node) publish(t testing.TB) {
	t.Helper()
	if err := n.Publish(t.Context(), n.offer(t)); err != nil {
		t.Fatal(err)
	}
}

// knows reports whether the Book of n holds offers of all others.
func (n *node) knows(others ...*node) bool {
	for _, o := range others {
		if _, ok := n.book.Get(time.Now(), o.Self()); !ok {
			return false
		}
	}
	return true
}

func eventually(t testing.TB, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > lively {
			t.Fatalf("did not happen: %s", what)
		}
		time.Sleep(5 * time.Millisecond) // between polls
	}
	return time.Since(began)
}

func addr(t testing.TB, s string) multiaddr.Multiaddr {
	t.Helper()
	a, err := multiaddr.NewMultiaddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
