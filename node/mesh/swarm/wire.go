package swarm

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/server"
	"github.com/libp2p/go-libp2p/core/peer"
)

var errShunned = errors.New("swarm: the peer does not read what it is sent")

var errNotOpen = errors.New("swarm: nothing of it is open to the peer any more")

// wire is the network as bitswap's server sees it. The server asks whether a
// peer may read a leaf when it hears of a want, and not again; what was wanted
// may be sent much later, when a blob of another scope has brought it.
type wire struct {
	network.BitSwapNetwork
	x *Exchange
}

// SendMessage sends what may be sent now. It holds one of the server's workers: a
// peer that does not read what it wants is forgotten and let alone for a while.
func (w *wire) SendMessage(ctx context.Context, to peer.ID, m message.BitSwapMessage) error {
	leaves := 0
	for _, b := range m.Blocks() {
		leaves += len(b.RawData())
	}
	if err := w.x.sending.wait(ctx, leaves); err != nil {
		return err
	}
	m, size := w.x.permitted(to, m) // now, however long that was
	if m.Empty() {
		return errNotOpen
	}
	if w.x.shuns(to) {
		return errShunned
	}
	began := time.Now()
	if err := w.BitSwapNetwork.SendMessage(ctx, to, m); err != nil {
		var late net.Error
		if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &late) && late.Timeout() {
			w.x.shun(to, began)
		}
		return err
	}
	w.x.engine.note()
	w.x.sent.Add(size)
	return nil
}

// permitted is the part of a message that the peer may know, and how many bytes
// of leaves it has.
func (x *Exchange) permitted(to peer.ID, m message.BitSwapMessage) (rest message.BitSwapMessage, size uint64) {
	rest = message.New(false)
	rest.SetPendingBytes(m.PendingBytes())
	for _, b := range m.Blocks() {
		if x.maySend(to, b.Cid()) {
			rest.AddBlock(b)
			size += uint64(len(b.RawData()))
		}
	}
	for _, c := range m.Haves() {
		if x.maySend(to, c) {
			rest.AddHave(c)
		}
	}
	for _, c := range m.DontHaves() {
		rest.AddDontHave(c)
	}
	return rest, size
}

// shun sends a peer that did not read what was sent from began on nothing for a
// while, and forgets what it wants.
func (x *Exchange) shun(p peer.ID, began time.Time) {
	x.mu.Lock()
	x.shunned.add(p, began, time.Now())
	x.mu.Unlock()
	x.engine.tell(func(s *server.Server) { s.PeerDisconnected(p) })
}

func (x *Exchange) shuns(p peer.ID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.shunned.has(p, time.Now())
}

func (x *Exchange) isClosed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.closed
}
