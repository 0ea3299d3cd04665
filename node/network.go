package node

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/node/mesh"
	"github.com/spare-network/spare/node/provider"
	"github.com/spare-network/spare/node/sandbox"
	"github.com/spare-network/spare/protocol"
)

// network is the mesh, with the node itself as one more peer behind a pipe:
// a task that stays at home takes the same way as any other.
type network struct {
	*mesh.Mesh
	self     peer.ID
	handlers map[protocol.StreamKind]func(context.Context, *protocol.Conn)
	blocked  func(peer.ID) bool // by this node's owner: no blobs are given to it or taken from it

	once    sync.Once
	offered chan struct{} // closed when the node has published an offer

	mu     sync.Mutex
	ctx    context.Context // of Run; nil before and after it
	served sync.WaitGroup
}

// isBlobs reports whether streams of a kind are about blobs.
func isBlobs(kind protocol.StreamKind) bool {
	return kind == protocol.BlobStream || kind == protocol.TreeStream
}

// give serves streams about blobs to those who are not blocked.
func (n *network) give(kind protocol.StreamKind, f func(context.Context, *protocol.Conn)) {
	n.handle(kind, func(ctx context.Context, conn *protocol.Conn) {
		if n.blocked(conn.Peer()) {
			conn.Reset()
			return
		}
		f(ctx, conn)
	})
}

// handle serves a kind of stream from others and from the node itself.
func (n *network) handle(kind protocol.StreamKind, f func(context.Context, *protocol.Conn)) {
	if n.handlers == nil {
		n.handlers = make(map[protocol.StreamKind]func(context.Context, *protocol.Conn))
	}
	n.handlers[kind] = f
	n.Handle(kind, f)
}

// Run runs the mesh and, until ctx ends, lets the node open streams to itself.
func (n *network) Run(ctx context.Context) error {
	served, cancel := context.WithCancel(ctx)
	n.mu.Lock()
	n.ctx = served
	n.mu.Unlock()
	err := n.Mesh.Run(ctx)
	n.mu.Lock()
	n.ctx = nil
	n.mu.Unlock()
	cancel()
	n.served.Wait()
	return err
}

// Publish gossips an offer. With the first one the node is in its own Book,
// and can be given tasks.
func (n *network) Publish(ctx context.Context, offer *protocol.SignedOffer) error {
	err := n.Mesh.Publish(ctx, offer)
	n.once.Do(func() { close(n.offered) })
	return err
}

// Open opens a stream to a peer, or to the node itself.
func (n *network) Open(ctx context.Context, to peer.ID, kind protocol.StreamKind) (*protocol.Conn, error) {
	if to != n.self {
		if isBlobs(kind) && n.blocked(to) {
			return nil, protocol.Errorf(protocol.CodeBlocked, "%s is blocked here", to).WithHint("'spare unblock %s' takes that back", to)
		}
		return n.Mesh.Open(ctx, to, kind)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx == nil {
		return nil, fmt.Errorf("open %s to this node: %w", kind, net.ErrClosed)
	}
	ours, theirs := net.Pipe()
	runCtx := n.ctx
	n.served.Go(func() { n.handlers[kind](runCtx, protocol.NewConn(theirs, n.self, kind.MaxMessage())) })
	return protocol.NewConn(ours, n.self, kind.MaxMessage()), nil
}

// runner joins the provider to the sandbox, which do not know each other.
type runner struct{ *sandbox.Pool }

// Run runs x in a worker that is its requester's own.
func (r runner) Run(ctx context.Context, x provider.Execution) (provider.Outcome, error) {
	end, err := r.Pool.Run(ctx, sandbox.Execution{
		Owner:     x.Requester,
		Spec:      x.Spec,
		SpecBytes: x.SpecBytes,
		Module:    x.Module,
		Data:      x.Data,
		Output:    x.Output,
		File:      x.File,
		State:     x.State,
		Gas:       x.Gas,
		Still:     x.Still,
	})
	return provider.Outcome(end), err
}
