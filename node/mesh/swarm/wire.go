package swarm

import (
	"context"
	"errors"

	"github.com/ipfs/boxo/bitswap/message"
	"github.com/ipfs/boxo/bitswap/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

var errNotOpen = errors.New("swarm: nothing of it is open to the peer any more")

// wire is the network as bitswap's server sees it. The server asks whether a
// peer may read a leaf when it hears of a want, and not again; what was wanted
// may be sent much later, when a blob of another scope has brought it.
type wire struct {
	network.BitSwapNetwork
	x *Exchange
}

// SendMessage sends what may be sent now.
func (w *wire) SendMessage(ctx context.Context, to peer.ID, m message.BitSwapMessage) error {
	m, size := w.x.permitted(to, m)
	if m.Empty() {
		return errNotOpen
	}
	if err := w.BitSwapNetwork.SendMessage(ctx, to, m); err != nil {
		return err
	}
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
