package mesh

import (
	"bufio"
	"context"
	"encoding/hex"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"go.uber.org/goleak"

	"github.com/spare-network/spare/market"
	"github.com/spare-network/spare/protocol"
)

// childKey, when set, has the test binary run one node instead of the tests:
// something to kill.
const (
	childKey  = "MESH_TEST_CHILD_KEY"
	childAddr = "MESH_TEST_CHILD_ADDR"
)

func TestMain(m *testing.M) {
	if os.Getenv(childKey) != "" {
		runChild()
		return
	}
	goleak.VerifyTestMain(m)
}

func runChild() {
	raw, err := hex.DecodeString(os.Getenv(childKey))
	if err != nil {
		panic(err)
	}
	cfg := Default()
	if cfg.Key, err = crypto.UnmarshalPrivateKey(raw); err != nil {
		panic(err)
	}
	cfg.Network, cfg.Secret, cfg.Book, cfg.Logger = "test", testSecret, market.NewBook(), discard()
	if listen := os.Getenv(childAddr); listen != "" {
		cfg.Listen = nil
		for _, a := range strings.Fields(listen) {
			cfg.Listen = append(cfg.Listen, multiaddr.StringCast(a))
		}
	}
	m, err := New(cfg)
	if err != nil {
		panic(err)
	}
	for _, a := range m.Addrs() {
		_, _ = os.Stdout.WriteString(a.String() + " ")
	}
	_, _ = os.Stdout.WriteString("\n")
	panic(m.Run(context.Background())) // until it is killed
}

// child starts a node with this key as a process and returns its addresses.
func child(t *testing.T, key crypto.PrivKey, listen string) (*exec.Cmd, []multiaddr.Multiaddr) {
	t.Helper()
	raw, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childKey+"="+hex.EncodeToString(raw), childAddr+"="+listen)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have been killed already
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("child did not start: %v", err)
	}
	var addrs []multiaddr.Multiaddr
	for _, a := range strings.Fields(line) {
		addrs = append(addrs, addr(t, a))
	}
	return cmd, addrs
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it reports the kill
}

func TestStarFillsAllBooks(t *testing.T) {
	first := start(t)
	nodes := []*node{first}
	for range 5 {
		nodes = append(nodes, start(t, via(first)))
	}
	for _, n := range nodes {
		n.publish(t)
	}
	took := eventually(t, "all Books full", func() bool {
		for _, n := range nodes {
			if !n.knows(nodes...) {
				return false
			}
		}
		return true
	})
	t.Logf("all Books of %d nodes full after %v", len(nodes), took)

	late := start(t, via(first))
	late.publish(t)
	took = eventually(t, "a late joiner sees all, and all see it", func() bool {
		for _, n := range nodes {
			if !n.knows(late) {
				return false
			}
		}
		return late.knows(nodes...)
	})
	t.Logf("a late joiner sees all and is seen by all after %v", took)

	eventually(t, "a full mesh with known round trips", func() bool {
		peers := late.Peers()
		for _, p := range peers {
			if !p.Connected || !p.RTTKnown || p.RTT <= 0 || !p.Placed || len(p.Addrs) == 0 {
				return false
			}
		}
		return len(peers) == len(nodes)
	})
	for _, n := range nodes {
		eventually(t, "members remembered", func() bool {
			late.mu.Lock()
			defer late.mu.Unlock()
			return len(late.remembered[n.Self()].Addrs) > 0
		})
	}
}

func TestGossipReachesAllWithoutPulls(t *testing.T) {
	first := start(t)
	nodes := []*node{first}
	for range 3 {
		nodes = append(nodes, start(t, via(first)))
	}
	for _, n := range nodes {
		eventually(t, "neighbours in the topic", func() bool { return len(n.gossip.topic.ListPeers()) > 0 })
	}
	// All pulls of connected peers are over or will find nothing: what is
	// published from here on can only come by gossip.
	last := nodes[3]
	last.publish(t)
	for _, n := range nodes {
		eventually(t, "first offer everywhere", func() bool { return n.knows(last) })
	}
	so := last.offer(t, func(o *protocol.Offer) { o.Load.Running = 7 })
	if err := last.Publish(t.Context(), so); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		eventually(t, "a changed load everywhere", func() bool {
			e, ok := n.book.Get(time.Now(), last.Self())
			return ok && e.Offer.Load.GetRunning() == 7
		})
	}
}

