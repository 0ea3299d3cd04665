package mesh

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"

	"github.com/spare-network/spare/protocol"
)

// openTimeout bounds the opening of a stream, the finding and dialling of the
// peer included.
const openTimeout = 10 * time.Second

// Handle has f serve the streams of this kind that members open. Each call of
// f has a goroutine of its own and owns its Conn: it must close or reset it.
// The context ends when the mesh is closed, which then waits for f.
func (m *Mesh) Handle(kind protocol.StreamKind, f func(context.Context, *protocol.Conn)) {
	m.host.SetStreamHandler(kind.ID(m.net), func(s network.Stream) {
		ctx, done, ok := m.calls.begin()
		if !ok {
			_ = s.ResetWithError(network.StreamShutdown) // the connection ends as well
			return
		}
		defer done()
		f(ctx, m.conn(s, kind))
	})
}

// Open opens a stream of this kind to a member. A peer that is not connected is
// dialled first, at the addresses known of it or else at those that the DHT
// knows. A peer that cannot be reached is a [protocol.Error] with
// [protocol.CodeNotFound], or with the code that it was refused for.
func (m *Mesh) Open(ctx context.Context, to peer.ID, kind protocol.StreamKind) (*protocol.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := m.reach(ctx, to); err != nil {
		return nil, err
	}
	c, err := m.openConnected(ctx, to, kind)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	return c, nil
}

func (m *Mesh) openConnected(ctx context.Context, to peer.ID, kind protocol.StreamKind) (*protocol.Conn, error) {
	s, err := m.host.NewStream(network.WithNoDial(ctx, "connected"), to, kind.ID(m.net))
	if err != nil {
		return nil, err
	}
	return m.conn(s, kind), nil
}

// reach makes sure that p is connected.
func (m *Mesh) reach(ctx context.Context, p peer.ID) error {
	if m.connected(p) {
		return nil
	}
	if p == m.self {
		return protocol.Errorf(protocol.CodeNotFound, "peer %s is this node itself", p)
	}
	var known error
	if len(m.host.Peerstore().Addrs(p)) > 0 {
		if known = m.host.Connect(ctx, peer.AddrInfo{ID: p}); known == nil {
			return nil
		}
	}
	// The addresses known may be those of an earlier run.
	info, err := m.directory.dht.FindPeer(ctx, p)
	if err == nil {
		if err = m.host.Connect(ctx, info); err == nil {
			return nil
		}
	}
	if r, ok := m.gate.refusals.about(p); ok {
		// Also when libp2p has not dialled again so soon after the refusal.
		return protocol.Errorf(r.Code, "%s", r.Message)
	}
	return fmt.Errorf("%w: %w", protocol.Errorf(protocol.CodeNotFound, "peer %s cannot be reached", p), errors.Join(known, err))
}

// Drop closes the connections to a peer that was found dead. The transport may
// take 45 s to notice that, and until then every stream opened to the peer
// would hang. The peer may be dialled again at once.
func (m *Mesh) Drop(p peer.ID) {
	_ = m.host.Network().ClosePeer(p) // a dead connection may fail to close in good order
	m.clearBackoff(p)
}

func (m *Mesh) clearBackoff(p peer.ID) {
	if s, ok := m.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(p)
	}
}

// conn frames s. While a task or liveness stream is open its peer's connection
// is protected from being trimmed. Output and blobs are sent, and blobs are taken,
// within what [Mesh.BoundTraffic] allows; output comes for this node's own tasks.
func (m *Mesh) conn(s network.Stream, kind protocol.StreamKind) *protocol.Conn {
	p := s.Conn().RemotePeer()
	if kind == protocol.OutputStream || kind == protocol.BlobStream {
		s = m.sending.Pace(s)
	}
	if kind == protocol.BlobStream {
		s = m.receiving.Sip(s)
	}
	if kind != protocol.TaskStream && kind != protocol.LivenessStream {
		return protocol.NewConn(s, p, kind.MaxMessage())
	}
	trimmer, tag := m.host.ConnManager(), "stream-"+strconv.FormatUint(m.tags.Add(1), 10)
	trimmer.Protect(p, tag)
	held := &heldStream{Stream: s, release: sync.OnceFunc(func() { trimmer.Unprotect(p, tag) })}
	return protocol.NewConn(held, p, kind.MaxMessage())
}

// heldStream tells when it has ended.
type heldStream struct {
	network.Stream
	release func()
}

func (s *heldStream) Close() error {
	defer s.release()
	return s.Stream.Close()
}

func (s *heldStream) Reset() error {
	defer s.release()
	return s.Stream.Reset()
}

// calls are the handlers under way. Its zero value is ready.
type calls struct {
	mu     sync.Mutex
	ended  bool
	cancel map[*context.CancelFunc]struct{}
	group  sync.WaitGroup
}

// begin admits a handler unless the calls have ended. done must be called when
// it returns.
func (c *calls) begin() (ctx context.Context, done func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil, nil, false
	}
	ctx, cancel := context.WithCancel(context.Background())
	if c.cancel == nil {
		c.cancel = make(map[*context.CancelFunc]struct{})
	}
	c.cancel[&cancel] = struct{}{}
	c.group.Add(1)
	return ctx, func() {
		cancel()
		c.mu.Lock()
		delete(c.cancel, &cancel)
		c.mu.Unlock()
		c.group.Done()
	}, true
}

// end cancels every handler and admits no more.
func (c *calls) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for cancel := range c.cancel {
		(*cancel)()
	}
}

func (c *calls) wait() { c.group.Wait() }
