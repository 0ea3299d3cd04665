package mesh

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

const (
	// rttWindow is how many round trips to a peer are remembered: of one that stays
	// connected, those of the last one to 20 minutes, by how many there are.
	rttWindow = 8
	// rttPeers bounds the peers whose probes are remembered.
	rttPeers = 4096
	// maxEchoes is how many echoes one stream is good for.
	maxEchoes = 32
	// echoTimeout bounds each of them.
	echoTimeout = 5 * time.Second
)

// rtts are the latest round trips to each peer.
type rtts struct {
	mu      sync.Mutex
	windows *simplelru.LRU[peer.ID, []time.Duration]
	spread  Histogram // of all round trips since the start
}

func newRTTs() *rtts {
	windows, err := simplelru.NewLRU[peer.ID, []time.Duration](rttPeers, nil)
	if err != nil {
		panic("mesh: a positive size is always valid: " + err.Error())
	}
	return &rtts{windows: windows}
}

func (r *rtts) add(p peer.ID, rtt time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w, _ := r.windows.Get(p)
	if len(w) == rttWindow {
		w = slices.Delete(w, 0, 1)
	}
	r.windows.Add(p, append(w, rtt))
	r.note(rtt)
}

// keep forgets all but the latest n of p.
func (r *rtts) keep(p peer.ID, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w, _ := r.windows.Get(p); len(w) > n {
		r.windows.Add(p, w[len(w)-n:])
	}
}

func (r *rtts) min(p peer.ID) (time.Duration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w, ok := r.windows.Peek(p)
	if !ok {
		return 0, false
	}
	return slices.Min(w), true
}

// RTT returns the round-trip time to p: the least of the last 8 measured, and
// false when there was none. The least is taken, since a probe can only be
// delayed, by load at either end or on the way, and load is told apart from
// distance by the Offer and by the reply to a Probe.
func (m *Mesh) RTT(p peer.ID) (time.Duration, bool) { return m.rtts.min(p) }

// Ping measures one round trip to p now, which it dials when need be.
func (m *Mesh) Ping(ctx context.Context, p peer.ID) (time.Duration, error) {
	c, err := m.Open(ctx, p, protocol.EchoStream)
	if err != nil {
		return 0, fmt.Errorf("ping: %w", err)
	}
	rtt, err := m.probe(ctx, c, 1)
	if err != nil {
		return 0, fmt.Errorf("ping: %w", err)
	}
	return rtt, nil
}

// reachWithin bounds [Mesh.Reach].
const reachWithin = 400 * time.Millisecond

// Reach returns nil when p answers now: within 400 ms, the dial included. It
// tries members that this node knows already, and none that it would have to
// look for.
func (m *Mesh) Reach(ctx context.Context, p peer.ID) error {
	if p == m.self {
		return nil
	}
	if !m.connected(p) && !m.listed(p) {
		return protocol.Errorf(protocol.CodeNotFound, "peer %s is not known here", p)
	}
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	if err := m.host.Connect(ctx, peer.AddrInfo{ID: p}); err != nil {
		return fmt.Errorf("reach: %w", err)
	}
	c, err := m.openConnected(ctx, p, protocol.EchoStream)
	if err != nil {
		return fmt.Errorf("reach: %w", err)
	}
	if _, err := m.probe(ctx, c, 0); err != nil {
		return fmt.Errorf("reach: %w", err)
	}
	return nil
}

// listed reports whether p has an offer in the Book.
func (m *Mesh) listed(p peer.ID) bool {
	_, ok := m.book.Get(time.Now(), p)
	return ok
}

// probe measures n round trips on c, which is new and which it closes, and returns
// the last.
func (m *Mesh) probe(ctx context.Context, c *protocol.Conn, n int) (rtt time.Duration, err error) {
	defer c.Close()
	stop := context.AfterFunc(ctx, c.Reset)
	defer stop()
	// The first echo also negotiates the stream, and is not counted.
	for i := range n + 1 {
		if err := c.SetReadDeadline(time.Now().Add(echoTimeout)); err != nil {
			return 0, err
		}
		sent, echo := time.Now(), new(protocol.Echo)
		if err := c.Send(&protocol.Echo{Sequence: uint64(i)}); err != nil {
			return 0, err
		}
		if err := c.Recv(echo); err != nil {
			return 0, err
		}
		if echo.Sequence != uint64(i) {
			return 0, fmt.Errorf("%w: echo %d instead of %d", protocol.ErrMalformed, echo.Sequence, i)
		}
		if rtt = time.Since(sent); i > 0 {
			m.rtts.add(c.Peer(), rtt)
			m.locate(c.Peer(), echo.At)
		}
	}
	return rtt, nil
}

// measure measures n round trips to a connected member.
func (m *Mesh) measure(ctx context.Context, p peer.ID, n int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(n+1)*echoTimeout)
	defer cancel()
	c, err := m.openConnected(ctx, p, protocol.EchoStream)
	if err != nil {
		return err
	}
	_, err = m.probe(ctx, c, n)
	return err
}

// serveEcho sends back what comes, and where this node is.
func (m *Mesh) serveEcho(_ context.Context, c *protocol.Conn) {
	defer c.Close()
	for range maxEchoes {
		echo := new(protocol.Echo)
		if c.SetReadDeadline(time.Now().Add(echoTimeout)) != nil || c.Recv(echo) != nil {
			return
		}
		echo.At = m.place()
		if c.Send(echo) != nil {
			return
		}
	}
}
