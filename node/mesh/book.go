package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/spare-network/spare/protocol"
)

const (
	// pullTimeout bounds one pull of a Book, on either side.
	pullTimeout = 10 * time.Second
	// maxSkew is how far a provider's clock may be behind ours for its offers
	// to be believed at second hand. An offer's validity begins anew with each
	// hand that passes it on, and its sequence is the only thing that ends
	// this. What a provider says itself, by gossip or in answer to a pull, is
	// believed whatever its clock.
	maxSkew = 2 * time.Minute
)

// pull asks p for its Book and puts what is news into ours. It returns how
// many offers were.
func (m *Mesh) pull(ctx context.Context, p peer.ID) (news int, err error) {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	c, err := m.openConnected(ctx, p, protocol.BookStream)
	if err != nil {
		return 0, fmt.Errorf("pull book: %w", err)
	}
	defer c.Reset()
	stop := context.AfterFunc(ctx, c.Reset)
	defer stop()
	if err := c.Send(&protocol.BookPull{}); err != nil {
		return 0, fmt.Errorf("pull book: %w", err)
	}
	if err := c.CloseWrite(); err != nil {
		return 0, fmt.Errorf("pull book: %w", err)
	}
	for range protocol.MaxBookOffers {
		so := new(protocol.SignedOffer)
		if err := c.Recv(so); err != nil {
			if errors.Is(err, io.EOF) {
				return news, nil
			}
			return news, fmt.Errorf("pull book: %w", err)
		}
		if m.takeOffer(time.Now(), p, so) {
			news++
		}
	}
	return news, nil
}

// takeOffer puts an offer that came from p, be it of p or of another provider,
// into the Book, and reports whether it was news. A bad one is passed over: p
// may have had it from another.
func (m *Mesh) takeOffer(now time.Time, from peer.ID, so *protocol.SignedOffer) bool {
	// All neighbours have much the same Book, and a signature costs 200 times
	// as much to verify as a digest to make.
	digest := protocol.DigestOf(slices.Concat(so.Signature, so.Offer))
	if m.taken.Contains(digest) {
		return false
	}
	author, o, err := so.Open(m.net)
	if err != nil || author == m.self || (author != from && outlived(now, o)) || !m.book.Put(now, author, so, o, m.connected(author)) {
		return false
	}
	m.taken.Add(digest, struct{}{})
	return true
}

// outlived reports whether an offer had ended before now on its provider's
// clock, if that is at most maxSkew behind ours.
func outlived(now time.Time, o *protocol.Offer) bool {
	// A sequence is at least the time of its making in ns since 1970.
	end := now.Add(-o.TTL() - maxSkew).UnixNano()
	return end > 0 && o.Sequence < uint64(end)
}

// serveBook answers a pull.
func (m *Mesh) serveBook(ctx context.Context, c *protocol.Conn) {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, c.Reset)
	defer stop()
	defer c.Close()
	if err := c.Recv(new(protocol.BookPull)); err != nil {
		return // who asks wrongly gets no answer
	}
	for _, e := range m.book.All(time.Now()) {
		if err := c.Send(e.Signed); err != nil {
			return
		}
	}
}