func TestRememberedPeersReplaceABootstrap(t *testing.T) {
	a := start(t)
	b := start(t, func(c *Config) {
		c.Remembered = []peer.AddrInfo{{ID: a.Self(), Addrs: a.host.Addrs()}}
	})
	eventually(t, "the remembered peer is connected", func() bool { return b.connected(a.Self()) })
}

func TestOnlyPresentAddressesAreRememberedAgain(t *testing.T) {
	member := start(t)
	stale := []multiaddr.Multiaddr{addr(t, "/ip4/127.0.0.1/tcp/9"), addr(t, "/ip4/127.0.0.1/udp/9/quic-v1")}
	var mu sync.Mutex
	var told [][]multiaddr.Multiaddr
	start(t, via(member), func(c *Config) {
		for _, a := range stale {
			c.Bootstrap = append(c.Bootstrap, addr(t, a.String()+"/p2p/"+member.Self().String()))
		}
		c.Remembered = []peer.AddrInfo{{ID: member.Self(), Addrs: slices.Concat(stale, member.host.Addrs())}}
		c.Remember = func(p peer.AddrInfo) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, p.Addrs)
		}
	})
	// A bootstrap is probed every 3 s; what is true of it once more after a
	// probe is remembered again.
	eventually(t, "it is remembered, and again", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) >= 3
	})
	mu.Lock()
	defer mu.Unlock()
	for i, addrs := range told {
		if len(addrs) != 2 || slices.ContainsFunc(stale, func(a multiaddr.Multiaddr) bool { return multiaddr.Contains(addrs, a) }) {
			t.Errorf("time %d: remembered at %v, it listens at %v", i, addrs, member.host.Addrs())
		}
	}
}

func TestPeerThatAnswersNoProbeIsDropped(t *testing.T) {
	n, dead := start(t), start(t)
	dead.Handle(protocol.EchoStream, func(_ context.Context, c *protocol.Conn) { c.Reset() })
	if err := n.host.Connect(t.Context(), peer.AddrInfo{ID: dead.Self(), Addrs: dead.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is dropped", func() bool { return !n.connected(dead.Self()) })
	if !strings.Contains(n.log.String(), "silent peer dropped") {
		t.Errorf("it went for another reason:\n%s", n.log)
	}
}

func TestNetworkOutlivesItsBootstrap(t *testing.T) {
	key := newKey(t)
	boot, addrs := child(t, key, "")
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	viaBoot := func(c *Config) { c.Bootstrap = addrs }
	nodes := []*node{start(t, viaBoot), start(t, viaBoot), start(t, viaBoot)}
	for _, n := range nodes {
		n.publish(t)
		eventually(t, "bootstrap connected", func() bool { return n.connected(id) })
	}
	full := func() bool {
		for _, n := range nodes {
			if !n.knows(nodes...) || len(n.host.Network().Peers()) < len(nodes) {
				return false
			}
		}
		return true
	}
	eventually(t, "all know each other", full)

	kill(t, boot)
	so := nodes[0].offer(t, func(o *protocol.Offer) { o.Load.Running = 1 })
	if err := nodes[0].Publish(t.Context(), so); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes[1:] {
		eventually(t, "news spreads without the bootstrap", func() bool {
			e, ok := n.book.Get(time.Now(), nodes[0].Self())
			return ok && e.Offer.Load.GetRunning() == 1
		})
	}

	var listen []string
	for _, a := range addrs {
		a, _ := peer.SplitAddr(a)
		listen = append(listen, a.String())
	}
	_, again := child(t, key, strings.Join(listen, " "))
	if len(again) != len(addrs) {
		t.Fatalf("restarted at %v, not at %v", again, addrs)
	}
	took := eventually(t, "all find the restarted bootstrap", func() bool {
		for _, n := range nodes {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := n.Ping(ctx, id)
			cancel()
			if err != nil {
				return false
			}
		}
		return true
	})
	t.Logf("restarted bootstrap found by all after %v", took)
}
